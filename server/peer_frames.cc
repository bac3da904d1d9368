#include "server/peer_frames.h"

#include <algorithm>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "proto/wire/cord_reader.h"
#include "raft/membership.h"

namespace millrace::server {

using internal::CordReader;
using internal::FrameWriter;
using internal::kBytes;
using internal::kFixed32;
using internal::kFixed64;
using internal::kVarint;
using internal::Tag;

namespace {

// One Read and one Write a message of peer.proto; field numbers are theirs. A submessage that comes twice is merged, as protobuf
// says: Read changes only the fields it meets.
// One field a line.
// clang-format off

template <typename Strong>
void ReadInto(CordReader& in, Strong& number) {
  number = Strong(in.Int64());
}

void Read(CordReader& in, raft::ReplicaId& replica) {
  if (replica == raft::kNoReplica) replica.broker = raft::BrokerId(0);  // what an absent field says on the wire
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): ReadInto(in, replica.broker); break;
      case Tag(2, kFixed64): replica.incarnation = in.Fixed64(); break;
      default: in.Skip(tag);
    }
  }
}

void Write(FrameWriter& out, raft::ReplicaId replica) {
  out.Integer(1, replica.broker.value());
  out.Fixed64(2, replica.incarnation);
}

// What is no type of a release to come either, stays none.
raft::EntryType EntryTypeOf(int32_t number) { return static_cast<raft::EntryType>(std::clamp(number, 0, 255)); }

void Read(CordReader& in, raft::Entry& entry) {
  raft::EntryHeader& h = entry.header;
  h.type = EntryTypeOf(0);
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): h.type = EntryTypeOf(in.Int32()); break;
      case Tag(2, kVarint): ReadInto(in, h.term); break;
      case Tag(3, kVarint): ReadInto(in, h.index); break;
      case Tag(4, kVarint): ReadInto(in, h.base_offset); break;
      case Tag(5, kVarint): h.record_count = in.Int32(); break;
      case Tag(6, kVarint): h.append_time = in.Int64(); break;
      case Tag(7, kVarint): h.max_timestamp = in.Int64(); break;
      case Tag(8, kFixed32): h.payload_crc = in.Fixed32(); break;
      case Tag(9, kFixed32): h.chain = in.Fixed32(); break;
      case Tag(15, kBytes): in.Bytes(&entry.payload); break;
      default: in.Skip(tag);
    }
  }
}

void Write(FrameWriter& out, const raft::Entry& entry) {
  const raft::EntryHeader& h = entry.header;
  out.Integer(1, static_cast<int64_t>(h.type));
  out.Integer(2, h.term.value());
  out.Integer(3, h.index.value());
  out.Integer(4, h.base_offset.value());
  out.Integer(5, h.record_count);
  out.Integer(6, h.append_time);
  out.Integer(7, h.max_timestamp);
  out.Fixed32(8, h.payload_crc);
  out.Fixed32(9, h.chain);
  out.Shared(15, entry.payload);
}

// Of one frame: small entries nested in small messages could take a thousand times the frame's own size.
class EntryCount {
 public:
  void Add(CordReader& in) {
    if (++count_ > kElementsMax) in.Refuse("too many entries in a frame");
  }

 private:
  size_t count_ = 0;
};

void ReadMembership(CordReader& in, raft::Membership& membership) {
  absl::Cord bytes;
  in.Bytes(&bytes);
  auto read = raft::DecodeMembership(std::string(bytes));
  if (read.ok()) {
    membership = *std::move(read);
  } else {
    in.Refuse("not a membership");
  }
}

std::shared_ptr<const raft::Membership> ReadMembership(CordReader& in) {
  auto membership = std::make_shared<raft::Membership>();
  ReadMembership(in, *membership);
  return membership;
}

void Read(CordReader& in, raft::AppendEntries& m, EntryCount& count) {
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): ReadInto(in, m.prev.term); break;
      case Tag(2, kVarint): ReadInto(in, m.prev.index); break;
      case Tag(3, kVarint): ReadInto(in, m.commit); break;
      case Tag(4, kVarint): ReadInto(in, m.confirmed.index); break;
      case Tag(5, kFixed64): m.confirmed.abstention = in.Fixed64(); break;
      case Tag(6, kFixed64): m.lost_in_life = in.Fixed64(); break;
      case Tag(7, kVarint): m.request = in.Varint(); break;
      case Tag(8, kBytes): m.membership = ReadMembership(in); break;
      case Tag(15, kBytes):
        count.Add(in);
        in.Message([&] { Read(in, in.AddElement(&m.entries)); });
        break;
      default: in.Skip(tag);
    }
  }
}

