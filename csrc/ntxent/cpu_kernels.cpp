// Plan: z [M, dim], M = 2n, is cut into blocks of 64 rows. S = z z^T / tau is symmetric, so tile
// (i, j), i <= j, of 64 x 64 similarities is computed once into L1 and serves rows i and rows j.
// A task takes a square of tiles, whose rows stay in L2. Squares go in rounds with (i + j) mod n
// fixed: in a round every block belongs to one square, so a tile adds straight into its rows' sums
// and gradients, in an order that the number of threads cannot change. A tile's rows are broadcast
// against the transposed other block (simd_product.h). The backward tile becomes
// W_ij = e^s_ij (e^-lse_i + e^-lse_j) in place and is multiplied from both sides. Self and positive
// pairs never enter the sums: the positive's share is added in double, and its gradient -(1 - p) is
// exact however close p is to 1. Roofline: the matrix products, 4 M^2 dim flops in all.
#include "ntxent/cpu_rows.h"
#include "common/threads.h"

namespace clmer::CLMER_LEVEL {

namespace {

constexpr int kStride = kBlock + 16;  // of a tile's rows: keeps its columns out of one cache set
constexpr int64_t kDepth = 128;       // features of a transposed block that are used in one go

struct alignas(64) Tile {
  alignas(64) unsigned char bytes[kBlock * kStride * sizeof(double)];
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(bytes);
  }
};

// ---- tiles -------------------------------------------------------------------------------------

template <class T>
struct Pair {
  int64_t g, i, j;     // group and blocks, i <= j
  int rows, cols;      // of z in them
  int64_t at_i, at_j;  // first rows in the row-wise scratch
};

inline int64_t squares_in_round(int64_t round, int64_t squares) {
  return round / 2 + 1 + (round + squares) / 2 - round;
}

// A task's square of tiles: with i + j = round, then with i + j = round + squares.
template <class T, class Work>
void each_tile(const Problem<T>& p, int64_t task, const Work& work) {
  const int64_t count = squares_in_round(p.round, p.squares);
  const int64_t t = task % count, low = p.round / 2 + 1;
  const int64_t first_i = (t < low ? t : p.round + 1 + t - low) * p.side;
  const int64_t first_j = (t < low ? p.round : p.round + p.squares) * p.side - first_i;
  Pair<T> q;
  q.g = task / count;
  for (q.i = first_i; q.i < least(first_i + p.side, p.blocks); ++q.i) {
    for (q.j = most(first_j, q.i); q.j < least(first_j + p.side, p.blocks); ++q.j) {
      q.rows = p.block_rows(q.i);
      q.cols = p.block_rows(q.j);
      q.at_i = q.g * p.rows + q.i * kBlock;
      q.at_j = q.g * p.rows + q.j * kBlock;
      work(q);
    }
  }
}

template <class T>
void similarities(const Problem<T>& p, const Pair<T>& q, T* s) {
  const T* x = p.z + q.at_i * p.width;
  const T* packed = p.packed + q.at_j * p.a.dim;
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

// Pairs that are no negatives: self, positive (whose product is kept), padding columns.
template <class T>
void exclude(Problem<T>& p, const Pair<T>& q, T* s) {
  T* own = p.own;
  for (int r = 0; r < q.rows; ++r) {
    T* row = s + r * kStride;
    if (q.i == q.j) row[r] = T(-kInf);
    const int c = positive_column(p, q, r);
    if (c >= 0) {
      own[q.at_i + r] = own[q.at_j + c] = row[c];
      row[c] = T(-kInf);
    }
    for (int64_t pad = q.cols; pad < round_up(q.cols, kLanes<T>); ++pad) row[pad] = T(-kInf);
  }
}

template <class T>
inline void raise_to(T value, T& top) {
  if (value > top) top = value;
}

// A tile's largest products, of rows and of columns, into the running ones.
template <class T>
void raise_tops(Problem<T>& p, const Pair<T>& q, const T* s) {
  alignas(64) T column[kBlock];
  for (int c = 0; c < kBlock; ++c) column[c] = T(-kInf);
  T* top = p.top;
  for (int r = 0; r < q.rows; ++r) {
    Vec<T> across = splat<T>(T(-kInf));
    for (int c = 0; c < q.cols; c += kLanes<T>) {
      const Vec<T> value = load(s + r * kStride + c);
      store(column + c, max<T>(value, load(column + c)));
      across = max<T>(value, across);
    }
    raise_to(reduce_max<T>(across), top[q.at_i + r]);
  }
  if (q.i == q.j) return;
  for (int c = 0; c < q.cols; ++c) raise_to(column[c], top[q.at_j + c]);
}

// Row and column sums of e^s in one pass.
template <class T>
void plain_sums(Problem<T>& p, const Pair<T>& q, const T* s) {
  alignas(64) T column[kBlock] = {};
  double* sum = p.sum;
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
  double* sum = p.sum;
  T* top = p.top;
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
void forward_square(int64_t task, void* context) {
  Problem<T>& p = *static_cast<Problem<T>*>(context);
  Tile tile;
  T* s = tile.as<T>();
  each_tile(p, task, [&](const Pair<T>& q) {
    similarities(p, q, s);
    exclude(p, q, s);
    if (p.a.ranked && !p.shifted) raise_tops(p, q, s);
    p.shifted ? shifted_sums(p, q, s) : plain_sums(p, q, s);
  });
}

// The tile of s becomes W; self 0, positive -(1 - p_i) - (1 - p_j).
template <class T>
void weigh(const Problem<T>& p, const Pair<T>& q, T* s) {
  const T *shift_i = p.shift + q.at_i, *shift_j = p.shift + q.at_j;
  const T *share_i = p.share + q.at_i, *share_j = p.share + q.at_j;
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
void backward_tile(const Problem<T>& p, const Pair<T>& q, T* s) {
  similarities(p, q, s);
  weigh(p, q, s);
  const T *z_i = p.z + q.at_i * p.width, *z_j = p.z + q.at_j * p.width;
  T *grad_i = p.grad + q.at_i * p.width, *grad_j = p.grad + q.at_j * p.width;
  product<T>(q.rows, p.columns, q.cols, {s, kStride, 1}, {z_j, p.width}, {grad_i, p.width}, true);
  if (q.i == q.j) return;
  product<T>(q.cols, p.columns, q.rows, {s, 1, kStride}, {z_i, p.width}, {grad_j, p.width}, true);
}

template <class T>
void backward_square(int64_t task, void* context) {
  const Problem<T>& p = *static_cast<Problem<T>*>(context);
  Tile tile;
  each_tile(p, task, [&](const Pair<T>& q) { backward_tile(p, q, tile.as<T>()); });
}

// ---- ends --------------------------------------------------------------------------------------

// A row's loss and stats from its sum over negatives and s of its positive. With d = lse over
// negatives - s, the loss is log(1 + e^d) and 1 - p is 1 / (1 + e^-d): no difference of
// near-equals.
template <class T>
double finish_row(const Problem<T>& p, int64_t g, int64_t i, double s) {
  const int64_t at = g * p.rows + i;
  const double sum = p.sum[at];
  const double top = p.shifted && sum > 0.0 ? double(p.top[at]) : 0.0;
  const double d = top + __builtin_log(sum) - s;
  const T shift = p.shifted ? T(sum > 0.0 && top > s ? top : s) : T(0);
  p.stat(g, 1)[i] = double(shift);
  p.stat(g, 2)[i] =
      1.0 / (sum * __builtin_exp(top - double(shift)) + __builtin_exp(s - double(shift)));
  p.stat(g, 3)[i] = 1.0 / (1.0 + __builtin_exp(-d));
  const double loss = (d > 0.0 ? d : 0.0) + __builtin_log1p(__builtin_exp(d > 0.0 ? -d : d));
  p.stat(g, 4)[i] = loss;
  // Products of one tile size and one order of additions: equal rows score equally.
  const T own = p.shifted ? p.own[at] * p.inverse_tau : p.own[at];
  p.stat(g, 5)[i] = p.a.ranked ? double(own > p.top[at]) : 0.0;
  return loss;
}

template <class T>
void finish_forward(int64_t g, void* context) {
  Problem<T>& p = *static_cast<Problem<T>*>(context);
  const T* z = p.z + g * p.rows * p.width;
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
    const T* z = p.z + at * p.width;
    const T* grad = p.grad + at * p.width;
    const double radial = dot(z, grad, p.a.dim);
    const double along = p.a.normalize ? radial : 0.0;
    const double factor = scale * p.stat(g, 0)[i];
    T* out = static_cast<T*>(i < p.a.n ? p.a.grad_a : p.a.grad_b) +
             (g * p.a.n + (i < p.a.n ? i : i - p.a.n)) * p.a.dim;
    for (int64_t k = 0; k < p.a.dim; ++k) {
      out[k] = T(factor * (double(grad[k]) - along * double(z[k])));
    }
    p.radial[at] = scale * radial;
  }
}

template <class T>
int useful_threads(const Problem<T>& p) {
  const bool small = p.a.groups * p.m * p.m * p.a.dim < 1 << 20;  // under 0.1 ms: not worth a pool
  return small ? 1 : p.a.threads;
}

template <class T>
void run_rounds(Problem<T>& p, int threads, void (*square)(int64_t, void*)) {
  for (p.round = 0; p.round < p.squares; ++p.round) {
    parallel_for(p.a.groups * squares_in_round(p.round, p.squares), threads, square, &p);
  }
}

template <class T>
bool forward(const NtXentArgs& args) {
  Problem<T> p(args, false);
  if (!p.allocate()) return false;
  const int threads = useful_threads(p);
  parallel_for(args.groups * p.blocks, threads, prepare_block<T>, &p);
  run_rounds(p, threads, forward_square<T>);
  parallel_for(args.groups, threads, finish_forward<T>, &p);
  return true;
}

template <class T>
bool backward(const NtXentArgs& args) {
  Problem<T> p(args, true);
  if (!p.allocate()) return false;
  const int threads = useful_threads(p);
  parallel_for(args.groups * p.blocks, threads, prepare_block<T>, &p);
  run_rounds(p, threads, backward_square<T>);
  parallel_for(args.groups * p.blocks, threads, finish_backward<T>, &p);
  double total = 0.0;
  for (int64_t g = 0; g < args.groups; ++g) {
    for (int64_t i = 0; i < p.m; ++i) total += p.radial[g * p.rows + i];
  }
  *args.grad_temperature = -0.5 * total / args.temperature;
  return true;
}

}  // namespace

const NtXentKernels ntxent = {forward<float>, forward<double>, backward<float>, backward<double>};

}  // namespace clmer::CLMER_LEVEL
