#include "client/broker_stream.h"

#include <algorithm>
#include <utility>

#include "client/status.h"
#include "proto/wire/check.h"

namespace millrace::client {
namespace {

using std::chrono::nanoseconds;

// Doubled with each ping that only was answered.
constexpr std::chrono::seconds kPingAfterMin(1);
constexpr std::chrono::seconds kPingAfterMax(20);
constexpr std::chrono::seconds kPongTimeout(10);
constexpr std::chrono::milliseconds kSilence(750);
constexpr std::chrono::milliseconds kSilentPeriod(250);

}  // namespace

BrokerStream::BrokerStream(const ClientEnvironment& env, Target target, Backoff backoff, Owner* owner)
    : env_(env), target_(std::move(target)), owner_(owner), backoff_(backoff) {}

BrokerStream::~BrokerStream() {
  CancelTimer();
  if (reap_timer_ != 0) env_.executor.Cancel(reap_timer_);
}

void BrokerStream::Open() {
  if (state_ == State::kClosed) Connect();
}

void BrokerStream::Close() {
  CancelTimer();
  DropStream();
  state_ = State::kClosed;
}

// The handle may be on the call stack below us: it is destroyed a little later.
void BrokerStream::DropStream() {
  if (!stream_) return;
  dropped_.push_back(std::move(stream_));
  if (reap_timer_ != 0) return;
  reap_timer_ = env_.executor.After(nanoseconds(0), [this] {
    reap_timer_ = 0;
    dropped_.clear();
  });
}

void BrokerStream::Connect() {
  state_ = State::kConnecting;
  writing_ = true;
  ping_due_ = false;
  awaiting_pong_ = false;
  last_ping_ = 1;
  stream_ = env_.transport.OpenStream(target_.address, target_.method, this);
  stream_->Read();
  stream_->Write(owner_->PingMessage(last_ping_));
  const nanoseconds limit = suspect_ ? nanoseconds(kPongTimeout) : target_.connect_timeout;
  connecting_until_ = env_.clock.Monotonic() + limit;
  Watch(suspect_ ? nanoseconds(kSilentPeriod) : limit);
}

void BrokerStream::Establish() {
  state_ = State::kEstablished;
  heard_at_ = asked_at_ = env_.clock.Monotonic();
  awaiting_pong_ = true;  // of the greeting
  ping_after_ = kPingAfterMin;
  CancelTimer();
  Watch(kSilence);
  owner_->OnEstablished();
}

void BrokerStream::Write(absl::Cord message) {
  MILLRACE_CHECK(writable()) << "one write at a time";
  writing_ = true;
  const nanoseconds now = env_.clock.Monotonic();
  if (asked_at_ <= heard_at_) asked_at_ = now;
  if (timer_at_ > now + kSilence) {
    CancelTimer();
    Watch(kSilence);
  }
  stream_->Write(std::move(message));
}

void BrokerStream::OnMessage(absl::Cord message) {
  if (!stream_) return;
  suspect_ = false;
  if (state_ == State::kConnecting && !writing_) Establish();
  heard_at_ = env_.clock.Monotonic();
  if (!std::exchange(awaiting_pong_, false)) ping_after_ = kPingAfterMin;
  backoff_.Reset();
  stream_->Read();
  owner_->OnMessage(std::move(message));
}

void BrokerStream::OnWritten() {
  if (!stream_) return;
  writing_ = false;
  if (state_ == State::kConnecting) {
    if (!suspect_) Establish();
    return;
  }
  if (ping_due_) {
    ping_due_ = false;
    Write(owner_->PingMessage(++last_ping_));
    return;
  }
  owner_->OnWritable();
}

void BrokerStream::OnClosed(CallEnd end) {
  if (!stream_) return;
  Error error = ErrorOfCall(end, target_.address);
  if (end.status.ok()) error.message = target_.address + " ended the stream";
  Lose(std::move(error));
}

void BrokerStream::Fail(Error error) {
  if (stream_) Lose(std::move(error));
}

void BrokerStream::Lose(Error error) {
  suspect_ = silent();
  CancelTimer();
  DropStream();
  state_ = State::kPausing;
  timer_ = env_.executor.After(backoff_.Next(), [this] {
    timer_ = 0;
    Connect();
  });
  owner_->OnLost(error);
}

void BrokerStream::Watch(nanoseconds delay) {
  timer_at_ = env_.clock.Monotonic() + delay;
  timer_ = env_.executor.After(delay, [this] {
    timer_ = 0;
    OnWatch();
  });
}

bool BrokerStream::silent() const {
  if (state_ == State::kConnecting) return suspect_;
  return state_ == State::kEstablished && (awaiting_pong_ || owner_->ExpectsAnswer()) &&
         env_.clock.Monotonic() - std::max(heard_at_, asked_at_) >= kSilence;
}

void BrokerStream::OnWatch() {
  const nanoseconds now = env_.clock.Monotonic();
  const bool connecting = state_ == State::kConnecting;
  if (connecting ? now >= connecting_until_ : awaiting_pong_ && now - asked_at_ >= kPongTimeout) {
    Lose({.code = ErrorCode::kNetworkException,
          .message = target_.address + (connecting ? " cannot be connected in time" : " does not answer any more"),
          .retriable = true,
          .may_have_happened = !connecting,
          .address = target_.address});
    return;
  }
  if (!connecting && !awaiting_pong_ && now - heard_at_ >= ping_after_) Ping(now);
  if (silent()) {
    Watch(kSilentPeriod);
    return owner_->OnSilent();
  }
  const bool due = awaiting_pong_ || owner_->ExpectsAnswer();
  const nanoseconds silent_at = std::max(heard_at_, asked_at_) + kSilence;
  Watch(due ? silent_at - now : std::max<nanoseconds>(heard_at_ + ping_after_ - now, kSilentPeriod));
}

void BrokerStream::Ping(nanoseconds now) {
  awaiting_pong_ = true;
  asked_at_ = now;
  ping_after_ = std::min<nanoseconds>(2 * ping_after_, kPingAfterMax);
  if (writing_) {
    ping_due_ = true;
  } else {
    writing_ = true;
    stream_->Write(owner_->PingMessage(++last_ping_));
  }
}

void BrokerStream::CancelTimer() {
  if (timer_ == 0) return;
  env_.executor.Cancel(timer_);
  timer_ = 0;
}

}  // namespace millrace::client
