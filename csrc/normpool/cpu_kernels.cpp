// Plan. A task owns a block of channels over the whole batch, so that its sums meet nobody else's
// and threads change no bit. A sample's block is one stretch of memory: what goes by channel is
// spread over it once, and all passes are long loops however short a row is. Forward: mean, then
// variance, in float64 as PyTorch's, then rows normalised into pairs in L1 and pooled from there.
// Backward: rows normalised again, the gradient put where the larger one of each pair is and kept
// in grad_x, while the two sums of batch norm's gradient are taken; then grad_x is finished in
// place. Roofline: memory, x read three times forward and twice backward, out of L2 where a block
// is.
#include "common/arena.h"
#include "common/simd_vec.h"
#include "common/threads.h"
#include "normpool/args.h"

namespace clmer::CLMER_LEVEL {

namespace {

constexpr int64_t kBlock = 8;  // channels: whole cache lines of the shortest rows

// A task's channels, and its working memory. A sample of them is `steps` elements of x.
template <class T>
struct Block {
  const NormPoolArgs& a;
  int64_t first, channels, steps;
  T* pairs;                          // rows of 2 pooled elements, and room for a whole vector
  T *scale, *shift, *slope, *mean;   // by step
  double *centre, *sums, *products;  // by step

  Block(Arena& arena, const NormPoolArgs& args, int64_t number) : a(args), first(number * kBlock) {
    channels = first + kBlock < a.channels ? kBlock : a.channels - first;
    steps = channels * a.length;
    pairs = arena.take<T>(channels * 2 * a.pooled() + kLanes<T>);
    scale = arena.take<T>(steps);
    shift = arena.take<T>(steps);
    slope = arena.take<T>(steps);
    mean = arena.take<T>(steps);
    centre = arena.take<double>(steps);
    sums = arena.take<double>(steps);
    products = arena.take<double>(steps);
  }
  T* at(const void* data, int64_t sample, int64_t length) const {
    return static_cast<T*>(const_cast<void*>(data)) + (sample * a.channels + first) * length;
  }
  T of(const void* weight, int64_t c) const { return static_cast<const T*>(weight)[first + c]; }
  double inverse(int64_t c) const { return 1.0 / __builtin_sqrt(a.var[first + c] + a.eps); }

