// Plan: a task owns rows and walks them in blocks of samples, a tile at a time. A tile is
// transposed into L1 as doubles, where one vector holds one sample of `lanes` rows (rows that lie
// side by side in memory, [T, C], need no transposition; there a task takes a few samples of many
// rows, so that it reads memory in order); the sections pass over the tile, four at once with their
// states in registers; the tile is transposed back. Four sections are four chains, which the
// processor overlaps; each takes one multiply-add, 4 cycles, from sample to sample. Rows too few to
// give every thread a vector share out the sections instead: stages of a pipeline. The zero-phase
// form keeps the forward pass of a task's rows in scratch, in L2 where it fits, and runs backwards
// over it. Every arrangement has the same arithmetic (step.h), so that any chunking of
// time, layout and number of threads gives the same bits. Roofline: 5 multiply-adds a sample and
// section where x is in cache, else memory: x and y are read and written once.
#include "bandpass/cpu_cascade.h"

#include "common/arena.h"
#include "common/threads.h"

namespace clmer::CLMER_LEVEL {

namespace {

constexpr int64_t kStateBytes = 128 << 10;    // of a task's rows, to stay in L2
constexpr int64_t kScratchBytes = 256 << 10;  // of a task of zero_phase, likewise

int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Job {
  const SosfiltArgs& args;
  int64_t task_rows;
  int64_t tile_rows;
  bool failed = false;

  int64_t tasks() const { return ceil_div(args.rows, task_rows); }
};

void fail(Job& job) { __atomic_store_n(&job.failed, true, __ATOMIC_RELAXED); }

// The rows of one tile, what reads and writes them, and their states [sections, 2, width].
struct Group {
  Lanes lanes;
  Offsets x, y;
  double* state;

  Group(const SosfiltArgs& a, int64_t first, int64_t rows, double* state)
      : lanes(first, static_cast<int>(rows)),
        x(a, a.x.rows, lanes),
        y(a, a.y.rows, lanes),
        state(state) {}
};

// Samples [start, start + count) of a group through all sections.
template <Pass kPass>
void filter_tile(const SosfiltArgs& a, const Section* sections, const Group& g, int64_t start,
                 int count, double* tile) {
  reader(a.x.type)(a, g.x, start, count, tile, g.lanes.width);
  run_cascade<kPass>(sections, a.sections, g.state, tile, g.lanes.width, count);
  if (a.y.data) writer(a.y.type)(a, g.y, start, count, tile, g.lanes.width);
}

template <Pass kPass>
void filter_rows(int64_t task, void* context) {
  Job& job = *static_cast<Job*>(context);
  const SosfiltArgs& a = job.args;
  const FlushSubnormals flushed;
  const int64_t first = task * job.task_rows, rows = least(a.rows - first, job.task_rows);
  const int64_t tiles = ceil_div(rows, job.tile_rows);
  const int width = Lanes(first, static_cast<int>(least(rows, job.tile_rows))).width;
  const int64_t states = 2 * a.sections * width;
  Arena arena;
  Group* groups = nullptr;  // trivially copied into place
  double *state = nullptr, *tile = nullptr;
  for (int pass = 0; pass < 2; ++pass) {
    groups = arena.take<Group>(tiles);
    state = arena.take<double>(tiles * states);
    tile = arena.take<double>(kTileDoubles);
    if (pass == 0 && !arena.allocate()) return fail(job);
  }
  Section sections[kMaxSections];
  fill_sections(a, sections);
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t done = i * job.tile_rows;
    groups[i] = Group(a, first + done, least(rows - done, job.tile_rows), state + i * states);
    load_states(a, Offsets(a, a.state.rows, groups[i].lanes), groups[i].lanes.width,
                groups[i].state);
  }
  const int64_t block = kTileDoubles / width, blocks = ceil_div(a.time, block);
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t start = block * (kPass == Pass::adjoint ? blocks - 1 - i : i);
    const int count = static_cast<int>(least(a.time - start, block));
    for (int64_t k = 0; k < tiles; ++k) {
      filter_tile<kPass>(a, sections, groups[k], start, count, tile);
    }
  }
  for (int64_t i = 0; i < tiles; ++i) {
    save_states(a, Offsets(a, a.state_out.rows, groups[i].lanes), groups[i].lanes.width,
                groups[i].state);
  }
}

// ---- zero phase -----------------------------------------------------------------------------

// The steady state of every section for an input that has always been `first` [width].
void start_steady(const SosfiltArgs& a, const double* first, int width, double* state) {
  for (int64_t s = 0; s < a.sections; ++s) {
    for (int k = 0; k < 2; ++k, state += width) {
      const double z = a.state.data[s * a.state.section + k * a.state.z];
      for (int i = 0; i < width; ++i) state[i] = z * first[i];
    }
  }
}

// The edge samples beyond an end, from the end's own ones inwards, [edge + 1, width]. Beyond the
// left end `direction` is -1, and `to` is where the sample next to the end goes.
void extend(const SosfiltArgs& a, const double* inwards, int inward_step, double* to, int direction,
            int width) {
  for (int64_t j = 1; j <= a.edge; ++j, to += direction * width) {
    for (int i = 0; i < width; ++i) {
      const double end = inwards[i], mirror = inwards[j * inward_step * width + i];
      to[i] = a.extension == Extension::odd    ? 2 * end - mirror
              : a.extension == Extension::even ? mirror
                                               : end;
    }
  }
}

