#include "client/cli/interrupt.h"

#include <sys/eventfd.h>
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

void WakeReaders() {
  const uint64_t one = 1;
  // Fails only when the counter is full, that is, when it is readable already.
  [[maybe_unused]] ssize_t written = write(wake_fd, &one, sizeof(one));
}

}  // namespace millrace::cli