  // A number of each channel, at all of its steps.
  template <class V, class F>
  void spread(V* to, F number) const {
    for (int64_t c = 0; c < channels; ++c) {
      const V value = V(number(c));
      for (int64_t t = 0; t < a.length; ++t) to[c * a.length + t] = value;
    }
  }
  // The sum over a channel's steps.
  double total(const double* by_step, int64_t c) const {
    double sum = 0;
    for (int64_t t = 0; t < a.length; ++t) sum += by_step[c * a.length + t];
    return sum;
  }
  double count() const { return double(a.batch) * double(a.length); }
};

// Mean and variance of the channels.
template <class T>
void measure(const Block<T>& b) {
  const NormPoolArgs& a = b.a;
  double* __restrict sums = b.sums;
  double* __restrict centre = b.centre;
  b.spread(sums, [](int64_t) { return 0.0; });
  for (int64_t sample = 0; sample < a.batch; ++sample) {
    const T* __restrict x = b.at(a.x, sample, a.length);
    for (int64_t i = 0; i < b.steps; ++i) sums[i] += double(x[i]);
  }
  for (int64_t c = 0; c < b.channels; ++c) a.mean[b.first + c] = b.total(sums, c) / b.count();
  b.spread(centre, [&](int64_t c) { return a.mean[b.first + c]; });
  b.spread(sums, [](int64_t) { return 0.0; });
  for (int64_t sample = 0; sample < a.batch; ++sample) {
    const T* __restrict x = b.at(a.x, sample, a.length);
    for (int64_t i = 0; i < b.steps; ++i) {
      const double centred = double(x[i]) - centre[i];
      sums[i] += centred * centred;
    }
  }
  for (int64_t c = 0; c < b.channels; ++c) a.var[b.first + c] = b.total(sums, c) / b.count();
}

// norm and relu of rows of x, each with zeros beside it: pair k of a row is at 2 k.
template <class T>
void normed_pairs(const Block<T>& b, int64_t sample) {
  constexpr int kWide = kLanes<T>;
  const NormPoolArgs& a = b.a;
  const int64_t whole = a.length / kWide * kWide, row = 2 * a.pooled();
  const FirstLanes<T> rest(a.length - whole);
  const T* x = b.at(a.x, sample, a.length);
  for (int64_t c = 0; c < b.channels; ++c, x += a.length) {
    const Vec<T> mean = splat(b.mean[c * a.length]), scale = splat(b.scale[c * a.length]);
    const Vec<T> offset = splat(b.of(a.offset, c));
    T* to = b.pairs + c * row;
    to[0] = T(0);
    to[row - 1] = T(0);  // where x has an odd length its last step comes here
    for (int64_t t = 0; t < whole; t += kWide) {
      const Vec<T> value = (load(x + t) - mean) * scale + offset;
      store(to + 1 + t, value < T(0) ? Vec<T>{} : value);  // NaN stays
    }
    if (whole < a.length) {
      const Vec<T> value = (rest.load(x + whole) - mean) * scale + offset;
      rest.store(to + 1 + whole, value < T(0) ? Vec<T>{} : value);
    }
  }
}

template <class T>
void pool(const T* __restrict pairs, int64_t count, T* __restrict y) {
  for (int64_t k = 0; k < count; ++k) {
    const T a = pairs[2 * k], b = pairs[2 * k + 1];
    y[k] = (b > a) | (b != b) ? b : a;
  }
}

// The gradients of pairs, in their place: to the first one of equals, to none at 0.
template <class T>
void unpool(const T* __restrict grad_y, int64_t count, T* __restrict pairs) {
  for (int64_t k = 0; k < count; ++k) {
    const T a = pairs[2 * k], b = pairs[2 * k + 1];
    const bool second = (b > a) | (b != b);
    pairs[2 * k] = second | (a <= T(0)) ? T(0) : grad_y[k];
    pairs[2 * k + 1] = second ? grad_y[k] : T(0);
  }
}

template <class T>
void set_scale(const Block<T>& b) {
  b.spread(b.mean, [&](int64_t c) { return b.a.mean[b.first + c]; });
  b.spread(b.scale, [&](int64_t c) { return b.of(b.a.gain, c) * T(b.inverse(c)); });
}

template <class T>
void run_block(const NormPoolArgs& a, const Block<T>& b) {
  if (a.measure) measure<T>(b);
  set_scale<T>(b);
  for (int64_t sample = 0; sample < a.batch; ++sample) {
    normed_pairs<T>(b, sample);
    pool<T>(b.pairs, b.channels * a.pooled(), b.at(a.y, sample, a.pooled()));
  }
}

// The gradient behind the norm, to grad_x, and its sums: alone, and with x - mean.
template <class T>
void unpool_block(const NormPoolGradArgs& a, const Block<T>& b) {
  double* __restrict sums = b.sums, * __restrict products = b.products;
  const double* __restrict centre = b.centre;
  b.spread(sums, [](int64_t) { return 0.0; });
  b.spread(products, [](int64_t) { return 0.0; });
  for (int64_t sample = 0; sample < a.batch; ++sample) {
    normed_pairs<T>(b, sample);
    unpool<T>(b.at(a.grad_y, sample, a.pooled()), b.channels * a.pooled(), b.pairs);
    T* __restrict g = b.at(a.grad_x, sample, a.length);
    for (int64_t c = 0; c < b.channels; ++c) {
      __builtin_memcpy(g + c * a.length, b.pairs + c * 2 * a.pooled() + 1, a.length * sizeof(T));
    }
    const T* __restrict x = b.at(a.x, sample, a.length);
    for (int64_t i = 0; i < b.steps; ++i) {
      sums[i] += double(g[i]);
      products[i] += double(g[i]) * (double(x[i]) - centre[i]);
    }
  }
}

template <class T>
void run_block(const NormPoolGradArgs& a, const Block<T>& b) {
  set_scale<T>(b);
  b.spread(b.centre, [&](int64_t c) { return a.mean[b.first + c]; });
  unpool_block<T>(a, b);
  for (int64_t c = 0; c < b.channels; ++c) {
    static_cast<T*>(a.grad_gain)[b.first + c] = T(b.total(b.products, c) * b.inverse(c));
    static_cast<T*>(a.grad_offset)[b.first + c] = T(b.total(b.sums, c));
  }
  const double reached = a.measure ? 1.0 / b.count() : 0.0;  // by way of mean and variance
  b.spread(b.shift, [&](int64_t c) { return b.total(b.sums, c) * reached; });
  b.spread(b.slope, [&](int64_t c) {
    return b.total(b.products, c) * b.inverse(c) * b.inverse(c) * reached;
  });
  const T* __restrict scale = b.scale, * __restrict shift = b.shift;
  const T* __restrict slope = b.slope, * __restrict mean = b.mean;
  for (int64_t sample = 0; sample < a.batch; ++sample) {
    const T* __restrict x = b.at(a.x, sample, a.length);
    T* __restrict g = b.at(a.grad_x, sample, a.length);
    for (int64_t i = 0; i < b.steps; ++i) {
      g[i] = scale[i] * (g[i] - shift[i] - (x[i] - mean[i]) * slope[i]);
    }
  }
}

template <class Args>
struct Job {
  const Args& a;
  bool failed;
};

template <class T, class Args>
void task(int64_t number, void* context) {
  auto& job = *static_cast<Job<Args>*>(context);
  Arena arena;
  {
    Block<T> measured(arena, job.a, number);
  }
  if (!arena.allocate()) {
    __atomic_store_n(&job.failed, true, __ATOMIC_RELAXED);
    return;
  }
  run_block<T>(job.a, Block<T>(arena, job.a, number));
}

template <class T, class Args>
bool run(const Args& a) {
  Job<Args> job{a, false};
  parallel_for((a.channels + kBlock - 1) / kBlock, a.threads, task<T, Args>, &job);
  return !job.failed;
}

}  // namespace

const NormPoolKernels normpool = {run<float, NormPoolArgs>, run<double, NormPoolArgs>,
                                  run<float, NormPoolGradArgs>, run<double, NormPoolGradArgs>};

}  // namespace clmer::CLMER_LEVEL
