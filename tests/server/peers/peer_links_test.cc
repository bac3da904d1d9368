// Goal: what is for a peer leaves at once and together, nothing large is in the way of anything small, and a peer that is slow,
// silent or gone costs little and is known as such. Method: brokers' ends of links on a simulated network.
#include "server/peer_links.h"

#include <gmock/gmock.h>

#include <variant>

#include "server/log.h"
#include "tests/server/peers/peer_node.h"
#include "tests/server/peers/scripted_peer.h"

namespace millrace::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr size_t kMiB = 1 << 20;

// Payloads that tell when the last reference to them is gone.
class Payloads {
 public:
  absl::Cord Make(size_t size) {
    auto* bytes = new std::string(size, 'p');
    ++alive_;
    bytes_ += size;
    return absl::MakeCordFromExternal(absl::string_view(*bytes), [this, bytes] {
      --alive_;
      bytes_ -= bytes->size();
      delete bytes;
    });
  }
  int alive() const { return alive_; }
  size_t bytes() const { return bytes_; }

 private:
  int alive_ = 0;
  size_t bytes_ = 0;
};

raft::AppendEntries Append(absl::Cord payload, int64_t index = 1) {
  raft::AppendEntries append{.prev = {raft::Term(1), raft::LogIndex(index - 1)}};
  append.entries.push_back(
      {.header = {.term = raft::Term(1), .index = raft::LogIndex(index)}, .payload = std::move(payload)});
  return append;
}

class PeerLinksTest : public testing::Test {
 protected:
  PeerLinksTest() {
    log::SetSink([this](std::string_view line) { log_.emplace_back(line); });
    for (int64_t id : {1, 2, 3})
      nodes_[id] = std::make_unique<PeerNode>(executor_, network_, PeerNode::Options{.id = id});
    for (const auto& [id, node] : nodes_) node->Know({1, 2, 3});
    executor_.RunUntilIdle();
    for (const auto& [id, node] : nodes_) {
      EXPECT_THAT(node->up, SizeIs(2));
    }
  }
  ~PeerLinksTest() override {
    nodes_.clear();
    log::SetSink(nullptr);
  }

  void Start(const PeerNode::Options& options) {
    nodes_[options.id] = std::make_unique<PeerNode>(executor_, network_, options);
    nodes_[options.id]->Know({1, 2, 3});
  }
  void Kill(int64_t id) { nodes_.erase(id); }

  PeerNode& node(int64_t id) { return *nodes_.at(id); }
  raft::ReplicaId replica(int64_t id) { return node(id).replica(); }

  std::vector<std::string> LinesWith(const std::string& text) const {
    std::vector<std::string> lines;
    for (const std::string& line : log_) {
      if (line.find(text) != std::string::npos) lines.push_back(line);
    }
    return lines;
  }

  Payloads payloads_;
  SimExecutor executor_;
  SimNetwork network_{executor_};
  std::map<int64_t, std::unique_ptr<PeerNode>> nodes_;
  std::vector<std::string> log_;
};

TEST_F(PeerLinksTest, MessagesArriveAsTheyWereSent) {
  node(1).Send(replica(2), 7, raft::VoteRequest{.last = {raft::Term(3), raft::LogIndex(4)}, .pre_vote = true});
  node(1).Send(replica(2), 8, Append(absl::Cord("abc"), 5));
  executor_.RunUntilIdle();
  ASSERT_THAT(node(2).messages, SizeIs(2));
  const GroupMessage& vote = node(2).messages[0];
  EXPECT_EQ(vote.group, raft::GroupId(7));
  EXPECT_EQ(vote.message.from, replica(1));
  EXPECT_EQ(vote.message.to, replica(2));
  EXPECT_EQ(vote.message.term, raft::Term(1));
  EXPECT_EQ(std::get<raft::VoteRequest>(vote.message.body).last.index, raft::LogIndex(4));
  const auto& append = std::get<raft::AppendEntries>(node(2).messages[1].message.body);
  ASSERT_THAT(append.entries, SizeIs(1));
  EXPECT_EQ(append.entries[0].payload, "abc");
  EXPECT_THAT(node(3).messages, IsEmpty());
}