void Write(FrameWriter& out, const raft::AppendEntries& m) {
  out.Integer(1, m.prev.term.value());
  out.Integer(2, m.prev.index.value());
  out.Integer(3, m.commit.value());
  out.Integer(4, m.confirmed.index.value());
  out.Fixed64(5, m.confirmed.abstention);
  out.Fixed64(6, m.lost_in_life);
  out.Integer(7, static_cast<int64_t>(m.request));
  if (m.membership != nullptr) out.Shared(8, absl::Cord(raft::Encode(*m.membership)));
  for (const raft::Entry& entry : m.entries) out.Message(15, [&] { Write(out, entry); });
}

void Read(CordReader& in, raft::AppendReply& m) {
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): m.accepted = in.Bool(); break;
      case Tag(2, kVarint): ReadInto(in, m.match); break;
      case Tag(3, kVarint): ReadInto(in, m.rejected); break;
      case Tag(4, kVarint): ReadInto(in, m.hint.term); break;
      case Tag(5, kVarint): ReadInto(in, m.hint.index); break;
      case Tag(6, kVarint): ReadInto(in, m.last_index); break;
      case Tag(7, kFixed64): m.abstention = in.Fixed64(); break;
      case Tag(8, kFixed64): m.life = in.Fixed64(); break;
      case Tag(9, kVarint): m.request = in.Varint(); break;
      case Tag(10, kVarint): m.unsynced = in.Bool(); break;
      default: in.Skip(tag);
    }
  }
}

void Write(FrameWriter& out, const raft::AppendReply& m) {
  out.Integer(1, m.accepted);
  out.Integer(2, m.match.value());
  out.Integer(3, m.rejected.value());
  out.Integer(4, m.hint.term.value());
  out.Integer(5, m.hint.index.value());
  out.Integer(6, m.last_index.value());
  out.Fixed64(7, m.abstention);
  out.Fixed64(8, m.life);
  out.Integer(9, static_cast<int64_t>(m.request));
  out.Integer(10, m.unsynced);
}

void Read(CordReader& in, raft::Heartbeat& m) {
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): ReadInto(in, m.commit.index); break;
      case Tag(2, kVarint): ReadInto(in, m.confirmed.index); break;
      case Tag(3, kFixed64): m.confirmed.abstention = in.Fixed64(); break;
      case Tag(4, kVarint): m.read_round = in.Varint(); break;
      case Tag(5, kVarint): m.quiesce = in.Bool(); break;
      case Tag(6, kVarint): ReadInto(in, m.last_index); break;
      case Tag(7, kVarint): ReadInto(in, m.commit.term); break;
      default: in.Skip(tag);
    }
  }
}

void Write(FrameWriter& out, const raft::Heartbeat& m) {
  out.Integer(1, m.commit.index.value());
  out.Integer(2, m.confirmed.index.value());
  out.Fixed64(3, m.confirmed.abstention);
  out.Integer(4, static_cast<int64_t>(m.read_round));
  out.Integer(5, m.quiesce);
  out.Integer(6, m.last_index.value());
  out.Integer(7, m.commit.term.value());
}

void Read(CordReader& in, raft::HeartbeatReply& m) {
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): m.read_round = in.Varint(); break;
      case Tag(2, kVarint): m.quiet = in.Bool(); break;
      case Tag(3, kVarint): ReadInto(in, m.last_index); break;
      case Tag(4, kFixed64): m.abstention = in.Fixed64(); break;
      default: in.Skip(tag);
    }
  }
}

void Write(FrameWriter& out, const raft::HeartbeatReply& m) {
  out.Integer(1, static_cast<int64_t>(m.read_round));
  out.Integer(2, m.quiet);
  out.Integer(3, m.last_index.value());
  out.Fixed64(4, m.abstention);
}