// Forwards into scratch [edge + time + edge, width], backwards over it and out. What the way back
// makes of the left extension nobody reads.
void filter_both_ways(int64_t task, void* context) {
  Job& job = *static_cast<Job*>(context);
  const SosfiltArgs& a = job.args;
  const FlushSubnormals flushed;
  const int64_t first = task * job.task_rows;
  const Lanes lanes(first, static_cast<int>(least(a.rows - first, job.task_rows)));
  const int width = lanes.width;
  const Offsets x(a, a.x.rows, lanes), y(a, a.y.rows, lanes);
  const Reader read = reader(a.x.type);
  const Writer write = writer(a.y.type);
  const int64_t edge = a.edge, padded = a.time + 2 * edge;
  Arena arena;
  double *whole = nullptr, *end = nullptr, *state = nullptr;
  for (int pass = 0; pass < 2; ++pass) {
    state = arena.take<double>(2 * a.sections * width);
    whole = arena.take<double>(padded * width);
    end = arena.take<double>((edge + 1) * width);
    if (pass == 0 && !arena.allocate()) return fail(job);
  }
  Section sections[kMaxSections];
  fill_sections(a, sections);
  double* inner = whole + edge * width;

  read(a, x, 0, static_cast<int>(edge + 1), end, width);
  extend(a, end, 1, inner - width, -1, width);
  start_steady(a, edge > 0 ? whole : end, width, state);
  run_cascade<Pass::forward>(sections, a.sections, state, whole, width, edge);
  const int64_t block = kTileDoubles / width, blocks = ceil_div(a.time, block);
  for (int64_t start = 0; start < a.time; start += block) {
    const int count = static_cast<int>(least(a.time - start, block));
    read(a, x, start, count, inner + start * width, width);
    run_cascade<Pass::forward>(sections, a.sections, state, inner + start * width, width, count);
  }
  double* right = inner + a.time * width;
  read(a, x, a.time - edge - 1, static_cast<int>(edge + 1), end, width);
  extend(a, end + edge * width, -1, right, 1, width);
  run_cascade<Pass::forward>(sections, a.sections, state, right, width, edge);

  start_steady(a, whole + (padded - 1) * width, width, state);
  run_cascade<Pass::backward>(sections, a.sections, state, right, width, edge);
  for (int64_t i = blocks - 1; i >= 0; --i) {
    const int64_t start = i * block;
    const int count = static_cast<int>(least(a.time - start, block));
    run_cascade<Pass::backward>(sections, a.sections, state, inner + start * width, width, count);
    write(a, y, start, count, inner + start * width, width);
  }
}

// ---- shares ---------------------------------------------------------------------------------

constexpr int64_t kSmall = 1 << 16;  // samples and sections: some 15 us, not worth a pool

// Whole vectors of rows, `most` at most, and as many tasks as threads where there are enough.
int64_t rows_per_task(const SosfiltArgs& a, int64_t most) {
  const int64_t vectors = ceil_div(a.rows, kWide);
  const int64_t share = ceil_div(vectors, a.threads > 1 ? a.threads : 1);
  return kWide * least(share, most < kWide ? 1 : most / kWide);
}

// Rows of a tile that lie apart: one vector, since the processor foresees few runs at a time and
// long ones; more where a tile takes all there is of them.
int64_t apart(const SosfiltArgs& a) {
  const int64_t fit = kTileDoubles / (a.time > 0 ? a.time : 1);
  return fit < kWide ? kWide : least(fit / kWide * kWide, kMaxWidth);
}

bool is_small(const SosfiltArgs& a) { return a.rows * a.time * a.sections < kSmall; }

template <Pass kPass>
bool filter(const SosfiltArgs& given) {
  SosfiltArgs a = given;
  if (a.rows == 0) return true;
  if (is_small(a)) a.threads = 1;
  const bool side_by_side = a.x.rows[a.row_dims - 1] == 1 && a.x.time != 1;
  const int64_t tile = side_by_side ? kMaxWidth : apart(a);
  const int64_t rows = rows_per_task(a, side_by_side ? kStateBytes / (16 * a.sections) : tile);
  Job job{a, rows, least(rows, tile)};
  parallel_for(job.tasks(), a.threads, filter_rows<kPass>, &job);
  return !job.failed;
}

bool zero_phase(const SosfiltArgs& given) {
  SosfiltArgs a = given;
  if (a.rows == 0 || a.time == 0) return true;
  if (is_small(a)) a.threads = 1;
  const int64_t row_bytes = 8 * (a.time + 3 * a.edge + 1);
  const int64_t rows = rows_per_task(a, least(kScratchBytes / row_bytes, apart(a)));
  Job job{a, rows, rows};
  parallel_for(job.tasks(), a.threads, filter_both_ways, &job);
  return !job.failed;
}

}  // namespace

const BandpassKernels bandpass = {filter<Pass::forward>, filter<Pass::adjoint>, zero_phase};

}  // namespace clmer::CLMER_LEVEL
