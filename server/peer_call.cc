#include "server/peer_call.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/errors.h"

namespace millrace::server {

using internal::v1::PeerAnswer;
using internal::v1::Refusal;

namespace {

absl::StatusCode StatusOf(Refusal::Reason reason) {
  switch (reason) {
    case Refusal::UNAUTHENTICATED:
      return absl::StatusCode::kUnauthenticated;
    case Refusal::NO_CLUSTER:
      return absl::StatusCode::kUnavailable;
    case Refusal::DUPLICATE_BROKER:
      return absl::StatusCode::kAlreadyExists;
    case Refusal::MALFORMED:
    case Refusal::FOREIGN_MESSAGE:
      return absl::StatusCode::kInvalidArgument;
    default:
      return absl::StatusCode::kFailedPrecondition;
  }
}

}  // namespace

PeerCall::PeerCall(PeerGate& gate, PeerSink& sink)
    : gate_(gate), sink_(sink), self_pointer_(std::make_shared<PeerCall*>(this)) {}

PeerCall::~PeerCall() { *self_pointer_ = nullptr; }

void PeerCall::Start(Stream& stream) {
  stream_ = &stream;
  nonce_ = gate_.NewNonce();
  PeerAnswer answer;
  answer.mutable_challenge()->set_nonce(nonce_);
  Say(answer);
  stream_->Read();
}

void PeerCall::OnMessage(absl::Cord message) {
  if (ending_) return;
  visit_ == nullptr ? OnHello(message) : OnFrame(message);
}

void PeerCall::OnHello(const absl::Cord& message) {
  if (message.size() > kHelloBytesMax) {
    return Refuse(Refusal::MALFORMED, absl::StrCat("the first frame of a link has ", message.size(),
                                                   " bytes; a Hello has at most ", kHelloBytesMax));
  }
  const absl::StatusOr<PeerFrame> frame = ParsePeerFrame(message);
  if (!frame.ok()) return Refuse(Refusal::MALFORMED, ToStdString(frame.status().message()));
  internal::v1::Hello hello;
  if (!frame->hello || !hello.ParseFromString(std::string(*frame->hello))) {
    return Refuse(Refusal::MALFORMED, "the first frame of a link has no Hello");
  }
  if (auto refusal = gate_.Check(hello, nonce_)) return Refuse(*std::move(refusal));

  const PeerIdentity self = gate_.self();
  self_ = self.life.replica;
  peer_ = {.replica = FromProto(hello.from()), .session = hello.session()};
  lane_ = hello.lane();
  gate_.ForgetRefusals();
  visit_ = gate_.presence().Enter(peer_, hello.address());
  if (lane_ == internal::v1::LANE_CONTROL) visit_->Announce(!frame->stalled, hello.unheard());
  PeerAnswer answer;
  *answer.mutable_welcome()->mutable_replica() = ToProto(self_);
  answer.mutable_welcome()->set_session(self.life.session);
  answer.mutable_welcome()->set_protocol(std::min(hello.protocol_max(), self.protocol_max));
  answer.mutable_welcome()->set_build(self.build);
  Say(answer);
  ReadNext();
}

void PeerCall::OnFrame(const absl::Cord& message) {
  absl::StatusOr<PeerFrame> frame = ParsePeerFrame(message);
  if (!frame.ok()) return Refuse(Refusal::MALFORMED, ToStdString(frame.status().message()));
  if (frame->sequence != ++sequence_) {
    return Refuse(Refusal::MALFORMED, absl::StrCat("frame ", frame->sequence, " came where ", sequence_, " was due"));
  }
  if (visit_->outlived()) {
    return Refuse(Refusal::DUPLICATE_BROKER,
                  absl::StrCat("another process has come as broker ", peer_.replica.broker.value(), " since"));
  }
  for (GroupMessage& m : frame->messages) {
    if (m.message.from == raft::kNoReplica) m.message.from = peer_.replica;
    if (m.message.to == raft::kNoReplica) m.message.to = self_;
    if (m.message.from != peer_.replica) {
      return Refuse(Refusal::FOREIGN_MESSAGE,
                    absl::StrCat("a message of broker ", m.message.from.broker.value(), " came on the link of broker ",
                                 peer_.replica.broker.value()));
    }
  }
  if (lane_ == internal::v1::LANE_CONTROL) visit_->Heard(!frame->stalled, frame->sent_at);
  Deliver(*std::move(frame));
}

void PeerCall::Deliver(PeerFrame frame) {
  if (!frame.leaders.empty()) sink_.OnLeaders(peer_.replica, std::move(frame.leaders));
  if (!frame.messages.empty()) sink_.OnMessages(peer_.replica, std::move(frame.messages));
  if (lane_ != internal::v1::LANE_BULK) return ReadNext();
  sink_.WhenReady([self = self_pointer_] {
    if (*self != nullptr) (*self)->ReadNext();
  });
}

void PeerCall::ReadNext() {
  if (stream_ != nullptr && !ending_) stream_->Read();
}

void PeerCall::Say(const PeerAnswer& answer) {
  absl::Cord bytes(answer.SerializeAsString());
  if (writing_) {
    unsent_ = std::move(bytes);
    return;
  }
  writing_ = true;
  stream_->Write(std::move(bytes));
}

void PeerCall::OnWritten() {
  writing_ = false;
  if (!unsent_.empty()) {
    writing_ = true;
    stream_->Write(std::exchange(unsent_, {}));
  } else if (ending_) {
    stream_->Finish(*ending_);
  }
}

void PeerCall::Refuse(Refusal::Reason reason, std::string message) {
  Refusal refusal;
  refusal.set_reason(reason);
  refusal.set_message(std::move(message));
  Refuse(std::move(refusal));
}

void PeerCall::Refuse(Refusal refusal) {
  gate_.LogRefusal(refusal);
  ending_ = {.status = absl::Status(StatusOf(refusal.reason()), refusal.message())};
  PeerAnswer answer;
  *answer.mutable_refusal() = std::move(refusal);
  Say(answer);
}

void PeerCall::OnReadsDone() {
  if (!ending_) stream_->Finish({});
}

void PeerCall::OnClosed(CallEnd) { stream_ = nullptr; }

}  // namespace millrace::server
