#include "client/cli/interrupt.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>

namespace millrace::cli {
namespace {

std::atomic<bool> interrupted{false};
int wake_fd = -1;

void OnSignal(int) {
  interrupted.store(true);
  WakeReaders();
}

}  // namespace

void CatchInterrupts() {
  wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  struct sigaction action {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESETHAND;  // the second one has its default effect; no SA_RESTART: system calls return EINTR
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

bool Interrupted() { return interrupted.load(std::memory_order_relaxed); }

int WakeFd() { return wake_fd; }

void WakeReaders() {
  const uint64_t one = 1;
  // Fails only when the counter is full, that is, when it is readable already.
  [[maybe_unused]] ssize_t written = write(wake_fd, &one, sizeof(one));
}

}  // namespace millrace::cli
