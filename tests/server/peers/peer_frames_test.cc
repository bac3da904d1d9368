// Goal: brokers' frames are protobuf's own bytes, both ways, and payloads are shared on the way. Method: random messages of the
// generated code go through our reader and writer, in random chunks, with unknown fields, merged and damaged.
#include "server/peer_frames.h"

#include <algorithm>
#include <variant>

#include "google/protobuf/stubs/logging.h"
#include "google/protobuf/unknown_field_set.h"
#include "google/protobuf/util/message_differencer.h"
#include "millrace/internal/v1/peer.pb.h"
#include "proto/wire/frames.h"
#include "raft/membership.h"
#include "tests/wire/random_stub.h"

namespace millrace::server {
namespace {

namespace v1 = internal::v1;
using testing::HasSubstr;

void SetReplica(raft::ReplicaId replica, v1::ReplicaId* stub) {
  stub->set_broker_id(replica.broker.value());
  stub->set_incarnation(replica.incarnation);
}

void SetEntry(const raft::Entry& entry, v1::Entry* stub) {
  const raft::EntryHeader& h = entry.header;
  stub->set_type(static_cast<v1::Entry::Type>(h.type));
  stub->set_term(h.term.value());
  stub->set_index(h.index.value());
  stub->set_base_offset(h.base_offset.value());
  stub->set_record_count(h.record_count);
  stub->set_append_time(h.append_time);
  stub->set_max_timestamp(h.max_timestamp);
  stub->set_payload_crc(h.payload_crc);
  stub->set_chain(h.chain);
  stub->set_payload(std::string(entry.payload));
}

struct SetBody {
  v1::GroupMessage* stub;

