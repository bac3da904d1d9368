// Goal: whatever happens to brokers and connections, nothing comes twice, nothing comes out of order but what was left on a
// connection that was cut, ups and downs alternate (PeerNode checks that), and afterwards all are up again. Method: random faults
// and messages from a seed.
#include <map>
#include <set>
#include <tuple>
#include <variant>

#include "tests/server/peers/peer_node.h"
#include "tests/wire/random_input.h"

namespace millrace::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int64_t kNodes = 4;

class RandomLinks {
 public:
  RandomLinks(RandomInput& random, bool cuts) : random_(random), cuts_(cuts) {
    for (int64_t id = 1; id <= kNodes; ++id) Start(id);
  }

  void Step() {
    const auto id = static_cast<int64_t>(1 + random_.Below(kNodes));
    PeerNode* node = nodes_[id].get();
    if (node == nullptr) {
      if (random_.OneIn(4)) Start(id);
      return executor_.Advance(milliseconds(random_.Below(100)));
    }
    switch (random_.Below(14)) {
      case 0:
        return executor_.Advance(milliseconds(random_.Below(400)));
      case 1:
        if (random_.OneIn(4)) Stop(id);
        return;
      case 2:
        if (random_.OneIn(4)) network_.Break(node->address());
        return;
      case 3:
        if (random_.OneIn(4)) node->loop.held = true;
        return;
      case 4:
        return node->loop.Release();
      case 5:
        node->progressing = !random_.OneIn(3);
        return;
      case 6:
        node->ready = !random_.OneIn(3);
        return node->ready ? node->TakeMore() : void();
      case 7:
        return executor_.RunUntilIdle();
      case 8:
        if (cuts_ && random_.OneIn(4)) node->transport.Cut();
        return;
      case 9:
        return node->transport.ForgetCut();
      default:
        for (size_t n = random_.Below(20); n > 0; --n) Send(*node);
    }
  }

  void Heal() {
    for (auto& [id, node] : nodes_) {
      if (node == nullptr) Start(id);
      node->progressing = true;
      node->loop.Release();
      node->TakeMore();
    }
    executor_.Advance(seconds(5));
    for (auto& [id, node] : nodes_) {
      EXPECT_EQ(node->up.size(), kNodes - 1) << id;
      for (auto& [other, peer] : nodes_) {
        if (other == id) continue;
        EXPECT_EQ(node->up[raft::BrokerId(other)], peer->replica());
        node->Send(peer->replica(), ++sent_, raft::VoteRequest{});
        node->Send(peer->replica(), ++sent_, raft::AppendEntries{});
      }
      Check(id);
    }
    executor_.RunUntilIdle();
    for (auto& [id, node] : nodes_) EXPECT_EQ(Check(id), 2 * (kNodes - 1)) << id;
  }

  int64_t received() const { return received_; }

 private:
  void Start(int64_t id) {
    incarnation_ += random_.OneIn(3) ? 1 : 0;
    nodes_[id] = std::make_unique<PeerNode>(
        executor_, network_, PeerNode::Options{.id = id, .incarnation = incarnation_, .session = ++session_});
    nodes_[id]->Know({1, 2, 3, 4});
  }

  void Stop(int64_t id) {
    Check(id);
    nodes_[id].reset();
  }

  void Send(PeerNode& from) {
    const auto to = static_cast<int64_t>(1 + random_.Below(kNodes));
    if (nodes_[to] == nullptr || nodes_[to].get() == &from) return;
    const raft::ReplicaId replica = nodes_[to]->replica();
    if (random_.OneIn(2)) {
      from.Send(replica, ++sent_, raft::Heartbeat{});
    } else {
      raft::AppendEntries append;
      append.entries.push_back({.payload = absl::Cord(std::string(random_.Below(200'000), 'p'))});
      from.Send(replica, ++sent_, std::move(append));
    }
  }

  // What came since the last time: never before, and later than all that came before from the same broker on the same lane.
  int64_t Check(int64_t id) {
    const std::vector<GroupMessage> messages = std::exchange(nodes_[id]->messages, {});
    for (const GroupMessage& m : messages) {
      const bool bulk = std::holds_alternative<raft::AppendEntries>(m.message.body);
      int64_t& last = last_[{id, m.message.from.broker.value(), bulk}];
      EXPECT_TRUE(cuts_ || m.group.value() > last) << m.group << " behind " << last;
      EXPECT_TRUE(seen_.insert(m.group).second) << m.group;
      last = m.group.value();
      EXPECT_EQ(m.message.to, nodes_[id]->replica());
    }
    received_ += static_cast<int64_t>(messages.size());
    return static_cast<int64_t>(messages.size());
  }

  RandomInput& random_;
  const bool cuts_;
  SimExecutor executor_;
  SimNetwork network_{executor_};
  std::map<int64_t, std::unique_ptr<PeerNode>> nodes_;
  uint64_t incarnation_ = 1, session_ = 0;
  int64_t sent_ = 0, received_ = 0;
  std::map<std::tuple<int64_t, int64_t, bool>, int64_t> last_;
  std::set<raft::GroupId> seen_;
};

TEST(PeerLinksRandomTest, NothingComesTwiceOrOutOfOrderAndAllIsWellAgain) {
  RandomInput random;
  int64_t received = 0;
  for (int run = 0; run < 60; ++run) {
    SCOPED_TRACE(run);
    RandomLinks links(random, /*cuts=*/run % 2 == 0);
    for (int step = 0; step < 300; ++step) links.Step();
    links.Heal();
    received += links.received();
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(received, 60 * 100) << "hardly anything was sent";
}

}  // namespace
}  // namespace millrace::server
