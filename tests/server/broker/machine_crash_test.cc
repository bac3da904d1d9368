// Goal: a crash of the machine is not forgotten before every partition has dealt with what it may have cost.
#include <gmock/gmock.h>

#include "tests/server/broker/fixture.h"

namespace millrace {
namespace {

class MachineCrash : public BrokerTest {
 protected:
  MachineCrash() { CreateTopic("fast", 3, {{"flush", "async"}}); }

  void LosePower() {
    FrameClient client(executor_, network_, "Produce");
    for (int p = 0; p < 3; ++p) Send(client, "fast", p, BatchOf({"acked"}));
    broker_->Crash(FakeLogStore::kLoseUnsynced);
  }
  raft::GroupId GroupOf(int partition) {
    return broker_->broker().image()->FindTopic("fast")->partitions[static_cast<size_t>(partition)].group;
  }
  bool Started(raft::GroupId group) { return broker_->broker().ShardOf(group).groups.Find(group) != nullptr; }
};

TEST_F(MachineCrash, IsForgottenWhenEveryPartitionHasDealtWithIt) {
  LosePower();
  broker_->Start();
  EXPECT_FALSE(broker_->power_lost());
  for (int p = 0; p < 3; ++p) EXPECT_TRUE(Started(GroupOf(p))) << p << ": nobody may use it before the next start";
}

TEST_F(MachineCrash, IsRememberedWhileAPartitionCannotBeOpened) {
  const raft::GroupId damaged = GroupOf(1);
  LosePower();
  disk_.DamageWhole(damaged);
  broker_->Start();
  EXPECT_TRUE(broker_->power_lost());
  EXPECT_TRUE(Started(GroupOf(0)));
  EXPECT_TRUE(Started(GroupOf(2))) << "the others serve all the same";
}

}  // namespace
}  // namespace millrace