  void operator()(const raft::AppendEntries& m) {
    v1::AppendEntries* s = stub->mutable_append_entries();
    s->set_prev_term(m.prev.term.value());
    s->set_prev_index(m.prev.index.value());
    s->set_commit(m.commit.value());
    s->set_confirmed_index(m.confirmed.index.value());
    s->set_confirmed_abstention(m.confirmed.abstention);
    s->set_lost_in_life(m.lost_in_life);
    s->set_request(m.request);
    if (m.membership != nullptr) s->set_membership(raft::Encode(*m.membership));
    for (const raft::Entry& entry : m.entries) SetEntry(entry, s->add_entries());
  }
  void operator()(const raft::AppendReply& m) {
    v1::AppendReply* s = stub->mutable_append_reply();
    s->set_accepted(m.accepted);
    s->set_match(m.match.value());
    s->set_rejected(m.rejected.value());
    s->set_hint_term(m.hint.term.value());
    s->set_hint_index(m.hint.index.value());
    s->set_last_index(m.last_index.value());
    s->set_abstention(m.abstention);
    s->set_life(m.life);
    s->set_request(m.request);
    s->set_unsynced(m.unsynced);
  }
  void operator()(const raft::Heartbeat& m) {
    v1::Heartbeat* s = stub->mutable_heartbeat();
    s->set_commit(m.commit.index.value());
    s->set_commit_term(m.commit.term.value());
    s->set_confirmed_index(m.confirmed.index.value());
    s->set_confirmed_abstention(m.confirmed.abstention);
    s->set_read_round(m.read_round);
    s->set_quiesce(m.quiesce);
    s->set_last_index(m.last_index.value());
  }
  void operator()(const raft::HeartbeatReply& m) {
    v1::HeartbeatReply* s = stub->mutable_heartbeat_reply();
    s->set_read_round(m.read_round);
    s->set_quiet(m.quiet);
    s->set_last_index(m.last_index.value());
    s->set_abstention(m.abstention);
  }
  void operator()(const raft::VoteRequest& m) {
    v1::VoteRequest* s = stub->mutable_vote_request();
    s->set_last_term(m.last.term.value());
    s->set_last_index(m.last.index.value());
    s->set_pre_vote(m.pre_vote);
    s->set_transfer(m.transfer);
  }
  void operator()(const raft::VoteReply& m) {
    v1::VoteReply* s = stub->mutable_vote_reply();
    s->set_granted(m.granted);
    s->set_pre_vote(m.pre_vote);
    s->set_abstaining(m.abstaining);
    s->set_asked_term(m.asked.value());
  }
  void operator()(const raft::InstallSnapshot& m) {
    v1::InstallSnapshot* s = stub->mutable_install_snapshot();
    s->set_last_term(m.last.term.value());
    s->set_last_index(m.last.index.value());
    s->set_end_offset(m.end_offset.value());
    s->set_log_start(m.log_start.value());
    s->set_append_time(m.append_time);
    s->set_chain(m.chain);
    if (!m.membership.voters.empty()) s->set_membership(raft::Encode(m.membership));
    s->set_membership_index(m.membership_index.value());
    s->set_request(m.request);
    s->set_state(std::string(m.state));
  }
  void operator()(const raft::TimeoutNow&) { stub->mutable_timeout_now(); }
};

v1::PeerFrame ToStub(const PeerFrame& frame) {
  v1::PeerFrame stub;
  if (frame.hello) {
    EXPECT_TRUE(stub.mutable_hello()->ParseFromString(std::string(*frame.hello)));
  }
  stub.set_sequence(frame.sequence);
  for (const GroupLeader& leader : frame.leaders) {
    v1::GroupLeader* s = stub.add_leaders();
    s->set_group_id(leader.group.value());
    s->set_term(leader.term.value());
    s->set_broker_id(leader.broker.value());
  }
  for (const auto& [group, message] : frame.messages) {
    v1::GroupMessage* s = stub.add_messages();
    s->set_group_id(group.value());
    s->set_term(message.term.value());
    if (message.from != raft::kNoReplica) SetReplica(message.from, s->mutable_from());
    if (message.to != raft::kNoReplica) SetReplica(message.to, s->mutable_to());
    std::visit(SetBody{s}, message.body);
  }
  stub.set_sent_at(frame.sent_at);
  stub.set_stalled(frame.stalled);
  return stub;
}

// What frames do not keep: messages without a body that is known, and the number of an entry type that no release has.
void Normalize(v1::PeerFrame* stub) {
  auto& messages = *stub->mutable_messages();
  const auto kept = std::remove_if(messages.begin(), messages.end(), [](const v1::GroupMessage& m) {
    return m.body_case() == v1::GroupMessage::BODY_NOT_SET;
  });
  messages.erase(kept, messages.end());
  for (v1::GroupMessage& m : messages) {
    if (!m.has_append_entries()) continue;
    for (v1::Entry& entry : *m.mutable_append_entries()->mutable_entries()) {
      entry.set_type(static_cast<v1::Entry::Type>(std::clamp<int>(entry.type(), 0, 255)));
    }
  }
}

testing::AssertionResult Same(v1::PeerFrame ours, v1::PeerFrame stub) {
  Normalize(&stub);
  stub.DiscardUnknownFields();
  ours.DiscardUnknownFields();
  std::string difference;
  google::protobuf::util::MessageDifferencer differencer;
  differencer.ReportDifferencesToString(&difference);
  if (differencer.Compare(stub, ours)) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "from stub to ours: " << difference;
}

absl::Cord Write(const PeerFrame& frame) {
  PeerFrameWriter out(frame.sequence);
  for (const GroupLeader& leader : frame.leaders) out.Add(leader);
  for (const auto& [group, message] : frame.messages) out.Add(group, message);
  return std::move(out).Finish(frame.stalled, frame.sent_at);
}

raft::ReplicaSet SomeReplicas(RandomInput& random, size_t count) {
  raft::ReplicaSet replicas;
  for (size_t i = 0; i < count; ++i) {
    replicas.push_back({raft::BrokerId(static_cast<int64_t>(3 * i + random.Below(3))), random.Number()});
  }
  return replicas;
}

// As bytes, whatever the field is.
void AddField(int number, const std::string& bytes, google::protobuf::Message* message) {
  message->GetReflection()->MutableUnknownFields(message)->AddLengthDelimited(number, bytes);
}

class PeerFramesTest : public testing::Test {
 protected:
  // Memberships have an encoding of their own, and brokers' ids are not negative.
  v1::PeerFrame RandomStub(UnknownFields unknown) {
    v1::PeerFrame stub;
    FillRandomly(random_, unknown, &stub);
    for (v1::GroupMessage& m : *stub.mutable_messages()) {
      for (v1::ReplicaId* replica :
           {m.has_from() ? m.mutable_from() : nullptr, m.has_to() ? m.mutable_to() : nullptr}) {
        if (replica != nullptr) replica->set_broker_id(replica->broker_id() & INT64_MAX);
      }
      const std::string membership = raft::Encode({.voters = SomeReplicas(random_, 1 + random_.Below(5))});
      if (m.has_append_entries() && !m.append_entries().membership().empty()) {
        m.mutable_append_entries()->set_membership(membership);
      }
      if (m.has_install_snapshot() && !m.install_snapshot().membership().empty()) {
        m.mutable_install_snapshot()->set_membership(membership);
      }
    }
    return stub;
  }

