// Calls between client and broker as their logic sees them: messages in, messages out, nothing of gRPC. proto/transport and
// server/ implement it on gRPC, tests on queues in memory.
//
// A stream has two ends that look the same. Its owner holds a Stream and is told of events through a StreamHandler:
//
//     stream->Read();                 // asks for one message; OnMessage (or OnClosed) follows
//     stream->Write(std::move(cord)); // one at a time; OnWritten (or OnClosed) follows
//
// Not asking for the next message is back-pressure: the peer's writes then stop completing.
// Everything runs on one executor; handlers may call the stream from within a callback. A Stream is kept until OnClosed was
// called; destroying it earlier cancels it, and its handler hears nothing more.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "proto/wire/frames.h"

namespace millrace {

// How a call ended. `error.code` is not 0 when the peer said more than a status. OK: the peer ended the stream in order.
struct CallEnd {
  absl::Status status;
  ErrorFrame error;
  bool never_sent = false;  // there was no connection to send anything on: nothing can have happened
};

class StreamHandler {
 public:
  virtual ~StreamHandler() = default;
  virtual void OnMessage(absl::Cord message) = 0;
  virtual void OnWritten() = 0;
  // The peer will send nothing more (a client's half-close). Only at the broker's end; more can be written.
  virtual void OnReadsDone() {}
  // The last call. Messages whose OnWritten had not come may or may not have arrived.
  virtual void OnClosed(CallEnd end) = 0;
};

class Stream {
 public:
  virtual ~Stream() = default;
  virtual void Read() = 0;
  virtual void Write(absl::Cord message) = 0;
  // Broker's end: sends the status after what was written; OnClosed follows. Client's end: half-close; the status is not sent.
  virtual void Finish(CallEnd end) = 0;
  // Broker's end: ends the call at once, dropping what is being written; the peer learns only that it was cancelled. For peers
  // that do not read: a status would wait behind what they do not take. OnClosed follows, with `end`.
  virtual void Abort(CallEnd end) { Finish(std::move(end)); }
};

struct CallReply {
  CallEnd end;
  absl::Cord message;  // when end.status is OK
};

// The client's way out. `address` is HOST:PORT; `method` is "/millrace.v1.Broker/Fetch".
class ClientTransport {
 public:
  virtual ~ClientTransport() = default;

  // Never fails by itself: a connection that cannot be made ends the stream with OnClosed(kUnavailable), within the connect
  // timeout.
  virtual std::unique_ptr<Stream> OpenStream(const std::string& address, const std::string& method,
                                             StreamHandler* handler) = 0;

  // Unary call. `done` is called once, with kDeadlineExceeded after `timeout`.
  virtual void Call(const std::string& address, const std::string& method, absl::Cord request,
                    std::chrono::nanoseconds timeout, std::function<void(CallReply)> done) = 0;

  // What is begun from now on takes a new connection, to what the name stands for by then; what is under way goes on. For who knows
  // more than a connection does that is still being made or dead in silence.
  virtual void Forget(const std::string& /*address*/) {}
};

}  // namespace millrace
