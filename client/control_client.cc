#include "client/control_client.h"

#include <algorithm>

#include "client/status.h"

namespace millrace::client {

using std::chrono::nanoseconds;

struct ControlClient::Attempt {
  const char* method;
  absl::Cord request;
  CallOptions options;
  Done done;
  nanoseconds started;
  Backoff backoff;
  std::string asked = {};  // the address, while waiting for it
  uint64_t number = 0;     // how often it was asked
  size_t tried = 0;        // addresses, since the last pause
  bool connected = false;
  Error last;
};

ControlClient::ControlClient(const ClientEnvironment& env, const ClientOptions& options,
                             std::vector<std::string> bootstrap)
    : env_(env),
      options_(options),
      bootstrap_count_(bootstrap.size()),
      addresses_(std::move(bootstrap)),
      self_(std::make_shared<ControlClient*>(this)) {}

ControlClient::~ControlClient() = default;

void ControlClient::SetAdvertised(const std::vector<std::string>& addresses) {
  const std::string current = addresses_[current_];
  addresses_.resize(bootstrap_count_);
  for (const std::string& address : addresses) {
    if (std::find(addresses_.begin(), addresses_.end(), address) == addresses_.end()) addresses_.push_back(address);
  }
  auto it = std::find(addresses_.begin(), addresses_.end(), current);
  current_ = it == addresses_.end() ? 0 : static_cast<size_t>(it - addresses_.begin());
}

void ControlClient::Avoid(const std::string& address) {
  if (addresses_.size() == 1) return;
  if (addresses_[current_] == address) current_ = (current_ + 1) % addresses_.size();
  for (const std::shared_ptr<Attempt>& attempt : std::vector(waiting_)) {
    if (attempt->asked == address && attempt->options.repeat == Repeat::kSafe) Start(attempt);
  }
}

void ControlClient::Call(const char* method, absl::Cord request, CallOptions options, Done done) {
  Start(std::make_shared<Attempt>(
      Attempt{.method = method,
              .request = std::move(request),
              .options = options,
              .done = std::move(done),
              .started = env_.clock.Monotonic(),
              .backoff = Backoff(env_.random, options_.retry_backoff, options_.retry_backoff_max)}));
}

void ControlClient::Start(const std::shared_ptr<Attempt>& attempt) {
  const nanoseconds left = attempt->started + attempt->options.timeout - env_.clock.Monotonic();
  if (left <= nanoseconds(0)) return Finish(attempt, ToStatus(GiveUp(*attempt)));
  const bool limited = attempt->options.repeat == Repeat::kSafe;
  const size_t index = current_;
  attempt->asked = addresses_[index];
  if (std::find(waiting_.begin(), waiting_.end(), attempt) == waiting_.end()) waiting_.push_back(attempt);
  env_.transport.Call(
      addresses_[index], attempt->method, attempt->request,
      limited ? std::min<nanoseconds>(left, attempt->options.attempt_limit) : left,
      [this, attempt, index, number = ++attempt->number, alive = std::weak_ptr(self_)](CallReply reply) {
        if (alive.expired() || number != attempt->number) return;
        std::erase(waiting_, attempt);
        OnReply(attempt, index, std::move(reply));
      });
}

void ControlClient::OnReply(const std::shared_ptr<Attempt>& attempt, size_t index, CallReply reply) {
  last_failure_.reset();
  if (reply.end.status.ok()) {
    const auto& not_yet = attempt->options.not_yet;
    const std::optional<Error> missing = not_yet == nullptr ? std::nullopt : not_yet(reply.message);
    if (!missing) return Finish(attempt, std::move(reply.message));
    attempt->last = *missing;
    attempt->connected = true;
    return RetryLater(attempt);
  }
  index = std::min(index, addresses_.size() - 1);
  const Error error = ErrorOfCall(reply.end, addresses_[index]);
  const bool network = error.code == ErrorCode::kNetworkException;
  if (network) last_failure_ = error;
  const bool connected = !network || error.may_have_happened;
  // What a broker answered says more than that another one is away.
  if (connected || !attempt->connected) attempt->last = error;
  attempt->connected |= connected;
  const bool safe = attempt->options.repeat == Repeat::kSafe || !error.may_have_happened;
  if (!WorthRetrying(error) || !safe) return Finish(attempt, ToStatus(error));

  // Another address may do better, be it that this one is gone, hangs, or is shutting down.
  if (index == current_) current_ = (current_ + 1) % addresses_.size();
  if (++attempt->tried < addresses_.size()) return Start(attempt);
  attempt->tried = 0;
  RetryLater(attempt);
}

void ControlClient::RetryLater(const std::shared_ptr<Attempt>& attempt) {
  const nanoseconds timeout = attempt->connected
                                  ? attempt->options.timeout
                                  : std::min<nanoseconds>(attempt->options.timeout, options_.connect_timeout);
  const nanoseconds pause = attempt->backoff.Next();
  if (env_.clock.Monotonic() + pause >= attempt->started + timeout) return Finish(attempt, ToStatus(GiveUp(*attempt)));
  env_.executor.After(pause, [this, attempt, alive = std::weak_ptr(self_)] {
    if (!alive.expired()) Start(attempt);
  });
}

void ControlClient::Finish(const std::shared_ptr<Attempt>& attempt, absl::StatusOr<absl::Cord> result) {
  std::erase(waiting_, attempt);
  ++attempt->number;  // an answer that is still on its way is nobody's
  const Done done = std::move(attempt->done);
  done(std::move(result));
}

Error ControlClient::GiveUp(const Attempt& attempt) const {
  Error error = attempt.last;
  if (!attempt.connected) {
    std::string list;
    for (size_t i = 0; i < bootstrap_count_; ++i) list += (i == 0 ? "" : ", ") + addresses_[i];
    error.code = ErrorCode::kNetworkException;
    error.message = "cannot reach a broker at " + list + " (" + attempt.last.message +
                    "); is one running there, and is the address right?";
    error.retriable = true;
    error.may_have_happened = false;
    return error;
  }
  if (error.code == ErrorCode::kNone) {
    error = {.code = ErrorCode::kRequestTimedOut, .message = "no answer in time", .retriable = true};
  }
  return error;
}

}  // namespace millrace::client
