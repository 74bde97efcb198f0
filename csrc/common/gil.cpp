#include "common/gil.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace clmer {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kStep = std::chrono::microseconds(200);
constexpr auto kArrival = std::chrono::milliseconds(50);  // of the others, at a kernel
// An exit handler may wait for a thread that waits here. Then that one goes on.
constexpr auto kPatience = std::chrono::seconds(2);

// Threads that have run a kernel and are alive, and those that run one or stopped behind it.
std::atomic<int> users{0}, inside{0};
std::atomic<bool> leaving{false};
std::thread::id leaver;
const int registered = pthread_atfork(nullptr, nullptr, [] { users = 0, inside = 0; });

struct User {
  const pid_t process = getpid();
  bool stops = true;
  User() { ++users; }
  ~User() {
    if (getpid() == process) --users;
  }
};

User& this_user() {
  thread_local User user;
  return user;
}

bool shuts_down() {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsFinalizing();
#else
  return _Py_IsFinalizing();
#endif
}

[[noreturn]] void stop() {
  for (;;) pause();
}

void wait_for_shutdown(User& user) {
  const auto end = Clock::now() + kPatience;
  while (Clock::now() < end) {
    if (shuts_down()) stop();
    std::this_thread::sleep_for(kStep);
  }
  user.stops = false;
}

// Not inlined: where pthread_exit unwinds, the destructor here comes before those of the caller,
// which must not throw.
[[gnu::noinline]] void take_gil(PyThreadState* state) {
  struct Stop {
    bool back = false;
    ~Stop() {
      if (!back) stop();
    }
  } guard;
  PyEval_RestoreThread(state);
  guard.back = true;
}

}  // namespace

WithoutGil::WithoutGil() : state_(PyEval_SaveThread()) {
  this_user();
  ++inside;
}

WithoutGil::~WithoutGil() {
  User& user = this_user();
  if (leaving && user.stops && std::this_thread::get_id() != leaver) wait_for_shutdown(user);
  --inside;
  take_gil(state_);
}

void let_threads_stop() {
  leaver = std::this_thread::get_id();
  leaving = registered == 0;
  this_user();
  PyThreadState* state = PyEval_SaveThread();
  const auto end = Clock::now() + kArrival;
  while (users - 1 > inside && Clock::now() < end) std::this_thread::sleep_for(kStep);
  take_gil(state);
}

}  // namespace clmer
