// Goal: only brokers of the same cluster, each once, get a link, and whoever does not is told why. Method: a sender in the hands
// of the test spoils one thing at a time; then two brokers that are set up differently.
#include <gmock/gmock.h>

#include <optional>

#include "absl/strings/escaping.h"
#include "google/protobuf/unknown_field_set.h"
#include "server/identity.h"
#include "server/log.h"
#include "tests/server/peers/peer_node.h"
#include "tests/server/peers/scripted_peer.h"

namespace millrace::server {
namespace {

using internal::v1::Hello;
using internal::v1::Refusal;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::SizeIs;

class HandshakeTest : public testing::Test {
 protected:
  HandshakeTest() {
    log::SetSink([this](std::string_view line) { log_.emplace_back(line); });
  }
  ~HandshakeTest() override { log::SetSink(nullptr); }

  std::unique_ptr<PeerNode> Node(const PeerNode::Options& options) {
    return std::make_unique<PeerNode>(executor_, network_, options);
  }

  // What becomes of a Hello with one thing spoilt.
  struct Outcome {
    Refusal refusal;
    absl::Status status;
  };
  Outcome Try(PeerNode& node, const std::function<void(Hello&)>& spoil, const PeerSecret& secret = {}) {
    ScriptedPeer peer(executor_, network_, node.address());
    Hello hello = peer.HelloTo(node, secret);
    spoil(hello);
    peer.Say(hello);
    EXPECT_FALSE(peer.welcome);
    EXPECT_TRUE(peer.closed);
    EXPECT_EQ(peer.status.message(), peer.refusal.message());
    return {peer.refusal, peer.status};
  }

  std::vector<std::string> LinesWith(const std::string& text) const {
    std::vector<std::string> lines;
    for (const std::string& line : log_) {
      if (line.find(text) != std::string::npos) lines.push_back(line);
    }
    return lines;
  }

