// The Runtime of millrace/runtime.h from the inside: one thread, its completion loop, clock and random numbers.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "absl/status/statusor.h"
#include "client/environment.h"
#include "millrace/options.h"
#include "millrace/runtime.h"

namespace millrace {
class CompletionLoop;
}

namespace millrace::client {

class RuntimeThread : public Runtime {
 public:
  RuntimeThread();
  ~RuntimeThread() override;

  Clock& clock();
  Random& random();
  Executor& executor();
  CompletionLoop& loop();

  // Runs `task` on the thread and waits until it is done. Not from the thread itself.
  void RunAndWait(const std::function<void()>& task);

  // Runs `start` on the thread and waits for the value that it, or something it starts, hands to its argument.
  template <typename Result>
  Result Await(const std::function<void(std::function<void(Result)>)>& start) {
    std::mutex mutex;
    std::condition_variable given;
    std::optional<Result> result;
    RunAndWait([&] {
      start([&](Result value) {
        std::lock_guard lock(mutex);
        result.emplace(std::move(value));
        given.notify_one();
      });
    });
    std::unique_lock lock(mutex);
    given.wait(lock, [&] { return result.has_value(); });
    return *std::move(result);
  }

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
  std::thread thread_;
};

// A runtime and a transport of one's own on it: what every producer, consumer and admin begins with.
class Foundation {
 public:
  static absl::StatusOr<std::unique_ptr<Foundation>> Create(const ClientOptions& options);
  ~Foundation();

  ClientEnvironment environment();
  RuntimeThread& thread() { return *thread_; }
  bool OnThread();

 private:
  Foundation(std::shared_ptr<RuntimeThread> thread, std::unique_ptr<ClientTransport> transport);

  std::shared_ptr<RuntimeThread> thread_;
  std::unique_ptr<ClientTransport> transport_;
};

}  // namespace millrace::client
