// millraced: one broker.
#include <pthread.h>
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>

#include "proto/transport/grpc_transport.h"
#include "server/config.h"
#include "server/heap.h"
#include "server/inspect.h"
#include "server/log.h"
#include "server/process_limits.h"
#include "server/server.h"

namespace {

using namespace millrace::server;

constexpr int kExitCouldNotStart = 1;

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

// Whether one of the signals, which every thread has blocked, has come.
bool HasCome(const sigset_t& signals) {
  sigset_t pending;
  sigpending(&pending);
  return (sigismember(&signals, SIGTERM) && sigismember(&pending, SIGTERM)) ||
         (sigismember(&signals, SIGINT) && sigismember(&pending, SIGINT));
}

// Waits for one of them.
void WaitFor(const sigset_t& signals) {
  int signal = 0;
  sigwait(&signals, &signal);
}

int Run(const Config& config) {
  const sigset_t signals = StopSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  millrace::log::SetLevel(config.log_level);
  for (const std::string& notice : config.notices) MILLRACE_LOG(kWarning, notice);
  if (auto limit = RaiseFileLimit(); !limit.ok()) {
    MILLRACE_LOG(kWarning, "could not raise the limit on open files", {"status", limit.status().ToString()});
  }
  Server server(config);
  absl::Status status = server.Start([&signals] { return HasCome(signals); });
  if (absl::IsCancelled(status)) {
    MILLRACE_LOG(kInfo, "stopping before the broker was ready");
    server.Stop();
    return 0;
  }
  if (!status.ok()) {
    std::fprintf(stderr, "millraced: %s\n", std::string(status.message()).c_str());
    server.Stop();
    return absl::IsDataLoss(status) ? kExitStoreFailed : kExitCouldNotStart;
  }
  std::printf("%s\n", server.ReadyLine().c_str());
  std::fflush(stdout);
  WaitFor(signals);
  MILLRACE_LOG(kInfo, "stopping; a second signal stops at once");
  std::thread([signals] {
    WaitFor(signals);
    std::_Exit(0);
  }).detach();
  server.Stop();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  TuneHeap();
  millrace::UseSystemResolver();
  if (argc > 1 && std::string_view(argv[1]) == "inspect") return RunInspect({argv + 2, argv + argc});
  CommandLine command = ParseCommandLine(argc, argv, Host::Current());
  std::fputs(command.output.c_str(), stdout);
  std::fputs(command.error.c_str(), stderr);
  if (command.exit_code) return *command.exit_code;
  return Run(command.config);
}
