// What the forward and the backward of attention share: which keys are left, their packed copies,
// the scores of a tile of queries, the dropout mask. Compiled once a SIMD level.
#pragma once

#include <cstdlib>

#include "attention.h"
#include "simd_product.h"

namespace clmer::CLMER_LEVEL {

constexpr int64_t kBlockKeys = 128;    // keys packed at once
constexpr int64_t kTileBytes = 16384;  // scores of one tile of queries: half of L1

template <class T>
inline int64_t padded(int64_t n) {
  return (n + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// Queries in a tile: so many that the scores stay in L1, at most 64.
template <class T>
inline int64_t tile_rows(int64_t keys) {
  const int64_t fitting = kTileBytes / int64_t(sizeof(T)) / padded<T>(least(keys, kBlockKeys) + 1);
  return fitting < 8 ? 8 : least(fitting, 64);
}

constexpr double kSmall = 1 << 17;  // multiply-adds under which a pool costs more than it brings

inline int64_t heads_per_task(const AttentionArgs& a) {
  const int64_t work = a.rows * a.keys * (a.dim + a.value_dim) + 1;
  const int64_t fitting = (int64_t(1) << 18) / work;
  return fitting < 1 ? 1 : least(fitting, 64);
}

inline int usable_threads(const AttentionArgs& a) {
  const double work =
      double(a.heads) * double(a.rows) * double(a.keys) * double(a.dim + a.value_dim);
  return work < kSmall ? 1 : a.threads;
}

// One allocation, handed out in 64-byte steps. Two passes: measure with data == null, then carve.
class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() { free(data_); }

  template <class T>
  T* take(int64_t count) {
    const size_t start = used_;
    used_ += (size_t(count) * sizeof(T) + 63) / 64 * 64;
    return data_ ? reinterpret_cast<T*>(static_cast<char*>(data_) + start) : nullptr;
  }
  bool allocate() {
    const bool done = posix_memalign(&data_, 64, used_ + 64) == 0;
    used_ = 0;
    return done;
  }

 private:
  void* data_ = nullptr;
  size_t used_ = 0;
};

// Position of a head in the leading dimensions, and the start of its slice of a tensor.
struct Head {
  int64_t number = 0;
  int64_t index[kMaxLead] = {};
};

inline Head head_at(const AttentionArgs& a, int64_t number) {
  Head head;
  head.number = number;
  for (int d = a.lead_dims - 1; d >= 0; --d) {
    head.index[d] = number % a.lead[d];
    number /= a.lead[d];
  }
  return head;
}

template <class T>
inline T* slice(const AttentionArgs& a, const Strided& tensor, const Head& head) {
  int64_t offset = 0;
  for (int d = 0; d < a.lead_dims; ++d) offset += head.index[d] * tensor.lead[d];
  return static_cast<T*>(const_cast<void*>(tensor.data)) + offset;
}

// The keys that the mask leaves, in order.
inline int64_t keys_left(const AttentionArgs& a, const Head& head, int32_t* columns) {
  const bool* mask = a.mask.data ? slice<bool>(a, a.mask, head) : nullptr;
  int64_t count = 0;
  for (int64_t c = 0; c < a.keys; ++c) {
    columns[count] = static_cast<int32_t>(c);
    count += !(mask && mask[c * a.mask.col]);
  }
  return count;
}

// kLanes rows of unit column stride, transposed in registers. Reads whole vectors, up to kLanes - 1
// elements beyond a row's end: the caller knows that they are there.
template <class T, bool kHalf>
inline void transpose_rows(const T* x, int64_t row, const int32_t* index, int64_t cols, T factor,
                           T* to, int64_t stride) {
  Vec<T> block[kLanes<T>];
  for (int i = 0; i < kLanes<T>; ++i) block[i] = load(x + index[i] * row) * factor;
  transpose<T, kHalf>(block);
  for (int64_t d = 0; d < cols; ++d) store(to + d * stride, block[d]);
}

// Rows `index[i]` of a strided matrix of `rows` rows, transposed: to [cols, count] with rows of
// to.stride, zero beyond count.
template <class T>
void pack_transposed(const T* x, const Strided& from, int64_t rows, const int32_t* index,
                     int64_t count, int64_t cols, T factor, Padded<T> to) {
  constexpr int kWide = kLanes<T>;
  int64_t i = 0;
  if (from.col == 1 || cols == 1) {
    for (; i + kWide <= count; i += kWide) {
      const int64_t last = index[i + kWide - 1];
      for (int64_t d = 0; d < cols; d += kWide) {
        const int64_t wide = least(kWide, cols - d);
        if (wide < kWide && last * from.row + d + kWide > (rows - 1) * from.row + cols) {
          for (int64_t j = i; j < i + kWide; ++j) {
            const T* source = x + index[j] * from.row + d;
            for (int64_t e = 0; e < wide; ++e)
              to.data[(d + e) * to.stride + j] = source[e] * factor;
          }
        } else if (2 * wide <= kWide) {
          transpose_rows<T, true>(x + d, from.row, index + i, wide, factor,
                                  to.data + d * to.stride + i, to.stride);
        } else {
          transpose_rows<T, false>(x + d, from.row, index + i, wide, factor,
                                   to.data + d * to.stride + i, to.stride);
        }
      }
    }
  }
  for (; i < count; ++i) {
    const T* source = x + index[i] * from.row;
    for (int64_t d = 0; d < cols; ++d) to.data[d * to.stride + i] = source[d * from.col] * factor;
  }
  for (int64_t d = 0; d < cols; ++d) {
    for (i = count; i < to.stride; ++i) to.data[d * to.stride + i] = T(0);
  }
}

// One row times a factor, by whole vectors as long as `room` elements may be touched at the side
// that is not padded: beyond cols a read brings in, or a write leaves, what nobody looks at.
template <class T>
inline void scale_row(const T* from, int64_t cols, int64_t room, T factor, T* to) {
  int64_t d = 0;
  for (; d < cols && d + kLanes<T> <= room; d += kLanes<T>) store(to + d, load(from + d) * factor);
  for (; d < cols; ++d) to[d] = from[d] * factor;
}

// The same rows (rows `i` without index), not transposed: to [count, cols]. Beyond cols stand parts
// of other rows or zeros, never what memory held: subnormals there would slow the products down.
template <class T>
void pack_rows(const T* x, const Strided& from, int64_t rows, const int32_t* index, int64_t count,
               int64_t cols, T factor, Padded<T> to) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t number = index ? index[i] : i;
    const T* source = x + number * from.row;
    T* target = to.data + i * to.stride;
    const int64_t room = (rows - 1 - number) * from.row + cols;
    if (from.col == 1 && room >= to.stride) {
      scale_row(source, cols, room, factor, target);
    } else {
      for (int64_t d = 0; d < cols; ++d) target[d] = source[d * from.col] * factor;
      for (int64_t d = cols; d < to.stride; ++d) target[d] = T(0);
    }
  }
}

