// The kernels run without the interpreter's lock.
//
// A daemon thread that comes back while the interpreter shuts down does not get the lock: before
// Python 3.14 it is ended by pthread_exit, whose unwinding meets destructors (std::terminate: the
// process aborts, and its exit code is lost) and has C++ objects drop references to Python without
// the lock. Here such a thread stops for good, as 3.14 has it, and ends with the process.
//
// That does not help a thread that is on its way to a kernel, in torch's functions, which take the
// lock in their own way. So `let_threads_stop`, called as the process begins to exit, gives the
// others a moment to come to a kernel, behind which they wait for the shutdown.
#pragma once

#include <pybind11/pybind11.h>

namespace clmer {

class WithoutGil {
 public:
  WithoutGil();
  ~WithoutGil();
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

// For Python's atexit, on the thread that exits.
void let_threads_stop();

}  // namespace clmer
