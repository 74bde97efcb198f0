// The kernels run without the interpreter's lock.
#pragma once

#include <pybind11/pybind11.h>
#include <unistd.h>

namespace clmer {

// Takes the lock back. A daemon thread that comes back while the interpreter shuts down does not
// get it: before Python 3.14 it is ended by pthread_exit, whose unwinding would meet destructors
// (std::terminate: the process aborts, and its exit code is lost) and leave C++ objects to drop
// their references to Python without the lock. It stops here instead, as 3.14 has it, and ends with
// the process. Not inlined: into a destructor, which must not throw, the unwinding comes no further
// than to that.
[[gnu::noinline]] inline void take_gil(PyThreadState* state) {
  struct Stop {
    bool back = false;
    ~Stop() {
      while (!back) pause();
    }
  } stop;
  PyEval_RestoreThread(state);
  stop.back = true;
}

class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() { take_gil(state_); }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

}  // namespace clmer
