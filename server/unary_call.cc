#include "server/unary_call.h"

namespace millrace::server {

void RawReply::Send(std::string message) const {
  if (*stream_ == nullptr) return;
  (*stream_)->Write(absl::Cord(std::move(message)));
  (*stream_)->Finish({});
}

void RawReply::Fail(ErrorFrame error) const {
  if (*stream_ != nullptr) (*stream_)->Finish(FailedCall(std::move(error)));
}

void UnaryCall::Start(Stream& stream) {
  stream_ = std::make_shared<Stream*>(&stream);
  stream.Read();
}

void UnaryCall::OnMessage(absl::Cord message) {
  received_ = true;
  handler_(std::string(message), RawReply(stream_), executor_);
}

void UnaryCall::OnReadsDone() {
  if (!received_) RawReply(stream_).Fail(MakeError(v1::Error::INVALID_REQUEST, "the call ended without a request"));
}

void UnaryCall::OnClosed(CallEnd end) {
  *stream_ = nullptr;
  if (on_failure_ && !end.error.ok()) on_failure_(executor_, end.error);
}

}  // namespace millrace::server
