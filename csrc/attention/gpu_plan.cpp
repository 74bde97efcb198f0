#include "attention/gpu_plan.h"

#include <algorithm>
#include <initializer_list>

namespace clmer {

namespace {

// What each of four blocks on an SM of sm_90 may have.
constexpr int kGoodShared = 56 << 10;
constexpr int kLeastWarps = 4;  // of a block

int to_tiles(int64_t n) { return static_cast<int>((n + kTile - 1) / kTile * kTile); }

// Warps that a head of so many tiles keeps busy: a power of two.
int group_of(int tiles) {
  int group = 1;
  while (group < tiles) group *= 2;
  return group;
}

bool by_16(const Strided& s, int64_t width, int element_size) {
  const int64_t per = 16 / element_size;
  bool fits = reinterpret_cast<uintptr_t>(s.data) % 16 == 0 && width % per == 0 && s.row % per == 0;
  for (const int64_t step : s.lead) fits = fits && step % per == 0;
  return fits;
}

// Hands out bytes of a head's share.
class Shelf {
 public:
  int take(int64_t bytes) {
    const int at = used_;
    used_ += static_cast<int>((bytes + 15) / 16 * 16);
    return at;
  }
  int used() const { return used_; }

 private:
  int used_ = 0;
};

void place(ShortPlan& p, int element_size, bool backward) {
  const int row_bytes = (p.width + 16 / element_size) * element_size;
  const int pair_bytes = p.pair_pitch * element_size;
  Shelf shelf;
  p.query = shelf.take(p.rows * row_bytes);
  p.key = shelf.take(p.keys * row_bytes);
  p.value = shelf.take(p.keys * row_bytes);
  if (backward) {
    p.grad_out = shelf.take(p.rows * row_bytes);
    p.weights = shelf.take(p.round * pair_bytes);
    p.grad_scores = shelf.take(p.round * pair_bytes);
    p.facts = shelf.take(p.rows * 16);
  }
  p.words = shelf.take(4 * p.word_rows * p.words_pitch);
  p.seen = shelf.take(4 * p.group * p.words_pitch);
  p.head_bytes = shelf.used();
}

}  // namespace

std::string short_refusal(int64_t rows, int64_t dim, int64_t keys, int64_t value_dim) {
  if (std::max(rows, keys) <= kShortLength && std::max(dim, value_dim) <= kShortWidth) return "";
  const auto text = [](int64_t n) { return std::to_string(n); };
  return "found Lq = " + text(rows) + ", Lk = " + text(keys) + ", D = " + text(dim) +
         ", Dv = " + text(value_dim) + ", expected lengths up to " + text(kShortLength) +
         " and features up to " + text(kShortWidth);
}

void join_leading(AttentionGradArgs& a) {
  const std::initializer_list<Strided*> all = {&a.query, &a.key,       &a.value,    &a.bias,
                                               &a.mask,  &a.attn_mask, &a.grad_out, &a.grad_bias};
  int dims = 0;
  for (int d = 0; d < a.lead_dims; ++d) {
    const int64_t size = a.lead[d];
    if (size == 1) continue;
    const bool joins = dims > 0 && std::all_of(all.begin(), all.end(), [&](const Strided* s) {
                         return s->lead[dims - 1] == size * s->lead[d];
                       });
    if (!joins) ++dims;
    a.lead[dims - 1] = joins ? a.lead[dims - 1] * size : size;
    for (Strided* s : all) s->lead[dims - 1] = s->lead[d];
  }
  for (Strided* s : all) std::fill(s->lead + dims, s->lead + kMaxLead, 0);
  a.lead_dims = dims;
}

ShortPlan plan_short(const AttentionGradArgs& a, Product product, bool backward) {
  const int element_size = product == Product::bf16 || product == Product::f16 ? 2 : 4;
  const int64_t features = std::max(a.dim, a.value_dim);
  ShortPlan p = {};
  p.width = features <= 16 ? 16 : features <= 32 ? 32 : 64;
  p.rows = to_tiles(a.rows);
  p.keys = to_tiles(a.keys);
  p.pair_pitch = p.keys + 16 / element_size;
  p.group = group_of(std::max(p.rows, backward ? p.keys : 0) / kTile);
  p.heads = std::max(1, kLeastWarps / p.group);
  p.word_rows = a.attn_mask.data || a.causal ? p.rows : 1;
  p.words_pitch = (p.keys + 31) / 32;
  p.may_be_blind = a.mask.data || a.attn_mask.data || a.bias.data || a.causal || a.keys == 0;
  p.plain = !p.may_be_blind && !a.seed;
  p.scale = static_cast<float>(a.scale);
  p.threshold = static_cast<uint32_t>(a.dropout_p * 4294967296.0);
  p.grown = static_cast<float>(1.0 / (1.0 - a.dropout_p));
  // Sums of float16 fit into float as they are, and its few exponents have none to spare.
  p.spare = 1;
  while (product != Product::f16 && p.spare * float(a.keys) > 1) p.spare /= 2;
  int tiles = std::max(1, p.rows / kTile);
  for (;; tiles = (tiles + 1) / 2) {
    p.round = tiles * kTile;
    place(p, element_size, backward);
    if (!backward || tiles == 1 || p.shared_bytes() <= kGoodShared) break;
  }
  p.query_by_16 = by_16(a.query, a.dim, element_size);
  p.key_by_16 = by_16(a.key, a.dim, element_size);
  p.value_by_16 = by_16(a.value, a.value_dim, element_size);
  p.grad_out_by_16 = by_16(a.grad_out, a.value_dim, element_size);
  p.dense_by_16 = a.dim * element_size % 16 == 0;
  p.dense_value_by_16 =  // the backward reads an O that somebody else may have placed
      a.value_dim * element_size % 16 == 0 && reinterpret_cast<uintptr_t>(a.out.data) % 16 == 0;
  return p;
}

}  // namespace clmer