void Read(CordReader& in, raft::VoteRequest& m) {
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): ReadInto(in, m.last.term); break;
      case Tag(2, kVarint): ReadInto(in, m.last.index); break;
      case Tag(3, kVarint): m.pre_vote = in.Bool(); break;
      case Tag(4, kVarint): m.transfer = in.Bool(); break;
      default: in.Skip(tag);
    }
  }
}

void Write(FrameWriter& out, const raft::VoteRequest& m) {
  out.Integer(1, m.last.term.value());
  out.Integer(2, m.last.index.value());
  out.Integer(3, m.pre_vote);
  out.Integer(4, m.transfer);
}

void Read(CordReader& in, raft::VoteReply& m) {
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): m.granted = in.Bool(); break;
      case Tag(2, kVarint): m.pre_vote = in.Bool(); break;
      case Tag(3, kVarint): m.abstaining = in.Bool(); break;
      case Tag(4, kVarint): ReadInto(in, m.asked); break;
      default: in.Skip(tag);
    }
  }
}

void Write(FrameWriter& out, const raft::VoteReply& m) {
  out.Integer(1, m.granted);
  out.Integer(2, m.pre_vote);
  out.Integer(3, m.abstaining);
  out.Integer(4, m.asked.value());
}

void Read(CordReader& in, raft::InstallSnapshot& m) {
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): ReadInto(in, m.last.term); break;
      case Tag(2, kVarint): ReadInto(in, m.last.index); break;
      case Tag(3, kVarint): ReadInto(in, m.end_offset); break;
      case Tag(4, kVarint): ReadInto(in, m.log_start); break;
      case Tag(5, kVarint): m.append_time = in.Int64(); break;
      case Tag(6, kFixed32): m.chain = in.Fixed32(); break;
      case Tag(7, kBytes): ReadMembership(in, m.membership); break;
      case Tag(8, kVarint): ReadInto(in, m.membership_index); break;
      case Tag(9, kVarint): m.request = in.Varint(); break;
      case Tag(15, kBytes): in.Bytes(&m.state); break;
      default: in.Skip(tag);
    }
  }
}

void Write(FrameWriter& out, const raft::InstallSnapshot& m) {
  out.Integer(1, m.last.term.value());
  out.Integer(2, m.last.index.value());
  out.Integer(3, m.end_offset.value());
  out.Integer(4, m.log_start.value());
  out.Integer(5, m.append_time);
  out.Fixed32(6, m.chain);
  if (!m.membership.voters.empty()) out.Shared(7, absl::Cord(raft::Encode(m.membership)));
  out.Integer(8, m.membership_index.value());
  out.Integer(9, static_cast<int64_t>(m.request));
  out.Shared(15, m.state);
}

void Read(CordReader& in, raft::TimeoutNow&) {
  while (const uint32_t tag = in.NextTag()) in.Skip(tag);
}

void Write(FrameWriter&, const raft::TimeoutNow&) {}

// Of a oneof the last one counts; the same one again is merged.
template <typename Body>
Body& BodyOf(raft::Message& message, bool& known) {
  if (!known || !std::holds_alternative<Body>(message.body)) message.body.emplace<Body>();
  known = true;
  return *std::get_if<Body>(&message.body);
}

// Whether the message has a body that is known here.
bool Read(CordReader& in, GroupMessage& m, EntryCount& count) {
  raft::Message& message = m.message;
  bool known = false;
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): ReadInto(in, m.group); break;
      case Tag(2, kVarint): ReadInto(in, message.term); break;
      case Tag(3, kBytes): in.Message([&] { Read(in, message.from); }); break;
      case Tag(4, kBytes): in.Message([&] { Read(in, message.to); }); break;
      case Tag(5, kBytes):
        in.Message([&] { Read(in, BodyOf<raft::AppendEntries>(message, known), count); });
        break;
      case Tag(6, kBytes): in.Message([&] { Read(in, BodyOf<raft::AppendReply>(message, known)); }); break;
      case Tag(7, kBytes): in.Message([&] { Read(in, BodyOf<raft::Heartbeat>(message, known)); }); break;
      case Tag(8, kBytes): in.Message([&] { Read(in, BodyOf<raft::HeartbeatReply>(message, known)); }); break;
      case Tag(9, kBytes): in.Message([&] { Read(in, BodyOf<raft::VoteRequest>(message, known)); }); break;
      case Tag(10, kBytes): in.Message([&] { Read(in, BodyOf<raft::VoteReply>(message, known)); }); break;
      case Tag(11, kBytes): in.Message([&] { Read(in, BodyOf<raft::InstallSnapshot>(message, known)); }); break;
      case Tag(12, kBytes): in.Message([&] { Read(in, BodyOf<raft::TimeoutNow>(message, known)); }); break;
      default: in.Skip(tag);
    }
  }
  return known;
}