TEST_F(PeerLinksTest, MessagesOfOneTurnLeaveTogether) {
  for (int64_t group = 1; group <= 1000; ++group) node(1).Send(replica(2), group, raft::Heartbeat{});
  const int64_t before = network_.messages();
  executor_.RunUntilIdle();
  EXPECT_EQ(network_.messages() - before, 1);
  EXPECT_THAT(node(2).messages, SizeIs(1000));
}

TEST_F(PeerLinksTest, WhatComesDuringAWriteLeavesTogetherAfterIt) {
  node(2).ready = false;
  // Frames until the window is full, one more under way.
  for (int64_t i = 1; i <= 5; ++i) {
    node(1).Send(replica(2), i, Append(absl::Cord("x"), i));
    executor_.RunUntilIdle();
  }
  const int frames = node(2).frames;
  for (int64_t i = 6; i <= 50; ++i) {
    node(1).Send(replica(2), i, Append(absl::Cord("x"), i));
    executor_.RunUntilIdle();
  }
  EXPECT_EQ(node(2).frames, frames);
  while (!node(2).waiting.empty()) {
    node(2).TakeMore();
    executor_.RunUntilIdle();
  }
  ASSERT_THAT(node(2).messages, SizeIs(50));
  for (int64_t i = 1; i <= 50; ++i) EXPECT_EQ(node(2).messages[i - 1].group, raft::GroupId(i));
  EXPECT_LE(node(2).frames, 6);
}

TEST_F(PeerLinksTest, FramesOfEntriesEndAtAMegabyteAndHoldOneAtLeast) {
  for (int64_t i = 1; i <= 40; ++i) node(1).Send(replica(2), i, Append(payloads_.Make(100 << 10), i));
  node(1).Send(replica(2), 41, Append(payloads_.Make(5 * kMiB), 41));
  node(1).Send(replica(2), 42, Append(payloads_.Make(1), 42));
  executor_.RunUntilIdle();
  EXPECT_THAT(node(2).messages, SizeIs(42));
  EXPECT_EQ(node(2).frames, 4 + 1 + 1);
}

TEST_F(PeerLinksTest, AVotePassesSixteenMegabytesOfEntries) {
  node(2).ready = false;
  for (int64_t i = 1; i <= 16; ++i) node(1).Send(replica(2), i, Append(payloads_.Make(kMiB), i));
  executor_.RunUntilIdle();
  const size_t delivered = node(2).messages.size();
  EXPECT_LT(delivered, 2u);
  for (size_t i = 1; i <= 5; ++i) {
    node(1).Send(replica(2), 99, raft::VoteRequest{});
    executor_.RunUntilIdle();
    EXPECT_THAT(node(2).messages, SizeIs(delivered + i));
  }
}

// A joined broker that is started on another port can tell nobody of it but by coming from there.
TEST_F(PeerLinksTest, APeerIsLookedForWhereItSaysItIsUnlessAListSaysOtherwise) {
  for (const bool listed : {false, true}) {
    PeerNode a(executor_, network_, {.id = 1}), b(executor_, network_, {.id = 2, .tells_address = true});
    const std::map<raft::BrokerId, PeerAddress> before = {
        {raft::BrokerId(2), {.address = "where-it-was:9470", .listed = listed}}};
    a.links->SetPeers(before);
    b.Know({1});
    executor_.Advance(seconds(2));
    EXPECT_EQ(a.IsUp(2), !listed);
    EXPECT_EQ(b.IsUp(1), !listed);
    a.links->SetPeers(before);
    executor_.Advance(seconds(2));
    EXPECT_EQ(a.IsUp(2), !listed);
  }
}

// A commit index that came before the entries it speaks of would look like a gap in the log.
TEST_F(PeerLinksTest, AppendsKeepTheirOrderWithAndWithoutEntries) {
  node(2).ready = false;
  for (int64_t i = 1; i <= 20; ++i) {
    node(1).Send(replica(2), i, i % 2 == 0 ? raft::AppendEntries{} : Append(payloads_.Make(300 << 10), i));
    executor_.RunUntilIdle();
  }
  while (!node(2).waiting.empty()) {
    node(2).TakeMore();
    executor_.RunUntilIdle();
  }
  ASSERT_THAT(node(2).messages, SizeIs(20));
  for (int64_t i = 1; i <= 20; ++i) EXPECT_EQ(node(2).messages[i - 1].group, raft::GroupId(i));
}

