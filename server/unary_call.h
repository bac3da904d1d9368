// Unary methods over Calls: one request, one reply or error.
//
//     services.Add("/millrace.v1.Admin/ListTopics", Unary<v1::ListTopicsRequest, v1::ListTopicsResponse>(on_failure,
//         [&](const auto& request, auto reply) { reply.Send(response); }));   // now or later
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "server/call.h"
#include "server/errors.h"

namespace millrace::server {

// The one reply of a call. May be kept and used later, on the call's executor; without effect once the client is gone.
class RawReply {
 public:
  void Send(std::string message) const;
  void Fail(ErrorFrame error) const;

 private:
  friend class UnaryCall;
  explicit RawReply(std::shared_ptr<Stream*> stream) : stream_(std::move(stream)) {}

  std::shared_ptr<Stream*> stream_;  // points to nullptr once the call is over
};

class UnaryCall : public Call {
 public:
  using Handler = std::function<void(std::string request, RawReply reply, Executor& executor)>;
  // Told of the error that a call ended with.
  using FailureListener = std::function<void(Executor& executor, const ErrorFrame& error)>;

  UnaryCall(Handler handler, FailureListener on_failure, Executor& executor)
      : handler_(std::move(handler)), on_failure_(std::move(on_failure)), executor_(executor) {}

  void Start(Stream& stream) override;
  void OnMessage(absl::Cord message) override;
  void OnReadsDone() override;
  void OnWritten() override {}
  void OnClosed(CallEnd end) override;

 private:
  const Handler handler_;
  const FailureListener on_failure_;
  Executor& executor_;
  bool received_ = false;
  std::shared_ptr<Stream*> stream_;
};

template <typename Response>
class Reply {
 public:
  explicit Reply(RawReply raw) : raw_(std::move(raw)) {}
  void Send(const Response& response) const { raw_.Send(response.SerializeAsString()); }
  void Fail(ErrorFrame error) const { raw_.Fail(std::move(error)); }
  const RawReply& raw() const { return raw_; }

 private:
  RawReply raw_;
};

// A factory of calls that parse a Request and give it to handler(const Request&, Reply<Response>, Executor&).
template <typename Request, typename Response, typename F>
UnaryCall::Handler Parsed(F handler) {
  return [handler = std::move(handler)](std::string bytes, RawReply reply, Executor& executor) {
    Request request;
    if (!request.ParseFromString(bytes)) {
      reply.Fail(MakeError(v1::Error::INVALID_REQUEST, "the request is not a " + request.GetTypeName()));
      return;
    }
    handler(request, Reply<Response>(std::move(reply)), executor);
  };
}

template <typename Request, typename Response, typename F>
ServiceRegistry::Factory Unary(UnaryCall::FailureListener on_failure, F handler) {
  return [raw = Parsed<Request, Response>(std::move(handler)), on_failure = std::move(on_failure)](Executor& executor) {
    return std::make_unique<UnaryCall>(raw, on_failure, executor);
  };
}

}  // namespace millrace::server
