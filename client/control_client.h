// Unary calls to whichever broker can be reached.
//
//     control.Call(control::kListTopics, request, {.timeout = 10s, .repeat = Repeat::kSafe},
//                  [](absl::StatusOr<absl::Cord> reply) { ... });
//
// Addresses are tried in turn, beginning with the last one that worked. Calls that never left are retried; those that
// may have arrived only when repeating is safe; errors that the broker calls retriable as well, all until the time-out,
// or until connect.timeout.ms while no address at all can be connected.
// An error says what a broker answered last, or, if none did, why the last one could not be reached.
//
// Lives on the executor: no locks. Destroying it drops calls under way: their `done` is not called any more.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "client/environment.h"
#include "millrace/error.h"
#include "millrace/options.h"
#include "proto/wire/backoff.h"

namespace millrace::client {

enum class Repeat {
  kSafe,       // reads, and what has the same effect twice as once
  kIfNotSent,  // only when the call surely did not take effect
};

struct CallOptions {
  std::chrono::nanoseconds timeout;
  Repeat repeat = Repeat::kSafe;
  // One address that does not answer must not use up the time for the others; of calls that are safe to repeat.
  std::chrono::nanoseconds attempt_limit = std::chrono::seconds(5);
  // An answer in which something is missing that may be there later: what; the call is then made again. Null: none.
  std::function<std::optional<Error>(const absl::Cord& reply)> not_yet = nullptr;
};

class ControlClient {
 public:
  using Done = std::function<void(absl::StatusOr<absl::Cord>)>;

  // bootstrap: HOST:PORT each, at least one.
  ControlClient(const ClientEnvironment& env, const ClientOptions& options, std::vector<std::string> bootstrap);
  ~ControlClient();
  ControlClient(const ControlClient&) = delete;

  void Call(const char* method, absl::Cord request, CallOptions options, Done done);

  // The broker at this address does not answer: another is asked first from now on, and what is safe to repeat of that which this
  // one was asked.
  void Avoid(const std::string& address);

  // Where the last call was answered, or the first bootstrap address.
  const std::string& address() const { return addresses_[current_]; }

  // Why the last attempt of any call found no broker; nothing when it found one.
  const std::optional<Error>& last_failure() const { return last_failure_; }

  // More addresses to try, as learnt from metadata.
  void SetAdvertised(const std::vector<std::string>& addresses);

 private:
  struct Attempt;

  void Start(const std::shared_ptr<Attempt>& attempt);
  void OnReply(const std::shared_ptr<Attempt>& attempt, size_t index, CallReply reply);
  void RetryLater(const std::shared_ptr<Attempt>& attempt);
  void Finish(const std::shared_ptr<Attempt>& attempt, absl::StatusOr<absl::Cord> result);
  Error GiveUp(const Attempt& attempt) const;

  ClientEnvironment env_;
  const ClientOptions options_;
  const size_t bootstrap_count_;
  std::vector<std::string> addresses_;  // bootstrap, then advertised
  size_t current_ = 0;
  std::optional<Error> last_failure_;
  std::vector<std::shared_ptr<Attempt>> waiting_;  // for an answer
  // Callbacks and timers of calls under way hold a weak reference: nothing is called once it is gone.
  std::shared_ptr<ControlClient*> self_;
};

}  // namespace millrace::client
