// Plan: z [M, dim], M = 2n, is cut into blocks of 64 rows. S = z z^T / tau is symmetric, so a task
// takes one tile (i, j), i <= j, computes its 64 x 64 similarities once into L1 and serves rows i
// and rows j from them. Tiles go in rounds with (i + j) mod blocks fixed: in a round every block
// belongs to one tile, so a tile adds straight into its rows' sums and gradients, in an order that
// the number of threads cannot change. A tile's rows are broadcast against the transposed other
// block (simd_product.h). The backward tile becomes W_ij = e^s_ij (e^-lse_i + e^-lse_j) in place
// and is multiplied from both sides. Self and positive pairs never enter the sums: the
// positive's share is added in double, and its gradient -(1 - p) is exact however close p is to 1.
// Roofline: the matrix products, 4 M^2 dim flops in all; z is read M / 64 times, from L2.
#include "ntxent.h"

#include "simd_product.h"
#include "threads.h"

#include <cstddef>
#include <new>

namespace clmer::CLMER_LEVEL {

namespace {

constexpr double kInf = __builtin_inf();
constexpr int kBlock = 64;
constexpr int kStride = kBlock + 16;  // of a tile's rows: keeps its columns out of one cache set
constexpr int64_t kDepth = 128;       // features of a transposed block that are used in one go

constexpr int64_t round_up(int64_t x, int64_t unit) { return (x + unit - 1) / unit * unit; }

// Cache-aligned scratch, uninitialised.
template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t count)
      : data_(
            static_cast<T*>(::operator new(std::size_t(count) * sizeof(T), std::align_val_t(64)))) {
  }
  ~Buffer() { ::operator delete(data_, std::align_val_t(64)); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  T* get() const { return data_; }

 private:
  T* data_;
};

template <class T>
struct Limits;
template <>
struct Limits<float> {
  static constexpr double tiny = __FLT_MIN__, exp_range = 86.0;
};
template <>
struct Limits<double> {
  static constexpr double tiny = __DBL_MIN__, exp_range = 700.0;
};

// Everything the tasks share. Row-wise scratch has `rows` entries a group, the tail zero.
template <class T>
struct Problem {
  const NtXentArgs& a;
  const bool backward;
  const int64_t m = 2 * a.n;
  const int64_t blocks = (m + kBlock - 1) / kBlock;
  const int64_t rows = blocks * kBlock;
  const int64_t columns = round_up(a.dim, kLanes<T>);
  // From row to row of z; a multiple of 512 bytes would crowd a column into few cache sets.
  const int64_t width = columns + (columns * int64_t(sizeof(T)) % 512 == 0 ? kLanes<T> : 0);
  const T inverse_tau = T(1.0 / a.temperature);
  // Unshifted exponentials stay in range: |s| <= 1 / tau and a row adds M of them.
  const bool shifted =
      !(a.normalize && 1.0 / a.temperature + __builtin_log(double(m)) < Limits<T>::exp_range);
  Buffer<T> z{a.groups * rows * width};
  Buffer<T> packed{a.groups * rows * a.dim};  // [blocks, dim, kBlock]: the blocks transposed
  Buffer<double> sum{a.groups * rows};        // forward: sum of e^(s - top) over negatives
  Buffer<T> top{a.groups * rows};             // forward, shifted: running maximum
  Buffer<T> shift{a.groups * rows};           // backward: stats 1 and 2 as T
  Buffer<T> share{a.groups * rows};
  Buffer<T> grad{backward ? a.groups * rows * width : 1};
  Buffer<double> radial{a.groups * rows};  // forward: s of the positive; backward: z . dL/dz
  int64_t round = 0;

  Problem(const NtXentArgs& args, bool is_backward) : a(args), backward(is_backward) {}

  const T* view(int64_t g, int64_t i) const {
    const void* base = i < a.n ? a.view_a : a.view_b;
    return static_cast<const T*>(base) + (g * a.n + (i < a.n ? i : i - a.n)) * a.dim;
  }
  double* stat(int64_t g, int which) const { return a.stats + (g * 4 + which) * m; }
  int64_t positive(int64_t i) const { return i < a.n ? i + a.n : i - a.n; }
  int block_rows(int64_t block) const { return int(least(kBlock, m - block * kBlock)); }
};

struct alignas(64) Tile {
  alignas(64) unsigned char bytes[kBlock * kStride * sizeof(double)];
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(bytes);
  }
};

