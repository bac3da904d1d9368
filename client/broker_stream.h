// One long-lived stream to one broker: opened, watched, and opened anew until Close().
//
// A new stream first carries a message of greeting; only when that was taken by a connection is the stream established.
// So nothing of value is ever lost in a connection that never came to be. A stream that falls silent is pinged, the sooner the
// more was heard of it lately (1 to 20 s), and given up when nothing comes back within 10 s: half-open connections are noticed.
// Long before that, when an answer is due for 750 ms, its owner is told: the broker may stand still, and others may know who
// leads by now. Of one that was left because it was silent a new stream is established only once it has answered the greeting: a
// process that stands still takes connections, and all that is written to them.
//
//     BrokerStream stream(env, {.address = "10.0.0.1:9470", .method = control::kProduce}, backoff, this);
//     stream.Open();                                   // OnEstablished follows, perhaps after several OnLost
//     if (stream.writable()) stream.Write(message);    // one at a time; OnWritable follows
//
// Lives on the executor. The owner may call anything from within its callbacks but destroy the BrokerStream.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/cord.h"
#include "client/environment.h"
#include "millrace/error.h"
#include "proto/wire/backoff.h"
#include "proto/wire/transport.h"

namespace millrace::client {

class BrokerStream : private StreamHandler {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    // A message that the broker answers with the same number at once. The first one of a stream has number 1.
    virtual absl::Cord PingMessage(uint64_t ping) = 0;
    virtual void OnEstablished() = 0;
    virtual void OnMessage(absl::Cord message) = 0;
    // The last Write() was taken.
    virtual void OnWritable() = 0;
    // The stream broke, or could not be made. It will be opened again by itself.
    virtual void OnLost(const Error& error) = 0;
    // Whether something was written that the broker should have answered by now or soon.
    virtual bool ExpectsAnswer() const { return false; }
    // An answer is due, and nothing comes. Every 250 ms; may end the stream with Fail().
    virtual void OnSilent() = 0;
  };

  struct Target {
    std::string address;
    const char* method;
    std::chrono::nanoseconds connect_timeout;
  };

  BrokerStream(const ClientEnvironment& env, Target target, Backoff backoff, Owner* owner);
  ~BrokerStream() override;
  BrokerStream(const BrokerStream&) = delete;

  void Open();
  void Close();

  // Ends the stream as if it had broken: for a peer that sends nonsense.
  void Fail(Error error);

  bool established() const { return state_ == State::kEstablished; }
  bool writable() const { return established() && !writing_; }
  void Write(absl::Cord message);

  // An answer is due for too long.
  bool silent() const;

  const std::string& address() const { return target_.address; }

 private:
  enum class State {
    kClosed,
    kPausing,     // between attempts
    kConnecting,  // the greeting is on its way
    kEstablished,
  };

  void OnMessage(absl::Cord message) override;
  void OnWritten() override;
  void OnClosed(CallEnd end) override;

  void Connect();
  void Establish();
  void Lose(Error error);
  void DropStream();
  void Watch(std::chrono::nanoseconds delay);
  void OnWatch();
  void Ping(std::chrono::nanoseconds now);
  void CancelTimer();

  ClientEnvironment env_;
  const Target target_;
  Owner* const owner_;
  Backoff backoff_;

  State state_ = State::kClosed;
  std::unique_ptr<Stream> stream_;  // in kConnecting and kEstablished
  bool writing_ = false;
  bool ping_due_ = false;  // wanted while a write was under way
  bool awaiting_pong_ = false;
  bool suspect_ = false;  // it was silent when the last stream ended, and was not heard since
  uint64_t last_ping_ = 0;
  std::chrono::nanoseconds heard_at_{0};
  std::chrono::nanoseconds asked_at_{0};  // the last ping was written, or the first message since something was heard
  std::chrono::nanoseconds ping_after_{0};
  std::chrono::nanoseconds connecting_until_{0};
  Executor::TimerId timer_ = 0;  // one at a time: pause, connect time-out or watch
  std::chrono::nanoseconds timer_at_{0};

  std::vector<std::unique_ptr<Stream>> dropped_;  // hear nothing more; destroyed by the timer
  Executor::TimerId reap_timer_ = 0;
};

}  // namespace millrace::client