  RandomInput random_;
};

TEST_F(PeerFramesTest, ReadsWhatStubsWrite) {
  int bodies[v1::GroupMessage::kTimeoutNow + 1] = {};
  for (int i = 0; i < 1000; ++i) {
    const v1::PeerFrame stub = RandomStub(UnknownFields::kSome);
    const auto frame = ParsePeerFrame(random_.Chunked(stub.SerializeAsString()));
    ASSERT_TRUE(frame.ok()) << frame.status();
    ASSERT_TRUE(Same(ToStub(*frame), stub));
    for (const v1::GroupMessage& m : stub.messages()) ++bodies[m.body_case()];
  }
  for (int body = v1::GroupMessage::kAppendEntries; body <= v1::GroupMessage::kTimeoutNow; ++body) {
    EXPECT_GT(bodies[body], 0) << body;
  }
}

TEST_F(PeerFramesTest, WritesTheBytesThatStubsWrite) {
  for (int i = 0; i < 1000; ++i) {
    v1::PeerFrame stub = RandomStub(UnknownFields::kNone);
    Normalize(&stub);
    stub.clear_hello();
    const std::string bytes = stub.SerializeAsString();
    const auto frame = ParsePeerFrame(absl::Cord(bytes));
    ASSERT_TRUE(frame.ok()) << frame.status();
    ASSERT_EQ(Write(*frame), bytes);
  }
}

TEST_F(PeerFramesTest, MergesAsStubsDo) {
  for (int i = 0; i < 500; ++i) {
    // Twice the same message: two halves in one field.
    v1::PeerFrame first = RandomStub(UnknownFields::kSome), second = RandomStub(UnknownFields::kSome);
    std::string halves;
    if (first.messages_size() > 0 && second.messages_size() > 0) {
      halves = first.messages(0).SerializeAsString() + second.messages(0).SerializeAsString();
      v1::PeerFrame joined;
      AddField(v1::PeerFrame::kMessagesFieldNumber, halves, &joined);
      halves = joined.SerializeAsString();
    }
    const std::string bytes = first.SerializeAsString() + halves + second.SerializeAsString();
    v1::PeerFrame stub;
    ASSERT_TRUE(stub.ParseFromString(bytes));
    const auto frame = ParsePeerFrame(random_.Chunked(bytes));
    ASSERT_TRUE(frame.ok()) << frame.status();
    ASSERT_TRUE(Same(ToStub(*frame), stub));
  }
}

TEST_F(PeerFramesTest, TakesOnlyDamagedBytesThatStubsTakeAndAgrees) {
  google::protobuf::LogSilencer silencer;
  int taken = 0;
  for (int i = 0; i < 3000; ++i) {
    v1::PeerFrame stub = RandomStub(UnknownFields::kNone);
    stub.clear_hello();  // of which only the outside is looked at here
    const std::string bytes = random_.Damaged(stub.SerializeAsString());
    const auto frame = ParsePeerFrame(random_.Chunked(bytes));
    if (!frame.ok() || frame->hello) continue;
    v1::PeerFrame other;
    ASSERT_TRUE(other.ParseFromString(bytes));
    ASSERT_TRUE(Same(ToStub(*frame), other));
    ++taken;
  }
  EXPECT_GT(taken, 100);
}

// Every chunk of `part` that is large enough not to be copied lies in one of `whole`.
bool Shares(const absl::Cord& part, const absl::Cord& whole) {
  for (absl::string_view chunk : part.Chunks()) {
    if (chunk.size() < 512) continue;
    if (!std::any_of(whole.chunk_begin(), whole.chunk_end(), [&](absl::string_view other) {
          return chunk.data() >= other.data() && chunk.data() + chunk.size() <= other.data() + other.size();
        })) {
      return false;
    }
  }
  return true;
}

TEST_F(PeerFramesTest, PayloadsAreSharedBothWays) {
  const std::string bytes = random_.Bytes(300'000);
  absl::Cord payload;
  for (size_t at = 0; at < bytes.size(); at += 30'000)
    PrependChunk(std::string_view(bytes).substr(at, 30'000), &payload);
  PeerFrameWriter out(1);
  for (int i = 1; i <= 3; ++i) {
    raft::AppendEntries append;
    for (int j = 0; j < 2; ++j) append.entries.push_back({.header = {.index = raft::LogIndex(j)}, .payload = payload});
    out.Add(raft::GroupId(i), {.body = std::move(append)});
  }
  out.Add(raft::GroupId(4), {.body = raft::InstallSnapshot{.state = payload}});
  const size_t announced = out.bytes();
  const absl::Cord frame = std::move(out).Finish(false);
  EXPECT_EQ(frame.size(), announced);
  EXPECT_TRUE(Shares(payload, frame));

  const absl::Cord received = random_.Chunked(std::string(frame));
  const auto parsed = ParsePeerFrame(received);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_EQ(parsed->messages.size(), 4);
  for (int i = 0; i < 3; ++i) {
    for (const raft::Entry& entry : std::get<raft::AppendEntries>(parsed->messages[i].message.body).entries) {
      EXPECT_EQ(entry.payload, payload);
      EXPECT_TRUE(Shares(entry.payload, received));
    }
  }
  EXPECT_TRUE(Shares(std::get<raft::InstallSnapshot>(parsed->messages[3].message.body).state, received));
}

TEST_F(PeerFramesTest, MessagesOfALaterReleaseAreLeftOut) {
  v1::PeerFrame stub;
  stub.add_messages()->mutable_timeout_now();
  AddField(13, "what is to come", stub.add_messages());
  stub.add_messages()->mutable_vote_reply();
  const auto frame = ParsePeerFrame(absl::Cord(stub.SerializeAsString()));
  ASSERT_TRUE(frame.ok()) << frame.status();
  ASSERT_EQ(frame->messages.size(), 2);
  EXPECT_TRUE(std::holds_alternative<raft::VoteReply>(frame->messages[1].message.body));
}

// Two bytes of a frame can become a hundred in memory.
TEST_F(PeerFramesTest, WhatAFrameHoldsIsBounded) {
  v1::PeerFrame stub;
  for (int i = 0; i < 2; ++i) {
    v1::AppendEntries* append = stub.add_messages()->mutable_append_entries();
    for (size_t n = 0; n < kElementsMax / 2; ++n) append->add_entries();
  }
  EXPECT_TRUE(ParsePeerFrame(absl::Cord(stub.SerializeAsString())).ok());
  stub.mutable_messages(1)->mutable_append_entries()->add_entries();
  EXPECT_THAT(ParsePeerFrame(absl::Cord(stub.SerializeAsString())).status().ToString(),
              HasSubstr("too many entries in a frame"));

  v1::PeerFrame many;
  for (size_t n = 0; n <= kElementsMax; ++n) many.add_messages()->mutable_timeout_now();
  EXPECT_THAT(ParsePeerFrame(absl::Cord(many.SerializeAsString())).status().ToString(), HasSubstr("too many elements"));
}

TEST_F(PeerFramesTest, AMembershipThatIsNoneIsRefused) {
  v1::PeerFrame stub;
  stub.add_messages()->mutable_install_snapshot()->set_membership("voters: everybody");
  EXPECT_THAT(ParsePeerFrame(absl::Cord(stub.SerializeAsString())).status().ToString(), HasSubstr("not a membership"));
}

}  // namespace
}  // namespace millrace::server