// ---- rows: norms, packing, dot products in double ----------------------------------------------

template <class T>
double dot(const T* x, const T* y, int64_t count) {
  double partial[8] = {};
  int64_t k = 0;
  for (; k + 8 <= count; k += 8) {
    for (int l = 0; l < 8; ++l) partial[l] += double(x[k + l]) * double(y[k + l]);
  }
  for (; k < count; ++k) partial[0] += double(x[k]) * double(y[k]);
  return ((partial[0] + partial[1]) + (partial[2] + partial[3])) +
         ((partial[4] + partial[5]) + (partial[6] + partial[7]));
}

// 1 / |x| where squares overflow, vanish or are NaN; 0 for a row of zeros or subnormal numbers
// only.
template <class T>
double careful_inverse_norm(const T* x, int64_t count) {
  double top = 0.0, square = 0.0;
  for (int64_t k = 0; k < count; ++k) {
    const double size = __builtin_fabs(double(x[k]));
    top = size > top || size != size ? size : top;
  }
  if (top < Limits<T>::tiny) return 0.0;
  const double scale = 1.0 / top;
  for (int64_t k = 0; k < count; ++k) square += double(x[k]) * scale * (double(x[k]) * scale);
  return scale / __builtin_sqrt(square);
}

template <class T>
double inverse_norm(const T* x, int64_t count) {
  const double square = dot(x, x, count);
  const bool ordinary = square > 1e-60 && square < 1e300;
  return ordinary ? 1.0 / __builtin_sqrt(square) : careful_inverse_norm(x, count);
}

template <class T>
void pack_transposed(const T* z, int64_t width, int64_t dim, T* packed) {
  constexpr int kWide = kLanes<T>;
  for (int64_t k = 0; k < dim; k += kWide) {
    for (int c = 0; c < kBlock; c += kWide) {
      Vec<T> block[kWide];
#pragma GCC unroll 16
      for (int i = 0; i < kWide; ++i) block[i] = load(z + (c + i) * width + k);
      transpose<T, false>(block);
#pragma GCC unroll 16
      for (int i = 0; i < kWide; ++i) {
        if (k + i < dim) store(packed + (k + i) * kBlock + c, block[i]);
      }
    }
  }
}

// A block of z, normalised and zero-padded, row by row and packed; its sums or gradients cleared.
template <class T>
void prepare_block(int64_t task, void* context) {
  Problem<T>& p = *static_cast<Problem<T>*>(context);
  const int64_t g = task / p.blocks, i0 = task % p.blocks * kBlock;
  const int64_t at = g * p.rows + i0;
  T* z = p.z.get() + at * p.width;
  double* inverse = p.stat(g, 0);
  for (int r = 0; r < kBlock; ++r) {
    const int64_t i = i0 + r;
    T* row = z + r * p.width;
    const int64_t filled = i < p.m ? p.a.dim : 0;
    if (filled) {
      const T* x = p.view(g, i);
      if (!p.backward) inverse[i] = p.a.normalize ? inverse_norm(x, p.a.dim) : 1.0;
      const double scale = inverse[i];
      for (int64_t k = 0; k < filled; ++k) row[k] = T(double(x[k]) * scale);
    }
    for (int64_t k = filled; k < p.width; ++k) row[k] = T(0);
    if (!p.backward) {
      p.sum.get()[at + r] = 0.0;
      p.top.get()[at + r] = T(-kInf);
      continue;
    }
    p.shift.get()[at + r] = i < p.m ? T(p.stat(g, 1)[i]) : T(0);
    p.share.get()[at + r] = i < p.m ? T(p.stat(g, 2)[i]) : T(0);
    T* grad = p.grad.get() + (at + r) * p.width;
    for (int64_t k = 0; k < p.width; ++k) grad[k] = T(0);
  }
  pack_transposed(z, p.width, p.a.dim, p.packed.get() + at * p.a.dim);
}

// ---- tiles -------------------------------------------------------------------------------------

