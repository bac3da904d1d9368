// One long-lived stream to one broker: opened, watched, and opened anew until Close().
//
// A new stream first carries a message of greeting; only when that was taken by a connection is the stream established.
// So nothing of value is ever lost in a connection that never came to be. A stream on which nothing was heard for 20 s
// is pinged, and given up when nothing comes back within 10 s: half-open connections are noticed.
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
  void Lose(Error error);
  void DropStream();
  void Watch(std::chrono::nanoseconds delay);
  void OnWatch();
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
  uint64_t last_ping_ = 0;
  std::chrono::nanoseconds heard_at_{0};
  Executor::TimerId timer_ = 0;  // one at a time: pause, connect time-out or watch

  std::vector<std::unique_ptr<Stream>> dropped_;  // hear nothing more; destroyed by the timer
  Executor::TimerId reap_timer_ = 0;
};

}  // namespace millrace::client
