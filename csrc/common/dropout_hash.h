// Which elements dropout keeps: the hash of clmer/ops/attention/reference.py, dropout_mask. 64 bits
// per row, 32-bit rounds per element. Compiled once per SIMD level, and for the GPU.
#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace clmer::CLMER_LEVEL {

struct DropoutKey {
  uint32_t low, high;
};

// Of a row, by its number over all leading dimensions.
CLMER_HD DropoutKey dropout_key(int64_t seed, int64_t row) {
  uint64_t x = uint64_t(seed) + (uint64_t(row) + 1) * 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  x ^= x >> 31;
  return {uint32_t(x), uint32_t(x >> 32)};
}

CLMER_HD bool dropout_keeps(DropoutKey row, uint32_t column, uint32_t threshold) {
  uint32_t h = row.low ^ column * 0x9E3779B1u;
  h = (h ^ (h >> 16)) * 0x7FEB352Du;
  h = (h ^ (h >> 15) ^ row.high) * 0x846CA68Bu;
  h ^= h >> 16;
  return h >= threshold;
}

}  // namespace clmer::CLMER_LEVEL