template <class T>
struct Pair {
  int64_t g, i, j;     // group and blocks, i <= j
  int rows, cols;      // of z in them
  int64_t at_i, at_j;  // first rows in the row-wise scratch
};

inline int64_t pairs_in_round(int64_t round, int64_t blocks) {
  return round / 2 + 1 + (round + blocks) / 2 - round;
}

// i + j = round, then i + j = round + blocks.
template <class T>
Pair<T> pair_of(const Problem<T>& p, int64_t task) {
  const int64_t count = pairs_in_round(p.round, p.blocks);
  const int64_t t = task % count, low = p.round / 2 + 1;
  Pair<T> q;
  q.g = task / count;
  q.i = t < low ? t : p.round + 1 + t - low;
  q.j = (t < low ? p.round : p.round + p.blocks) - q.i;
  q.rows = p.block_rows(q.i);
  q.cols = p.block_rows(q.j);
  q.at_i = q.g * p.rows + q.i * kBlock;
  q.at_j = q.g * p.rows + q.j * kBlock;
  return q;
}

template <class T>
void similarities(const Problem<T>& p, const Pair<T>& q, T* s) {
  const T* x = p.z.get() + q.at_i * p.width;
  const T* packed = p.packed.get() + q.at_j * p.a.dim;
  for (int64_t k = 0; k < p.a.dim; k += kDepth) {
    product<T>(q.rows, round_up(q.cols, kLanes<T>), least(kDepth, p.a.dim - k), {x + k, p.width, 1},
               {packed + k * kBlock, kBlock}, {s, kStride}, k > 0);
  }
}

// Column of row r's positive in this tile, or -1.
template <class T>
int positive_column(const Problem<T>& p, const Pair<T>& q, int r) {
  const int64_t c = p.positive(q.i * kBlock + r) - q.j * kBlock;
  return c >= 0 && c < q.cols ? int(c) : -1;
}

// Pairs that are no negatives: self, positive, padding columns.
template <class T>
void exclude(const Problem<T>& p, const Pair<T>& q, T* s) {
  for (int r = 0; r < q.rows; ++r) {
    T* row = s + r * kStride;
    if (q.i == q.j) row[r] = T(-kInf);
    const int c = positive_column(p, q, r);
    if (c >= 0) row[c] = T(-kInf);
    for (int64_t pad = q.cols; pad < round_up(q.cols, kLanes<T>); ++pad) row[pad] = T(-kInf);
  }
}

// Row and column sums of e^s in one pass.
template <class T>
void plain_sums(Problem<T>& p, const Pair<T>& q, const T* s) {
  alignas(64) T column[kBlock] = {};
  double* sum = p.sum.get();
  for (int r = 0; r < q.rows; ++r) {
    Vec<T> across{};
    for (int c = 0; c < q.cols; c += kLanes<T>) {
      const Vec<T> e = exp<T>(load(s + r * kStride + c) * p.inverse_tau);
      across += e;
      store(column + c, load(column + c) + e);
    }
    sum[q.at_i + r] += double(reduce_sum<T>(across));
  }
  if (q.i == q.j) return;
  for (int c = 0; c < q.cols; ++c) sum[q.at_j + c] += double(column[c]);
}

// Takes a tile's maximum into the running one: the shift to use, with the old sum rescaled to it.
template <class T>
inline T raise_top(T tile_top, T& top, double& sum) {
  const T raised = tile_top > top ? tile_top : top;
  if (raised == T(-kInf)) return T(0);
  sum *= __builtin_exp(double(top) - double(raised));
  top = raised;
  return raised;
}