template <class T>
void add_bias(const T* bias, int64_t col, const int32_t* columns, int64_t count, T* scores) {
  for (int64_t c = 0; c < count; ++c) scores[c] += bias[columns[c] * col];
}

// Dropout: the hash of clmer/ops/attention.py, dropout_mask. 64 bits a row, 32-bit rounds a weight.
struct DropoutRow {
  uint32_t low, high;
};

inline DropoutRow dropout_row(int64_t seed, int64_t row) {
  uint64_t x = uint64_t(seed) + (uint64_t(row) + 1) * 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  x ^= x >> 31;
  return {uint32_t(x), uint32_t(x >> 32)};
}

// factors[c] = 1 / (1 - p) where the weight is kept, else 0.
template <class T>
void dropout_factors(DropoutRow key, double p, const int32_t* columns, int64_t count, T* factors) {
  const uint32_t threshold = uint32_t(p * 4294967296.0);
  const T grown = T(1.0 / (1.0 - p));
  for (int64_t c = 0; c < count; ++c) {
    uint32_t h = key.low ^ (uint32_t(columns[c]) * 0x9E3779B1u);
    h = (h ^ (h >> 16)) * 0x7FEB352Du;
    h = (h ^ (h >> 15) ^ key.high) * 0x846CA68Bu;
    h ^= h >> 16;
    factors[c] = h >= threshold ? grown : T(0);
  }
}

}  // namespace clmer::CLMER_LEVEL
