#include "client/cli/interrupt.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>

namespace millrace::cli {
namespace {

constexpr int kExitCode = 130;

std::atomic<bool> deferred{false};
std::atomic<bool> interrupted{false};
int wake_fd = -1;

void OnSignal(int) {
  if (!deferred.load() || interrupted.exchange(true)) _exit(kExitCode);
  WakeReaders();
}

}  // namespace

void CatchInterrupts() {
  wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  struct sigaction action {};  // no SA_RESTART: system calls return EINTR
  action.sa_handler = OnSignal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

void DeferInterrupts() { deferred.store(true); }

bool Interrupted() { return interrupted.load(std::memory_order_relaxed); }

int WakeFd() { return wake_fd; }

void WaitUntil(std::chrono::steady_clock::time_point at) {
  // The default slack of 50 us would be most of the latency of a fast broker.
  thread_local const int slack = prctl(PR_SET_TIMERSLACK, 1000);
  static_cast<void>(slack);
  using std::chrono::nanoseconds;
  for (nanoseconds left = at - std::chrono::steady_clock::now(); left.count() > 0;
       left = at - std::chrono::steady_clock::now()) {
    timespec timeout{.tv_sec = left.count() / 1'000'000'000, .tv_nsec = left.count() % 1'000'000'000};
    pollfd wake{wake_fd, POLLIN, 0};
    if (ppoll(&wake, 1, &timeout, nullptr) > 0) return;
  }
}

void WakeReaders() {
  const uint64_t one = 1;
  // Fails only when the counter is full, that is, when it is readable already.
  [[maybe_unused]] ssize_t written = write(wake_fd, &one, sizeof(one));
}

}  // namespace millrace::cli