  SimExecutor executor_;
  SimNetwork network_{executor_};
  std::vector<std::string> log_;
};

TEST_F(HandshakeTest, BothAreUpOnceEachHasLetTheOtherIn) {
  auto a = Node({.id = 1}), b = Node({.id = 2});
  a->Know({1, 2});
  executor_.Advance(milliseconds(500));
  EXPECT_FALSE(a->IsUp(2)) << "b does not know a yet";
  b->Know({1, 2});
  executor_.RunUntilIdle();
  EXPECT_EQ(b->up[a->replica().broker], a->replica());
  EXPECT_EQ(a->up[b->replica().broker], b->replica());
  executor_.Advance(minutes(1));
  EXPECT_EQ(a->ups + b->ups, 2);
  EXPECT_EQ(a->downs + b->downs, 0);
  EXPECT_THAT(LinesWith("peer is up"), SizeIs(2));
}

TEST_F(HandshakeTest, AGoodHelloIsWelcome) {
  auto node = Node({.id = 1});
  ScriptedPeer peer(executor_, network_, node->address());
  EXPECT_EQ(peer.nonce.size(), 32u);
  peer.Say(peer.HelloTo(*node));
  EXPECT_TRUE(peer.welcome);
  EXPECT_FALSE(peer.closed);
}

TEST_F(HandshakeTest, ABrokerOfAnotherClusterIsRefused) {
  auto node = Node({.id = 1});
  const Outcome outcome = Try(*node, [](Hello& hello) { hello.set_cluster_id("other"); });
  EXPECT_EQ(outcome.refusal.reason(), Refusal::WRONG_CLUSTER);
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(outcome.refusal.message(), AllOf(HasSubstr("'other'"), HasSubstr("'c'"), HasSubstr("--cluster")));
}

TEST_F(HandshakeTest, WithoutAClusterNobodyIsLetInYet) {
  auto node = Node({.id = 1, .cluster = ""});
  const Outcome outcome = Try(*node, [](Hello& hello) { hello.set_cluster_id("c"); });
  EXPECT_EQ(outcome.refusal.reason(), Refusal::NO_CLUSTER);
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kUnavailable);
  node->gate.SetCluster("c", node->replica());
  ScriptedPeer peer(executor_, network_, node->address());
  Hello hello = peer.HelloTo(*node);
  hello.set_cluster_id("c");
  peer.Say(hello);
  EXPECT_TRUE(peer.welcome);
}

TEST_F(HandshakeTest, ASenderThatWantsAnotherBrokerIsRefused) {
  auto node = Node({.id = 1});
  const Outcome outcome = Try(*node, [](Hello& hello) { hello.mutable_to()->set_broker_id(3); });
  EXPECT_EQ(outcome.refusal.reason(), Refusal::WRONG_BROKER);
  EXPECT_THAT(outcome.refusal.message(), HasSubstr("expects broker 3 where broker 1 is"));
}

TEST_F(HandshakeTest, ASenderThatWantsAnotherDiskIsRefused) {
  auto node = Node({.id = 1, .incarnation = 42});
  const Outcome outcome = Try(*node, [](Hello& hello) { hello.mutable_to()->set_incarnation(41); });
  EXPECT_EQ(outcome.refusal.reason(), Refusal::WRONG_INCARNATION);
  EXPECT_THAT(outcome.refusal.message(),
              AllOf(HasSubstr("expects disk 41"), HasSubstr("has disk 42"), HasSubstr(kLostDiskRemedy)));
}

// It would vote for what it knows nothing of.
TEST_F(HandshakeTest, ASenderWhoseDirectoryIsAnOlderCopyIsRefused) {
  auto node = Node({.id = 1});
  const auto known = [&](uint64_t session) {
    node->gate.SetBrokers({{.id = {raft::BrokerId(9), 9}, .session = session, .starts = 7}});
  };
  known(98);
  const Outcome outcome = Try(*node, [](Hello& hello) { hello.set_starts(7); });
  EXPECT_EQ(outcome.refusal.reason(), Refusal::OLD_COPY);
  EXPECT_THAT(outcome.refusal.message(),
              AllOf(HasSubstr("this is its start 7, and the cluster has seen start 7"), HasSubstr(kLostDiskRemedy)));
  const auto is_welcome = [&](uint64_t starts) {
    ScriptedPeer peer(executor_, network_, node->address());
    Hello hello = peer.HelloTo(*node);
    hello.set_starts(starts);
    peer.Say(hello);
    return peer.welcome;
  };
  EXPECT_FALSE(is_welcome(6));
  EXPECT_TRUE(is_welcome(8));
  known(99);
  EXPECT_TRUE(is_welcome(7));  // the very start that has registered
}

TEST_F(HandshakeTest, ASenderWithOurOwnIdIsRefused) {
  auto node = Node({.id = 1});
  const Outcome outcome = Try(*node, [](Hello& hello) { hello.mutable_from()->set_broker_id(1); });
  EXPECT_EQ(outcome.refusal.reason(), Refusal::DUPLICATE_BROKER);
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(outcome.refusal.message(), HasSubstr("two brokers have the id 1"));
}

// Another disk under the same id, and a process on a copy of the same disk.
TEST_F(HandshakeTest, ASecondBrokerWithThePeersIdIsRefusedWhileTheFirstIsHere) {
  auto node = Node({.id = 1});
  ScriptedPeer first(executor_, network_, node->address());
  first.Say(first.HelloTo(*node));
  ASSERT_TRUE(first.welcome);
  for (const auto& spoil :
       {std::function<void(Hello&)>([](Hello& hello) { hello.mutable_from()->set_incarnation(10); }),
        std::function<void(Hello&)>([](Hello& hello) { hello.set_session(100); })}) {
    const Outcome outcome = Try(*node, spoil);
    EXPECT_EQ(outcome.refusal.reason(), Refusal::DUPLICATE_BROKER);
    EXPECT_THAT(outcome.refusal.message(), HasSubstr("another process is connected as broker 9"));
  }
  EXPECT_FALSE(first.closed);
  first.Close();
  executor_.RunUntilIdle();
  ScriptedPeer second(executor_, network_, node->address());
  Hello hello = second.HelloTo(*node);
  hello.set_session(100);
  second.Say(hello);
  EXPECT_TRUE(second.welcome);
}

// The first one's machine is gone, and nobody has told.
TEST_F(HandshakeTest, AfterASecondOfSilenceTheSecondBrokerTakesThePlace) {
  auto node = Node({.id = 1});
  ScriptedPeer first(executor_, network_, node->address());
  first.Say(first.HelloTo(*node));
  executor_.Advance(seconds(1));
  ScriptedPeer second(executor_, network_, node->address());
  Hello hello = second.HelloTo(*node);
  hello.mutable_from()->set_incarnation(10);
  second.Say(hello);
  EXPECT_TRUE(second.welcome);
  EXPECT_FALSE(first.closed);
  internal::v1::PeerFrame frame;
  frame.set_sequence(1);
  first.Say(frame);
  EXPECT_TRUE(first.closed);
  EXPECT_EQ(first.refusal.reason(), Refusal::DUPLICATE_BROKER);
}

TEST_F(HandshakeTest, ProtocolsThatDoNotMeetAreRefused) {
  auto node = Node({.id = 1, .protocol_min = 3, .protocol_max = 4});
  for (const auto& [min, max] : {std::pair(0, 2), std::pair(5, 9), std::pair(0, 0)}) {
    const Outcome outcome = Try(*node, [min = min, max = max](Hello& hello) {
      hello.set_protocol_min(min);
      hello.set_protocol_max(max);
    });
    EXPECT_EQ(outcome.refusal.reason(), Refusal::UNSUPPORTED_PROTOCOL);
    EXPECT_THAT(outcome.refusal.message(),
                AllOf(HasSubstr("versions " + std::to_string(min) + " to " + std::to_string(max)),
                      HasSubstr("versions 3 to 4"), HasSubstr("upgrade")));
  }
  for (const auto& [min, max] : {std::pair(1, 3), std::pair(4, 5), std::pair(1, 9)}) {
    ScriptedPeer peer(executor_, network_, node->address());
    Hello hello = peer.HelloTo(*node);
    hello.set_protocol_min(min);
    hello.set_protocol_max(max);
    peer.Say(hello);
    EXPECT_TRUE(peer.welcome) << min << " to " << max;
  }
}

TEST_F(HandshakeTest, TheSecretIsProvedForThisLinkAndTheseBrokersOnly) {
  const PeerSecret secret("0123456789abcdef");
  auto node = Node({.id = 1, .secret = "0123456789abcdef"});
  ScriptedPeer good(executor_, network_, node->address());
  const Hello proved = good.HelloTo(*node, secret);
  good.Say(proved);
  EXPECT_TRUE(good.welcome);

  const auto replayed = [&](Hello& hello) { hello = proved; };
  const auto with_other_secret = [&](Hello& hello) {
    hello.set_proof(PeerSecret("another secret!!").ProofOf(hello, ""));
  };
  const auto as_other_broker = [](Hello& hello) { hello.mutable_from()->set_broker_id(8); };
  const auto of_other_disk = [](Hello& hello) { hello.mutable_from()->set_incarnation(10); };
  const auto to_other_broker = [](Hello& hello) { hello.mutable_to()->set_broker_id(2); };
  const auto in_other_cluster = [](Hello& hello) { hello.set_cluster_id("d"); };
  const auto cut = [](Hello& hello) { hello.mutable_proof()->pop_back(); };
  for (const auto& spoil : std::initializer_list<std::function<void(Hello&)>>{
           replayed, with_other_secret, as_other_broker, of_other_disk, to_other_broker, in_other_cluster, cut}) {
    const Outcome outcome = Try(*node, spoil, secret);
    EXPECT_EQ(outcome.refusal.reason(), Refusal::UNAUTHENTICATED);
    EXPECT_EQ(outcome.status.code(), absl::StatusCode::kUnauthenticated);
    EXPECT_THAT(outcome.refusal.message(), AllOf(HasSubstr("another secret"), HasSubstr("--peer-secret-file")));
  }
  const Outcome missing = Try(*node, [](Hello&) {});
  EXPECT_EQ(missing.refusal.reason(), Refusal::UNAUTHENTICATED);
  EXPECT_THAT(missing.refusal.message(), AllOf(HasSubstr("does not prove"), HasSubstr("--peer-secret-file")));
}

// Computed with Python's hmac module.
TEST(PeerSecretTest, ProofsAreWhatTheProtocolSays) {
  Hello hello;
  hello.mutable_from()->set_broker_id(1);
  hello.mutable_from()->set_incarnation(2);
  hello.mutable_to()->set_broker_id(3);
  hello.set_cluster_id("c");
  EXPECT_EQ(absl::BytesToHexString(PeerSecret("0123456789abcdef").ProofOf(hello, "nonce")),
            "80b4845fc6d33acc88155f9fa7fb84ed5f209ee74e674b245602cfc38344873c");
}

TEST_F(HandshakeTest, GarbageGetsASentence) {
  auto node = Node({.id = 1});
  internal::v1::PeerFrame no_hello, odd_hello;
  no_hello.set_sequence(1);
  odd_hello.GetReflection()->MutableUnknownFields(&odd_hello)->AddLengthDelimited(1, "\xff\xff\xff");
  const std::pair<std::string, const char*> cases[] = {
      {"GET / HTTP/1.0\r\n\r\n", "not a PeerFrame"},
      {std::string(kHelloBytesMax + 1, '\0'), "a Hello has at most"},
      {no_hello.SerializeAsString(), "has no Hello"},
      {odd_hello.SerializeAsString(), "has no Hello"},
      {"", "has no Hello"},
  };
  for (const auto& [bytes, sentence] : cases) {
    ScriptedPeer peer(executor_, network_, node->address());
    peer.Say(bytes);
    EXPECT_EQ(peer.refusal.reason(), Refusal::MALFORMED) << sentence;
    EXPECT_EQ(peer.status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(peer.refusal.message(), HasSubstr(sentence));
    EXPECT_EQ(peer.status.message(), peer.refusal.message());
  }
  const Outcome no_lane = Try(*node, [](Hello& hello) { hello.clear_lane(); });
  EXPECT_EQ(no_lane.refusal.reason(), Refusal::MALFORMED);
}

// It goes on trying for ever, since what is wrong may be mended, and says so once on each side.
TEST_F(HandshakeTest, TroubleIsLoggedOnceUntilItIsOver) {
  auto a = Node({.id = 1, .secret = "0123456789abcdef"}), b = Node({.id = 2});
  a->Know({2});
  b->Know({1});
  executor_.Advance(minutes(10));
  EXPECT_FALSE(a->IsUp(2) || b->IsUp(1));
  EXPECT_GT(b->transport.opened, 2 * 60 * 10 / 2);
  EXPECT_THAT(LinesWith("refused a peer"), SizeIs(1));
  EXPECT_THAT(LinesWith("peer cannot be reached"),
              AllOf(SizeIs(2), Contains(AllOf(HasSubstr("peer=1"), HasSubstr("--peer-secret-file"))),
                    Contains(AllOf(HasSubstr("peer=2"), HasSubstr("nothing was heard of it for 1000 ms")))));
}

TEST_F(HandshakeTest, ABrokerBehindTheWrongAddressIsNotTakenForAnother) {
  auto a = Node({.id = 1}), b = Node({.id = 2});
  a->links->SetPeers({{raft::BrokerId(3), {.address = b->address()}}});
  executor_.Advance(seconds(10));
  EXPECT_EQ(a->ups, 0);
  EXPECT_THAT(LinesWith("peer cannot be reached"),
              AllOf(SizeIs(1), Contains(HasSubstr("expects broker 3 where broker 2 is"))));
}

class IntroduceTest : public HandshakeTest {
 protected:
  void Answer(PeerNode& node, const Introduction& as) {
    AddIntroduceService(
        node.gate.secret(), executor_,
        [this, as](const Introduction& asker) {
          asker_ = asker;
          return as;
        },
        node.services());
  }

  absl::StatusOr<Introduction> Ask(const std::string& address, const PeerSecret& secret) {
    std::optional<absl::StatusOr<Introduction>> answer;
    SimRandom random(5);
    PeerAsker ask(network_, secret, random);
    ask.Introduce(address, {.self = {raft::BrokerId(9), 90}}, [&](absl::StatusOr<Introduction> who) { answer = who; });
    executor_.Advance(seconds(2));
    EXPECT_TRUE(answer.has_value());
    return *answer;
  }

  Introduction asker_;
};

TEST_F(IntroduceTest, EachTellsWhoItIs) {
  auto node = Node({.id = 1});
  const Introduction as = {
      .self = {raft::BrokerId(1), 42}, .stage = Identity::Stage::kMember, .founders = {{raft::BrokerId(1), 42}}};
  Answer(*node, as);
  const auto who = Ask(node->address(), {});
  ASSERT_TRUE(who.ok()) << who.status();
  EXPECT_EQ(*who, as);
  EXPECT_EQ(asker_.self, (raft::ReplicaId{raft::BrokerId(9), 90}));
  EXPECT_FALSE(Ask("nobody:1", {}).ok());
}

TEST_F(IntroduceTest, BothSidesMustKnowTheSecret) {
  auto node = Node({.id = 1, .secret = "0123456789abcdef"});
  auto open = Node({.id = 2});
  for (PeerNode* each : {node.get(), open.get()}) Answer(*each, {});
  EXPECT_TRUE(Ask(node->address(), PeerSecret("0123456789abcdef")).ok());
  for (const PeerSecret& secret : {PeerSecret(), PeerSecret("another secret!!")}) {
    EXPECT_THAT(Ask(node->address(), secret).status().ToString(),
                AllOf(HasSubstr("CLUSTER_AUTHORIZATION_FAILED"), HasSubstr("--peer-secret-file")));
  }
  const absl::Status status = Ask(open->address(), PeerSecret("0123456789abcdef")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_THAT(std::string(status.message()), HasSubstr("does not know this broker's secret"));
}

}  // namespace
}  // namespace millrace::server
