// The softmax over a tile's scores, block of keys by block of keys, with each query's statistics
// brought up to date. Compiled once per SIMD level.
#pragma once

#include "attention/cpu_block.h"

namespace clmer::CLMER_LEVEL {

namespace {

// kVecs vectors of queries: scores to exp(score - top), the statistics brought up to date, and what
// earlier blocks' sums are to be multiplied with.
template <class T, int kVecs>
void softmax_columns(Scores<T> scores, int64_t count, T* top, T* total, T* corrections) {
  constexpr int kWide = kLanes<T>;
  constexpr int kChains = kVecs > 2 ? 1 : 4 / kVecs;  // maxima at once: hides their latency
  Vec<T> highest[kChains][kVecs], sum[kVecs];
  for (int v = 0; v < kVecs; ++v) {
    for (int i = 0; i < kChains; ++i) highest[i][v] = load(top + v * kWide);
    sum[v] = Vec<T>{};
  }
  int64_t c = 0;
  for (; c + kChains <= count; c += kChains) {
    for (int i = 0; i < kChains; ++i) {
      const T* row = scores.data + (c + i) * scores.stride;
      for (int v = 0; v < kVecs; ++v) {
        highest[i][v] = max<T>(load(row + v * kWide), highest[i][v]);
      }
    }
  }
  for (; c < count; ++c) {
    const T* row = scores.data + c * scores.stride;
    for (int v = 0; v < kVecs; ++v) highest[0][v] = max<T>(load(row + v * kWide), highest[0][v]);
  }
  for (int i = 1; i < kChains; ++i) {
    for (int v = 0; v < kVecs; ++v) highest[0][v] = max<T>(highest[i][v], highest[0][v]);
  }
  for (c = 0; c < count; ++c) {
    T* row = scores.data + c * scores.stride;
    for (int v = 0; v < kVecs; ++v) {
      const Vec<T> weight = exp<T>(load(row + v * kWide) - highest[0][v]);
      store(row + v * kWide, weight);
      sum[v] += weight;
    }
  }
  for (int v = 0; v < kVecs; ++v) {
    const Vec<T> before = load(total + v * kWide);
    const Vec<T> grown = exp<T>(load(top + v * kWide) - highest[0][v]);
    const Vec<T> correction = before == T(0) ? Vec<T>{} : grown;
    store(corrections + v * kWide, correction);
    store(total + v * kWide, before * correction + sum[v]);
    store(top + v * kWide, highest[0][v]);
  }
}

// The same for kRows queries whose keys lie across the lanes: several at once hide the chains of
// the reductions.
template <class T, int kRows>
void softmax_rows(Scores<T> scores, int64_t count, T* top, T* total, T* corrections) {
  constexpr int kWide = kLanes<T>;
  const int64_t last = (count - 1) / kWide * kWide;
  const auto valid = lane_numbers<T>() < static_cast<int>(count - last);
  Vec<T> highest[kRows], sum[kRows];
  for (int r = 0; r < kRows; ++r) {
    T* row = scores.data + r * scores.stride;
    const Vec<T> end = valid ? load(row + last) : splat(-T(__builtin_inf()));
    store(row + last, end);
    highest[r] = max<T>(end, splat(top[r]));
    for (int64_t c = 0; c < last; c += kWide) highest[r] = max<T>(load(row + c), highest[r]);
  }
  for (int r = 0; r < kRows; ++r) {
    highest[r] = splat(reduce_max<T>(highest[r]));
    sum[r] = Vec<T>{};
  }
  for (int64_t c = 0; c <= last; c += kWide) {
    for (int r = 0; r < kRows; ++r) {
      T* at = scores.data + r * scores.stride + c;
      const Vec<T> weight = exp<T>(load(at) - highest[r]);
      store(at, weight);
      sum[r] += weight;
    }
  }
  for (int r = 0; r < kRows; ++r) {
    corrections[r] = total[r] == T(0) ? T(0) : exp<T>(splat(top[r]) - highest[r])[0];
    total[r] = total[r] * corrections[r] + reduce_sum<T>(sum[r]);
    top[r] = highest[r][0];
  }
}

constexpr int kRowsAtOnce = 6;  // statistics and constants of so many stay in 16 registers

template <class T, int kMost = kRowsAtOnce>
void softmax_rows_of(int64_t rows, Scores<T> scores, int64_t count, T* top, T* total,
                     T* corrections) {
  if (rows == kMost) return softmax_rows<T, kMost>(scores, count, top, total, corrections);
  if constexpr (kMost > 1) {
    softmax_rows_of<T, kMost - 1>(rows, scores, count, top, total, corrections);
  }
}

// The weights of a tile, not yet divided by their totals.
template <class T>
void softmax(Scores<T> scores, int64_t rows, int64_t count, T* top, T* total, T* corrections) {
  if (scores.across) {
    for (int64_t groups = ceil_div(rows, kRowsAtOnce); groups > 0; --groups) {
      const int64_t now = ceil_div(rows, groups);
      softmax_rows_of(now, scores, count, top, total, corrections);
      scores.data += now * scores.stride, top += now, total += now, corrections += now;
      rows -= now;
    }
    return;
  }
  for (int64_t vecs = padded<T>(rows) / kLanes<T>; vecs > 0;) {
    const int64_t now = least(vecs, kMaxVecs), step = now * kLanes<T>;
    if constexpr (kMaxVecs == 4) {
      if (now == 4) softmax_columns<T, 4>(scores, count, top, total, corrections);
      if (now == 3) softmax_columns<T, 3>(scores, count, top, total, corrections);
    }
    if (now == 2) softmax_columns<T, 2>(scores, count, top, total, corrections);
    if (now == 1) softmax_columns<T, 1>(scores, count, top, total, corrections);
    scores.data += step, top += step, total += step, corrections += step;
    vecs -= now;
  }
}

}  // namespace

}  // namespace clmer::CLMER_LEVEL
