#include "server/peer_stream.h"

#include <utility>
#include <variant>

#include "proto/wire/check.h"
#include "raft/membership.h"
#include "server/errors.h"

namespace millrace::server {

using internal::v1::PeerAnswer;

namespace {

constexpr char kLinkMethod[] = "/millrace.internal.v1.Peer/Link";
// A frame is closed at this size, if there is anything in it. Larger ones save nothing and hold up what comes behind them.
constexpr size_t kFrameBytes = 1 << 20;
constexpr size_t kFrameElements = kElementsMax / 4;
// Upper bounds of what a message takes in a frame besides payloads, and an entry likewise.
constexpr size_t kMessageOverhead = 128;
constexpr size_t kEntryOverhead = 96;

struct Size {
  size_t bytes = kMessageOverhead;
  size_t elements = 1;
};

Size SizeOf(const raft::Message& message) {
  Size size;
  if (const auto* append = std::get_if<raft::AppendEntries>(&message.body)) {
    for (const raft::Entry& entry : append->entries) size.bytes += kEntryOverhead + entry.payload.size();
    size.elements += append->entries.size();
  } else if (const auto* snapshot = std::get_if<raft::InstallSnapshot>(&message.body)) {
    size.bytes += snapshot->state.size() + raft::Encode(snapshot->membership).size();
  }
  return size;
}

}  // namespace

PeerStream::PeerStream(const PeerEnvironment& environment, internal::v1::Lane lane, size_t bytes_max, Owner& owner)
    : environment_(environment),
      lane_(lane),
      bytes_max_(bytes_max),
      owner_(owner),
      self_(std::make_shared<PeerStream*>(this)) {}

PeerStream::~PeerStream() { *self_ = nullptr; }

void PeerStream::Open(const std::string& address, const Greeting& greeting) {
  MILLRACE_CHECK(stream_ == nullptr) << "a link is opened once";
  greeting_ = greeting;
  stalled_ = greeting.stalled;
  state_ = State::kOpen;
  stream_ = environment_.transport.OpenStream(address, kLinkMethod, this);
  stream_->Read();
}

void PeerStream::Close() {
  state_ = State::kClosed;
  frames_.clear();
  waiting_bytes_ = 0;
}

void PeerStream::OnMessage(absl::Cord message) {
  if (state_ == State::kClosed) return;
  PeerAnswer answer;
  if (!answer.ParseFromString(std::string(message))) return End("it answers with something that is no PeerAnswer");
  stream_->Read();
  if (answer.has_challenge() && state_ == State::kOpen) return SayHello(answer.challenge().nonce());
  if (answer.has_refusal()) refusal_ = answer.refusal().message();
  if (!answer.has_welcome() || state_ != State::kHello) return;
  state_ = State::kWelcome;
  const internal::v1::Welcome& welcome = answer.welcome();
  owner_.OnWelcome({.replica = FromProto(welcome.replica()), .session = welcome.session()}, welcome.build());
}

void PeerStream::SayHello(const std::string& nonce) {
  const PeerIdentity& self = environment_.self;
  internal::v1::PeerFrame frame;
  internal::v1::Hello& hello = *frame.mutable_hello();
  hello.set_protocol_min(self.protocol_min);
  hello.set_protocol_max(self.protocol_max);
  hello.set_cluster_id(self.cluster_id);
  *hello.mutable_from() = ToProto(self.life.replica);
  *hello.mutable_to() = ToProto(greeting_.to);
  hello.set_lane(lane_);
  hello.set_session(self.life.session);
  hello.set_build(self.build);
  hello.set_address(self.address);
  hello.set_starts(self.starts);
  hello.set_unheard(greeting_.unheard);
  hello.set_proof(environment_.secret.ProofOf(hello, nonce));
  frame.set_stalled(stalled_);
  state_ = State::kHello;
  writing_ = true;
  stream_->Write(absl::Cord(frame.SerializeAsString()));
}

bool PeerStream::Add(raft::GroupId group, const raft::Message& message) {
  const Size size = SizeOf(message);
  return AddBounded(size.bytes, size.elements, group, message);
}

bool PeerStream::Add(const GroupLeader& leader) { return AddBounded(kMessageOverhead, 1, leader); }

template <typename... Element>
bool PeerStream::AddBounded(size_t bytes, size_t elements, const Element&... element) {
  MILLRACE_CHECK(welcome());
  if (!HasRoomFor(bytes)) return false;
  PeerFrameWriter& frame = FrameFor(bytes, elements);
  const size_t before = frame.bytes();
  frame.Add(element...);
  waiting_bytes_ += frame.bytes() - before;
  ScheduleFlush();
  return true;
}

bool PeerStream::HasRoomFor(size_t bytes) const {
  return bytes <= kPeerFrameBytesMax && (this->bytes() == 0 || this->bytes() + bytes <= bytes_max_);
}

PeerFrameWriter& PeerStream::FrameFor(size_t bytes, size_t elements) {
  if (frames_.empty() || frames_.back().bytes() + bytes > kFrameBytes ||
      frames_.back().elements() + elements > kFrameElements) {
    frames_.emplace_back(++sequence_);
    waiting_bytes_ += frames_.back().bytes();
  }
  return frames_.back();
}

void PeerStream::ScheduleFlush() {
  if (std::exchange(flush_scheduled_, true)) return;
  environment_.executor.Defer([self = self_] {
    if (*self == nullptr) return;
    (*self)->flush_scheduled_ = false;
    (*self)->Flush();
  });
}

void PeerStream::Flush() {
  if (writing_ || frames_.empty()) return;
  PeerFrameWriter frame = std::move(frames_.front());
  frames_.pop_front();
  waiting_bytes_ -= frame.bytes();
  Write(std::move(frame));
}

void PeerStream::Write(PeerFrameWriter frame) {
  absl::Cord bytes =
      std::move(frame).Finish(stalled_, std::exchange(tells_time_, false) ? environment_.clock.Wall() : 0);
  writing_bytes_ = bytes.size();
  writing_ = true;
  sent_ = true;
  stream_->Write(std::move(bytes));
}

void PeerStream::Beat(bool stalled) {
  stalled_ = stalled;
  tells_time_ = true;
  if (std::exchange(sent_, false) || !welcome() || writing_ || !frames_.empty()) return;
  Write(PeerFrameWriter(++sequence_));
  sent_ = false;
}

void PeerStream::OnWritten() {
  writing_ = false;
  writing_bytes_ = 0;
  if (!welcome()) return;
  Flush();
  owner_.OnDrained();
}

void PeerStream::OnClosed(CallEnd end) {
  if (state_ == State::kClosed) return;
  if (!refusal_.empty()) return End(refusal_);
  End(end.status.ok() ? "it closed the connection" : ToStdString(end.status.message()));
}

void PeerStream::End(const std::string& reason) {
  Close();
  owner_.OnEnd(reason);
}

}  // namespace millrace::server
