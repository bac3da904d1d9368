#include "tests/raft_sim/network.h"

#include <gtest/gtest.h>

namespace millrace::raft::sim {
namespace {

Message From(int from, int to, int64_t term) {
  return {.from = {BrokerId(from), 1}, .to = {BrokerId(to), 1}, .term = Term(term), .body = TimeoutNow()};
}

class NetworkTest : public testing::Test {
 protected:
  // The terms of the messages that arrive, in order.
  std::vector<int64_t> Arrivals() {
    std::vector<int64_t> terms;
    while (!queue.empty()) terms.push_back(network.Take(queue.Pop().what).term.value());
    return terms;
  }

  Swarm swarm;
  EventQueue queue;
  Dice dice{7};
  Network network{swarm, queue, dice};
};

TEST_F(NetworkTest, ALinkKeepsTheOrderUnlessItReorders) {
  for (int i = 1; i <= 20; ++i) network.Send(i, From(0, 1, i));
  const std::vector<int64_t> terms = Arrivals();
  EXPECT_EQ(terms.size(), 20u);
  EXPECT_TRUE(std::is_sorted(terms.begin(), terms.end()));

  swarm.faults.set(static_cast<size_t>(Fault::kReorder));
  for (int i = 1; i <= 20; ++i) network.Send(i, From(0, 1, i));
  const std::vector<int64_t> reordered = Arrivals();
  EXPECT_EQ(reordered.size(), 20u);
  EXPECT_FALSE(std::is_sorted(reordered.begin(), reordered.end()));
}

TEST_F(NetworkTest, ACutIsOneWayAndEndsWhenEachOfItsFaultsHas) {
  network.Cut(0, 1);
  network.Cut(0, 1);
  network.Mend(0, 1);
  network.Send(0, From(0, 1, 1));
  network.Send(0, From(1, 0, 2));
  EXPECT_EQ(Arrivals(), std::vector<int64_t>{2});
  network.Mend(0, 1);
  network.Send(0, From(0, 1, 3));
  EXPECT_EQ(Arrivals(), std::vector<int64_t>{3});
}

TEST_F(NetworkTest, HealedItLosesAndDoublesNothing) {
  swarm.drop_per_million = swarm.duplicate_per_million = 500'000;
  network.Cut(0, 1);
  network.Heal();
  for (int i = 1; i <= 20; ++i) network.Send(0, From(0, 1, i));
  EXPECT_EQ(Arrivals().size(), 20u);
}

TEST(EventQueue, EqualTimesComeInTheOrderOfScheduling) {
  EventQueue queue;
  for (uint32_t i = 0; i < 50; ++i) queue.Schedule(i % 3, {.kind = EventKind::kTick, .what = i});
  int64_t time = 0;
  uint32_t what = 0;
  while (!queue.empty()) {
    if (queue.next_time() != time) what = 0;
    time = queue.next_time();
    const Event event = queue.Pop();
    EXPECT_GE(event.what, what);
    EXPECT_EQ(event.what % 3, time);
    what = event.what;
  }
}

}  // namespace
}  // namespace millrace::raft::sim
