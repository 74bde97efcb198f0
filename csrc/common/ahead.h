// Memory that is asked for while something else computes: pieces too short for the hardware to see
// a stream in them. Compiled once per SIMD level.
//
// A few lines at a time: of a long burst, a processor that has as many misses in flight as it can
// hold leaves some out, and its loads wait.
#pragma once

#include <cstdint>

namespace clmer::CLMER_LEVEL {

class Ahead {
 public:
  // What is read or written soon. Lines to write are asked for in the same way: nobody else has
  // them, so that they come as ones that may be written.
  void add(const void* data, int64_t row_bytes, int64_t rows, int64_t bytes) {
    if (count_ == kMost) return;  // it is a hint
    if (row_bytes == bytes) bytes *= rows, rows = 1;
    pieces_[count_++] = {static_cast<const char*>(data), row_bytes, rows, bytes};
    lines_ += rows * ((bytes + kLine - 1) / kLine);
  }
  // All lines are to be asked for over so much work.
  void spread(int64_t work) { lines_per_work_ = double(lines_) / double(work > 0 ? work : 1); }
  // The lines that come with so much of it.
  void advance(int64_t work) {
    due_ += lines_per_work_ * double(work);
    const int64_t lines = int64_t(due_);
    due_ -= double(lines);
    fetch(lines);
  }

 private:
  static constexpr int kMost = 8, kLine = 64;
  struct Piece {
    const char* data;
    int64_t row_bytes, rows, bytes;
  };

  void fetch(int64_t lines) {
    while (lines > 0 && piece_ < count_) {
      const Piece& piece = pieces_[piece_];
      const char* row = piece.data + row_ * piece.row_bytes;
      for (; offset_ < piece.bytes && lines > 0; offset_ += kLine, --lines) {
        __builtin_prefetch(row + offset_, 0, 2);
      }
      if (offset_ < piece.bytes) return;
      offset_ = 0;
      if (++row_ == piece.rows) row_ = 0, ++piece_;
    }
  }

  Piece pieces_[kMost];
  int count_ = 0, piece_ = 0;
  int64_t row_ = 0, offset_ = 0, lines_ = 0;
  double lines_per_work_ = 0, due_ = 0;
};

}  // namespace clmer::CLMER_LEVEL