// The same sums under each row's own running maximum.
template <class T>
void shifted_sums(Problem<T>& p, const Pair<T>& q, T* s) {
  alignas(64) T column[kBlock], shift[kBlock];
  for (int c = 0; c < kBlock; ++c) column[c] = T(-kInf);
  double* sum = p.sum.get();
  T* top = p.top.get();
  for (int r = 0; r < q.rows; ++r) {
    Vec<T> row_top = splat<T>(T(-kInf));
    for (int c = 0; c < q.cols; c += kLanes<T>) {
      const Vec<T> value = load(s + r * kStride + c) * p.inverse_tau;
      store(s + r * kStride + c, value);
      store(column + c, max<T>(value, load(column + c)));
      row_top = max<T>(value, row_top);
    }
    const T by = raise_top(reduce_max<T>(row_top), top[q.at_i + r], sum[q.at_i + r]);
    Vec<T> across{};
    for (int c = 0; c < q.cols; c += kLanes<T>) across += exp<T>(load(s + r * kStride + c) - by);
    sum[q.at_i + r] += double(reduce_sum<T>(across));
  }
  if (q.i == q.j) return;
  for (int c = 0; c < kBlock; ++c) shift[c] = T(0);
  for (int c = 0; c < q.cols; ++c) {
    shift[c] = raise_top(column[c], top[q.at_j + c], sum[q.at_j + c]);
    column[c] = T(0);
  }
  for (int r = 0; r < q.rows; ++r) {
    for (int c = 0; c < q.cols; c += kLanes<T>) {
      const Vec<T> e = exp<T>(load(s + r * kStride + c) - load(shift + c));
      store(column + c, load(column + c) + e);
    }
  }
  for (int c = 0; c < q.cols; ++c) sum[q.at_j + c] += double(column[c]);
}

template <class T>
void forward_tile(int64_t task, void* context) {
  Problem<T>& p = *static_cast<Problem<T>*>(context);
  const Pair<T> q = pair_of(p, task);
  Tile tile;
  T* s = tile.as<T>();
  similarities(p, q, s);
  exclude(p, q, s);
  p.shifted ? shifted_sums(p, q, s) : plain_sums(p, q, s);
}

// The tile of s becomes W; self 0, positive -(1 - p_i) - (1 - p_j).
template <class T>
void weigh(const Problem<T>& p, const Pair<T>& q, T* s) {
  const T *shift_i = p.shift.get() + q.at_i, *shift_j = p.shift.get() + q.at_j;
  const T *share_i = p.share.get() + q.at_i, *share_j = p.share.get() + q.at_j;
  const double* miss = p.stat(q.g, 3);
  for (int r = 0; r < q.rows; ++r) {
    T* row = s + r * kStride;
    for (int c = 0; c < q.cols; c += kLanes<T>) {
      const Vec<T> value = load(row + c) * p.inverse_tau;
      if (p.shifted) {
        store(row + c, exp<T>(value - shift_i[r]) * share_i[r] +
                           exp<T>(value - load(shift_j + c)) * load(share_j + c));
      } else {
        store(row + c, exp<T>(value) * (share_i[r] + load(share_j + c)));
      }
    }
    if (q.i == q.j) row[r] = T(0);
    const int c = positive_column(p, q, r);
    if (c >= 0) row[c] = T(-(miss[q.i * kBlock + r] + miss[q.j * kBlock + c]));
  }
}

template <class T>
void backward_tile(int64_t task, void* context) {
  Problem<T>& p = *static_cast<Problem<T>*>(context);
  const Pair<T> q = pair_of(p, task);
  Tile tile;
  T* s = tile.as<T>();
  similarities(p, q, s);
  weigh(p, q, s);
  const T *z_i = p.z.get() + q.at_i * p.width, *z_j = p.z.get() + q.at_j * p.width;
  T *grad_i = p.grad.get() + q.at_i * p.width, *grad_j = p.grad.get() + q.at_j * p.width;
  product<T>(q.rows, p.columns, q.cols, {s, kStride, 1}, {z_j, p.width}, {grad_i, p.width}, true);
  if (q.i == q.j) return;
  product<T>(q.cols, p.columns, q.rows, {s, 1, kStride}, {z_i, p.width}, {grad_j, p.width}, true);
}

// ---- ends --------------------------------------------------------------------------------------