TEST_F(PeerLinksTest, ASlowPeerCostsItsShareAndNoMore) {
  node(2).ready = false;
  for (int64_t i = 1; i <= 100; ++i) {
    node(1).Send(replica(2), i % 10, Append(payloads_.Make(kMiB), i));
    executor_.RunUntilIdle();
  }
  EXPECT_LE(payloads_.bytes(), 38 * kMiB) << "32 that wait, and what the network and the peer hold";
  EXPECT_GE(payloads_.bytes(), 30 * kMiB);
  ASSERT_THAT(node(1).lost, SizeIs(testing::AllOf(testing::Ge(60u), testing::Le(70u))));
  EXPECT_EQ(node(1).lost.front().first, replica(2));
  EXPECT_THAT(LinesWith("a peer takes less"), SizeIs(1));
  EXPECT_TRUE(node(1).IsUp(2)) << "slow is not down";

  node(1).lost.clear();
  for (int i = 0; i < 5; ++i) node(1).Send(replica(2), 7, Append(payloads_.Make(kMiB)));
  executor_.RunUntilIdle();
  EXPECT_THAT(node(1).lost, ElementsAre(std::pair(replica(2), raft::GroupId(7)))) << "once a turn";
}

TEST_F(PeerLinksTest, TheRestHasAShareOfItsOwn) {
  // More than fits, within one turn.
  for (int64_t group = 1; group <= 500'000; ++group) {
    node(1).Send(replica(2), group, raft::AppendReply{.match = raft::LogIndex(group), .life = 1});
  }
  executor_.RunUntilIdle();
  EXPECT_FALSE(node(1).lost.empty());
  EXPECT_EQ(node(1).lost.size() + node(2).messages.size(), 500'000);
  EXPECT_GT(node(2).messages.size(), 100'000);
}

TEST_F(PeerLinksTest, AMessageLargerThanTheShareFitsAlone) {
  node(1).Send(replica(2), 1, raft::InstallSnapshot{.state = payloads_.Make(50 * kMiB)});
  executor_.RunUntilIdle();
  EXPECT_THAT(node(2).messages, SizeIs(1));
  EXPECT_THAT(node(1).lost, IsEmpty());
  node(1).Send(replica(2), 1, raft::InstallSnapshot{.state = payloads_.Make(kPeerFrameBytesMax)});
  executor_.RunUntilIdle();
  EXPECT_THAT(node(1).lost, SizeIs(1)) << "no peer takes such a frame";
  EXPECT_TRUE(node(1).IsUp(2));
}

TEST_F(PeerLinksTest, ADeadPeerCostsNothing) {
  node(2).ready = false;
  for (int64_t i = 1; i <= 20; ++i) node(1).Send(replica(2), i, Append(payloads_.Make(kMiB), i));
  executor_.RunUntilIdle();
  const raft::ReplicaId dead = replica(2);
  Kill(2);
  EXPECT_FALSE(node(1).IsUp(2));
  EXPECT_EQ(payloads_.alive(), 0);
  for (int i = 0; i < 1000; ++i) {
    node(1).Send(dead, i, Append(payloads_.Make(kMiB)));
    EXPECT_EQ(payloads_.alive(), 0);
  }
  executor_.Advance(seconds(10));
  EXPECT_THAT(node(1).lost, IsEmpty()) << "that the peer is down says it all";
}

TEST_F(PeerLinksTest, ASlowPeerDoesNotSlowTheOthers) {
  node(2).ready = false;
  for (int64_t i = 1; i <= 50; ++i) {
    node(1).Send(replica(2), i, Append(payloads_.Make(kMiB), i));
    node(1).Send(replica(3), i, Append(payloads_.Make(kMiB), i));
    executor_.RunUntilIdle();
    EXPECT_THAT(node(3).messages, SizeIs(i));
  }
}

TEST_F(PeerLinksTest, AKilledPeerIsDownAtOnceAndUpAgainWhenItIsBack) {
  Kill(2);
  for (int64_t id : {1, 3}) {
    EXPECT_FALSE(node(id).IsUp(2)) << "no time has passed";
    EXPECT_EQ(node(id).downs, 1);
  }
  // Attempts come at pauses that grow to two seconds.
  const int opened = node(1).transport.opened;
  executor_.Advance(seconds(1));
  const int in_first_second = node(1).transport.opened - opened;
  EXPECT_GE(in_first_second, 2 * 4);
  executor_.Advance(seconds(99));
  EXPECT_GE(node(1).transport.opened - opened, 2 * 50);
  EXPECT_LE(node(1).transport.opened - opened, 2 * 110);
  EXPECT_THAT(LinesWith("peer=2"), SizeIs(2 * 3)) << "up, down and why it cannot be reached, by each of the two";

  // It comes to us, which ends the pause.
  Start({.id = 2, .session = 5});
  executor_.Advance(milliseconds(100));
  EXPECT_EQ(node(1).up[raft::BrokerId(2)], replica(2));
  EXPECT_EQ(node(2).ups, 2);

  // The pauses begin small again.
  network_.Break(node(2).address());
  executor_.Advance(milliseconds(60));
  EXPECT_TRUE(node(1).IsUp(2));
}

TEST_F(PeerLinksTest, AnotherDiskIsAnotherReplica) {
  const raft::ReplicaId old = replica(2);
  Kill(2);
  Start({.id = 2, .incarnation = 77, .session = 5});
  executor_.Advance(milliseconds(100));
  EXPECT_EQ(node(1).up[raft::BrokerId(2)], (raft::ReplicaId{raft::BrokerId(2), 77}));
  node(1).Send(old, 1, raft::VoteRequest{});
  node(1).Send(replica(2), 2, raft::VoteRequest{});
  executor_.RunUntilIdle();
  ASSERT_THAT(node(2).messages, SizeIs(1)) << "what is for the lost disk is not for this one";
  EXPECT_EQ(node(2).messages[0].group, raft::GroupId(2));
}

TEST_F(PeerLinksTest, ABrokenConnectionIsToldAndMade) {
  network_.Break(node(2).address());
  executor_.RunUntilIdle();
  EXPECT_EQ(node(1).downs, 1);
  EXPECT_EQ(node(2).downs, 2) << "both others lost their way to it";
  executor_.Advance(seconds(1));
  EXPECT_EQ(node(1).ups, 3);
  EXPECT_EQ(node(2).ups, 4);
}

TEST_F(PeerLinksTest, APeerThatFallsSilentIsDownAfterASecond) {
  executor_.Advance(milliseconds(50));  // between beats
  node(2).loop.held = true;
  executor_.Advance(milliseconds(900));
  EXPECT_TRUE(node(1).IsUp(2));
  executor_.Advance(milliseconds(300));
  EXPECT_FALSE(node(1).IsUp(2));
  EXPECT_FALSE(node(3).IsUp(2));
  EXPECT_TRUE(node(1).IsUp(3));
  EXPECT_THAT(LinesWith("nothing was heard of it for 1000 ms"), SizeIs(2));
  executor_.Advance(seconds(20));
  EXPECT_EQ(node(1).ups, 2);
  EXPECT_THAT(LinesWith("peer=2"), SizeIs(2 * 2)) << "up and down, by each of the two: the reason stays the same";
  node(2).loop.Release();
  executor_.Advance(seconds(3));
  EXPECT_TRUE(node(1).IsUp(2));
  EXPECT_TRUE(node(2).IsUp(1));
}

// The others hear nothing, and what it hears of them tells it nothing of its own links.
TEST_F(PeerLinksTest, LinksThatCarryNothingOneWayAreMadeAnew) {
  executor_.Advance(milliseconds(50));
  node(2).transport.Cut();
  executor_.Advance(milliseconds(900));
  EXPECT_TRUE(node(1).IsUp(2));
  executor_.Advance(milliseconds(300));
  for (const auto& [id, node] : nodes_) {
    EXPECT_THAT(node->up, SizeIs(2)) << id;
  }
  EXPECT_EQ(node(1).downs, 1);
  EXPECT_EQ(node(3).downs, 1);
  EXPECT_EQ(node(2).downs, 2);
  EXPECT_THAT(LinesWith("it hears nothing of this broker"), SizeIs(2));

  // What is left of the old links ends long after, which is no news.
  executor_.Advance(seconds(40));
  node(2).transport.ForgetCut();
  executor_.Advance(seconds(1));
  EXPECT_EQ(node(1).downs + node(2).downs + node(3).downs, 4);
}

// While it stood still it could not hear.
TEST_F(PeerLinksTest, ABrokerThatStoodStillDoesNotTakeItForOthersSilence) {
  executor_.Advance(milliseconds(50));
  node(1).loop.held = true;
  executor_.Advance(milliseconds(800));
  node(1).loop.Release();
  executor_.Advance(seconds(5));
  EXPECT_EQ(node(1).downs, 0);
}

TEST_F(PeerLinksTest, OneWordASecondIsEnough) {
  ScriptedPeer peer(executor_, network_, node(1).address());
  auto hello = peer.HelloTo(node(1));
  peer.Say(hello);
  uint64_t sequence = 0;
  for (int i = 0; i < 10; ++i) {
    executor_.Advance(milliseconds(990));
    internal::v1::PeerFrame frame;
    frame.set_sequence(++sequence);
    peer.Say(frame);
    EXPECT_TRUE(node(1).presence.IsTaken({.replica = {raft::BrokerId(9), 9}, .session = 1}));
  }
  executor_.Advance(seconds(1));
  EXPECT_FALSE(node(1).presence.IsTaken({.replica = {raft::BrokerId(9), 9}, .session = 1}));
}

TEST_F(PeerLinksTest, IdleBrokersBeatFiveTimesASecondAndBusyOnesNotAtAll) {
  int64_t before = network_.messages();
  executor_.Advance(seconds(10));
  EXPECT_EQ(network_.messages() - before, 6 * 50);
  // One message every 50 ms to everybody: no beat finds a silent link.
  before = network_.messages();
  for (int i = 0; i < 200; ++i) {
    for (int64_t from : {1, 2, 3}) {
      for (int64_t to : {1, 2, 3}) {
        if (from != to) node(from).Send(replica(to), 1, raft::Heartbeat{});
      }
    }
    executor_.Advance(milliseconds(50));
  }
  EXPECT_EQ(network_.messages() - before, 6 * 200);
}

TEST_F(PeerLinksTest, APeerWhoseStorageStandsStillIsDownThoughItSpeaks) {
  node(2).progressing = false;
  executor_.Advance(milliseconds(900));
  EXPECT_TRUE(node(1).IsUp(2));
  for (int i = 0; i < 20; ++i) {
    node(2).Send(replica(1), 1, raft::VoteReply{});
    executor_.Advance(milliseconds(20));
  }
  EXPECT_FALSE(node(1).IsUp(2));
  EXPECT_FALSE(node(3).IsUp(2));
  EXPECT_TRUE(node(2).IsUp(1));
  EXPECT_THAT(node(1).messages, SizeIs(20));
  EXPECT_THAT(LinesWith("its storage makes no progress"), SizeIs(2));

  const int opened = node(1).transport.opened;
  executor_.Advance(seconds(20));
  EXPECT_EQ(node(1).transport.opened, opened) << "the connection is sound";
  node(2).progressing = true;
  executor_.Advance(milliseconds(450));
  EXPECT_TRUE(node(1).IsUp(2));
}

TEST_F(PeerLinksTest, LeadersAreToldToAll) {
  const GroupLeader leader{raft::GroupId(4), raft::Term(5), raft::BrokerId(1)};
  const int64_t before = network_.messages();
  node(1).links->SendLeaders({leader, leader});
  executor_.RunUntilIdle();
  EXPECT_THAT(node(2).leaders, ElementsAre(leader, leader));
  EXPECT_THAT(node(3).leaders, ElementsAre(leader, leader));
  EXPECT_EQ(network_.messages() - before, 2);
}

TEST_F(PeerLinksTest, PeersLeaveAndMove) {
  node(1).Know({3});
  executor_.RunUntilIdle();
  EXPECT_FALSE(node(1).IsUp(2));
  EXPECT_FALSE(node(2).IsUp(1));
  EXPECT_TRUE(node(1).IsUp(3));
  node(1).links->SetPeers({{raft::BrokerId(3), {.address = "elsewhere:9470"}}});
  executor_.Advance(seconds(1));
  EXPECT_FALSE(node(1).IsUp(3));
  EXPECT_THAT(LinesWith("address=elsewhere:9470"), SizeIs(1));
  node(1).Know({2, 3});
  executor_.Advance(seconds(3));
  EXPECT_THAT(node(1).up, SizeIs(2));
  EXPECT_THAT(node(2).up, SizeIs(2));
  EXPECT_THAT(node(3).up, SizeIs(2));
}

TEST_F(PeerLinksTest, ADiskThatIsExpectedIsTheOnlyOneAccepted) {
  node(1).links->SetPeers({{raft::BrokerId(2), {.address = node(2).address(), .incarnation = 1}}});
  executor_.Advance(seconds(3));
  EXPECT_FALSE(node(1).IsUp(2));
  node(1).links->SetPeers({{raft::BrokerId(2), {.address = node(2).address(), .incarnation = replica(2).incarnation}}});
  executor_.Advance(seconds(3));
  EXPECT_TRUE(node(1).IsUp(2));
}

class PeerCallTest : public PeerLinksTest {
 protected:
  PeerCallTest() : peer_(executor_, network_, node(1).address()) {
    peer_.Say(peer_.HelloTo(node(1)));
    EXPECT_TRUE(peer_.welcome);
  }

  ScriptedPeer peer_;
};

TEST_F(PeerCallTest, AMessageOfAnotherSenderEndsTheLink) {
  internal::v1::PeerFrame frame;
  frame.set_sequence(1);
  internal::v1::GroupMessage* message = frame.add_messages();
  message->mutable_vote_request();
  *message->mutable_from() = ToProto({raft::BrokerId(9), 9});
  *message->mutable_to() = ToProto({raft::BrokerId(1), 5});
  peer_.Say(frame);
  ASSERT_THAT(node(1).messages, SizeIs(1));
  EXPECT_EQ(node(1).messages[0].message.to, (raft::ReplicaId{raft::BrokerId(1), 5}));
  EXPECT_FALSE(peer_.closed);

  *message->mutable_from() = ToProto(replica(2));
  frame.set_sequence(2);
  peer_.Say(frame);
  EXPECT_TRUE(peer_.closed);
  EXPECT_EQ(peer_.refusal.reason(), internal::v1::Refusal::FOREIGN_MESSAGE);
  EXPECT_EQ(peer_.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(peer_.refusal.message(), HasSubstr("a message of broker 2 came on the link of broker 9"));
  EXPECT_THAT(node(1).messages, SizeIs(1));
  EXPECT_THAT(node(1).up, SizeIs(2)) << "the others do not suffer";
}

TEST_F(PeerCallTest, GarbageEndsTheLink) {
  peer_.Say(std::string("\x22\xff"));
  EXPECT_EQ(peer_.refusal.reason(), internal::v1::Refusal::MALFORMED);
  EXPECT_THAT(peer_.refusal.message(), HasSubstr("not a PeerFrame: malformed protobuf at byte"));
  EXPECT_TRUE(peer_.closed);
}

TEST_F(PeerCallTest, AFrameThatIsLostOrDoubledEndsTheLink) {
  internal::v1::PeerFrame frame;
  frame.set_sequence(1);
  peer_.Say(frame);
  peer_.Say(frame);
  EXPECT_EQ(peer_.refusal.reason(), internal::v1::Refusal::MALFORMED);
  EXPECT_THAT(peer_.refusal.message(), HasSubstr("frame 1 came where 2 was due"));
}

TEST(ClockOffset, IsTheMostThatTheLastSecondsTold) {
  ClockOffset offset;
  EXPECT_EQ(offset.Value(), std::nullopt);
  offset.Add(/*sent=*/1'000, /*now=*/1'080, seconds(0));  // 50 behind, and 30 under way
  offset.Add(2'000, 2'055, seconds(1));
  offset.Add(3'000, 3'070, seconds(2));
  EXPECT_EQ(offset.Value(), -55);
  // A clock that was set: what was told before goes with its windows.
  offset.Add(7'000, 7'505, seconds(7));
  EXPECT_EQ(offset.Value(), -55);
  offset.Add(12'000, 12'507, seconds(12));
  EXPECT_EQ(offset.Value(), -505);
  offset.Add(90'000, 90'700, seconds(90));
  EXPECT_EQ(offset.Value(), -700);
}

}  // namespace
}  // namespace millrace::server