template <typename Body>
constexpr uint32_t FieldOf() {
  if constexpr (std::is_same_v<Body, raft::AppendEntries>) return 5;
  if constexpr (std::is_same_v<Body, raft::AppendReply>) return 6;
  if constexpr (std::is_same_v<Body, raft::Heartbeat>) return 7;
  if constexpr (std::is_same_v<Body, raft::HeartbeatReply>) return 8;
  if constexpr (std::is_same_v<Body, raft::VoteRequest>) return 9;
  if constexpr (std::is_same_v<Body, raft::VoteReply>) return 10;
  if constexpr (std::is_same_v<Body, raft::InstallSnapshot>) return 11;
  if constexpr (std::is_same_v<Body, raft::TimeoutNow>) return 12;
}

void Write(FrameWriter& out, raft::GroupId group, const raft::Message& message) {
  out.Integer(1, group.value());
  out.Integer(2, message.term.value());
  if (message.from != raft::kNoReplica) out.Message(3, [&] { Write(out, message.from); });
  if (message.to != raft::kNoReplica) out.Message(4, [&] { Write(out, message.to); });
  std::visit([&]<typename Body>(const Body& body) { out.Message(FieldOf<Body>(), [&] { Write(out, body); }); },
             message.body);
}

void Read(CordReader& in, GroupLeader& leader) {
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): ReadInto(in, leader.group); break;
      case Tag(2, kVarint): ReadInto(in, leader.term); break;
      case Tag(3, kVarint): ReadInto(in, leader.broker); break;
      default: in.Skip(tag);
    }
  }
}

void Write(FrameWriter& out, const GroupLeader& leader) {
  out.Integer(1, leader.group.value());
  out.Integer(2, leader.term.value());
  out.Integer(3, leader.broker.value());
}

void Read(CordReader& in, PeerFrame& frame, EntryCount& count) {
  const auto read_message = [&] {
    if (!Read(in, in.AddElement(&frame.messages), count)) frame.messages.pop_back();
  };
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kBytes):
        if (!frame.hello) frame.hello.emplace();
        in.AppendTo(&*frame.hello);
        break;
      case Tag(2, kVarint): frame.sequence = in.Varint(); break;
      case Tag(3, kBytes): in.Message([&] { Read(in, in.AddElement(&frame.leaders)); }); break;
      case Tag(4, kBytes): in.Message(read_message); break;
      case Tag(5, kVarint): frame.sent_at = in.Int64(); break;
      case Tag(15, kVarint): frame.stalled = in.Bool(); break;
      default: in.Skip(tag);
    }
  }
}

// clang-format on

size_t ElementsOf(const raft::Message& message) {
  const auto* append = std::get_if<raft::AppendEntries>(&message.body);
  return 1 + (append == nullptr ? 0 : append->entries.size());
}

}  // namespace

absl::StatusOr<PeerFrame> ParsePeerFrame(const absl::Cord& bytes) {
  PeerFrame frame;
  CordReader in(bytes);
  EntryCount count;
  Read(in, frame, count);
  if (!in.ok()) return in.status("PeerFrame");
  return frame;
}

void PeerFrameWriter::Add(raft::GroupId group, const raft::Message& message) {
  elements_ += ElementsOf(message);
  out_.Message(4, [&] { Write(out_, group, message); });
}

void PeerFrameWriter::Add(const GroupLeader& leader) {
  ++elements_;
  out_.Message(3, [&] { Write(out_, leader); });
}

absl::Cord PeerFrameWriter::Finish(bool stalled, int64_t sent_at) && {
  out_.Integer(5, sent_at);
  out_.Integer(15, stalled);
  return std::move(out_).ToCord();
}

}  // namespace millrace::server