// A row's loss and stats from its sum over negatives and s of its positive. With d = lse over
// negatives - s, the loss is log(1 + e^d) and 1 - p is 1 / (1 + e^-d): no difference of
// near-equals.
template <class T>
double finish_row(const Problem<T>& p, int64_t g, int64_t i, double s) {
  const double sum = p.sum.get()[g * p.rows + i];
  const double top = p.shifted && sum > 0.0 ? double(p.top.get()[g * p.rows + i]) : 0.0;
  const double d = top + __builtin_log(sum) - s;
  const T shift = p.shifted ? T(sum > 0.0 && top > s ? top : s) : T(0);
  p.stat(g, 1)[i] = double(shift);
  p.stat(g, 2)[i] =
      1.0 / (sum * __builtin_exp(top - double(shift)) + __builtin_exp(s - double(shift)));
  p.stat(g, 3)[i] = 1.0 / (1.0 + __builtin_exp(-d));
  return (d > 0.0 ? d : 0.0) + __builtin_log1p(__builtin_exp(d > 0.0 ? -d : d));
}

template <class T>
void finish_forward(int64_t g, void* context) {
  Problem<T>& p = *static_cast<Problem<T>*>(context);
  const T* z = p.z.get() + g * p.rows * p.width;
  double total = 0.0;
  for (int64_t i = 0; i < p.a.n; ++i) {
    const int64_t pair[2] = {i, i + p.a.n};
    const double s = dot(z + pair[0] * p.width, z + pair[1] * p.width, p.a.dim) / p.a.temperature;
    for (int k = 0; k < 2; ++k) total += finish_row(p, g, pair[k], s);
  }
  static_cast<T*>(p.a.loss)[g] = T(total / double(p.m));
}

// dL/dx of a block from dL/dz, and z . dL/dz for the temperature.
template <class T>
void finish_backward(int64_t task, void* context) {
  Problem<T>& p = *static_cast<Problem<T>*>(context);
  const int64_t g = task / p.blocks, block = task % p.blocks;
  const double scale =
      double(static_cast<const T*>(p.a.grad_loss)[g]) / (double(p.m) * p.a.temperature);
  for (int r = 0; r < p.block_rows(block); ++r) {
    const int64_t i = block * kBlock + r, at = g * p.rows + i;
    const T* z = p.z.get() + at * p.width;
    const T* grad = p.grad.get() + at * p.width;
    const double radial = dot(z, grad, p.a.dim);
    const double along = p.a.normalize ? radial : 0.0;
    const double factor = scale * p.stat(g, 0)[i];
    T* out = static_cast<T*>(i < p.a.n ? p.a.grad_a : p.a.grad_b) +
             (g * p.a.n + (i < p.a.n ? i : i - p.a.n)) * p.a.dim;
    for (int64_t k = 0; k < p.a.dim; ++k) {
      out[k] = T(factor * (double(grad[k]) - along * double(z[k])));
    }
    p.radial.get()[at] = scale * radial;
  }
}

template <class T>
int useful_threads(const Problem<T>& p) {
  const bool small = p.a.groups * p.m * p.m * p.a.dim < 1 << 20;  // under 0.1 ms: not worth a pool
  return small ? 1 : p.a.threads;
}

template <class T>
void run_rounds(Problem<T>& p, int threads, void (*tile)(int64_t, void*)) {
  for (p.round = 0; p.round < p.blocks; ++p.round) {
    parallel_for(p.a.groups * pairs_in_round(p.round, p.blocks), threads, tile, &p);
  }
}

template <class T>
void forward(const NtXentArgs& args) {
  Problem<T> p(args, false);
  const int threads = useful_threads(p);
  parallel_for(args.groups * p.blocks, threads, prepare_block<T>, &p);
  run_rounds(p, threads, forward_tile<T>);
  parallel_for(args.groups, threads, finish_forward<T>, &p);
}

template <class T>
void backward(const NtXentArgs& args) {
  Problem<T> p(args, true);
  const int threads = useful_threads(p);
  parallel_for(args.groups * p.blocks, threads, prepare_block<T>, &p);
  run_rounds(p, threads, backward_tile<T>);
  parallel_for(args.groups * p.blocks, threads, finish_backward<T>, &p);
  double total = 0.0;
  for (int64_t g = 0; g < args.groups; ++g) {
    for (int64_t i = 0; i < p.m; ++i) total += p.radial.get()[g * p.rows + i];
  }
  *args.grad_temperature = -0.5 * total / args.temperature;
}

}  // namespace

const NtXentKernels ntxent = {forward<float>, forward<double>, backward<float>, backward<double>};

}  // namespace clmer::CLMER_LEVEL
