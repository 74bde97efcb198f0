// Blocks of 16 x 16 in a warp's registers, and their products on tensor cores, for half types (k =
// 16 per step) and float (k = 8 per step, as tf32, or as two tf32 numbers each and three products).
//
// Lane l owns, with g = l / 4 and t = l % 4, the rows g and g + 8 and the columns 2t, 2t + 1 and
// these + 8. An operand has rows along m or n and columns along k, whichever side of a product it
// takes. The tf32 step of the PTX ISA wants k = t and t + 4 in a lane; here those stand for the
// elements 2t and 2t + 1 on both sides: a sum over k does not mind, and results are operands as
// they are.
#pragma once

namespace clmer::CLMER_LEVEL {

// A result: element 4 j + 2 a + i is row g + 8 a, column 8 j + 2 t + i.
using Block = float[8];

template <class T>
struct HalfProducts {
  using Stored = T;
  static constexpr int kPad = 8;  // of a row in shared memory, for ldmatrix without conflicts

  struct Operand {
    uint32_t r[4];  // two elements each: rows g, g + 8; then both 8 columns on
  };

  // Rows of x are rows of the operand.
  static CLMER_DEVICE Operand from_rows(const T* x, int pitch, int lane) {
    Operand a;
    load_matrices<false>(x + lane % 16 * pitch + lane / 16 * 8, a.r);
    return a;
  }
  // Rows of x are columns of the operand.
  static CLMER_DEVICE Operand from_columns(const T* x, int pitch, int lane) {
    Operand a;
    load_matrices<true>(x + (lane % 8 + lane / 16 * 8) * pitch + lane / 8 % 2 * 8, a.r);
    return a;
  }
  static CLMER_DEVICE Operand from_block(const Block& c) {
    return {{pack(T{}, c[0], c[1]), pack(T{}, c[2], c[3]), pack(T{}, c[4], c[5]),
             pack(T{}, c[6], c[7])}};
  }

  // c += a b^T
  static CLMER_DEVICE void multiply(Block& c, const Operand& a, const Operand& b) {
    multiply_add(T{}, c, a.r, b.r[0], b.r[2]);
    multiply_add(T{}, c + 4, a.r, b.r[1], b.r[3]);
  }

  static CLMER_DEVICE void store(T* x, int pitch, int lane, const Block& c) {
#pragma unroll
    for (int e = 0; e < 8; e += 2) {
      T* at = x + (lane / 4 + e / 2 % 2 * 8) * pitch + e / 4 * 8 + lane % 4 * 2;
      *reinterpret_cast<uint32_t*>(at) = pack(T{}, c[e], c[e + 1]);
    }
  }
};

template <bool kSplit>
struct SingleProducts {
  using Stored = float;
  static constexpr int kPad = 4;

  struct Operand {
    Block r;
  };

  static CLMER_DEVICE Operand from_rows(const float* x, int pitch, int lane) {
    Operand a;
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      a.r[e] = x[(lane / 4 + e / 2 % 2 * 8) * pitch + e / 4 * 8 + lane % 4 * 2 + e % 2];
    }
    return a;
  }
  static CLMER_DEVICE Operand from_columns(const float* x, int pitch, int lane) {
    Operand a;
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      a.r[e] = x[(e / 4 * 8 + lane % 4 * 2 + e % 2) * pitch + lane / 4 + e / 2 % 2 * 8];
    }
    return a;
  }
  static CLMER_DEVICE Operand from_block(const Block& c) {
    Operand a;
#pragma unroll
    for (int e = 0; e < 8; ++e) a.r[e] = c[e];
    return a;
  }

  // c += a b^T
  static CLMER_DEVICE void multiply(Block& c, const Operand& a, const Operand& b) {
    const Parts x = parts(a), y = parts(b);
    if constexpr (kSplit) {
      // Small terms first; what is left out is 2^-22 of the product. Tensor cores cut their sums
      // towards zero, so that long ones are made outside (Ootomo and Yokota, IJHPCA 2022).
      Block sum = {};
      add_products(sum, x.low, y.high);
      add_products(sum, x.high, y.low);
      add_products(sum, x.high, y.high);
#pragma unroll
      for (int e = 0; e < 8; ++e) c[e] += sum[e];
    } else {
      add_products(c, x.high, y.high);
    }
  }

  static CLMER_DEVICE void store(float* x, int pitch, int lane, const Block& c) {
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      x[(lane / 4 + e / 2 % 2 * 8) * pitch + e / 4 * 8 + lane % 4 * 2 + e % 2] = c[e];
    }
  }

 private:
  struct Parts {
    Block high, low;
  };

  static CLMER_DEVICE Parts parts(const Operand& a) {
    Parts p;
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      p.high[e] = to_tf32(a.r[e]);
      if constexpr (kSplit) p.low[e] = to_tf32(a.r[e] - p.high[e]);
    }
    return p;
  }

  static CLMER_DEVICE void add_products(Block& c, const Block& a, const Block& b) {
#pragma unroll
    for (int k = 0; k < 8; k += 4) {
      const float step[4] = {a[k], a[k + 2], a[k + 1], a[k + 3]};
      multiply_add(c, step, b[k], b[k + 1]);
      multiply_add(c + 4, step, b[k + 2], b[k + 3]);
    }
  }
};

}  // namespace clmer::CLMER_LEVEL
