#include "tests/raft/random_life.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "proto/wire/crc32c.h"

namespace millrace {

using raft::Flush;
using raft::MembershipChange;
using raft::ReplicaId;
using raft::ReplicaSet;

namespace {

// Small enough, in every second life, that windows and requests fill up.
raft::Config MakeConfig(uint64_t seed) {
  if (seed / 2 % 2 == 0) return {};
  return {.append_bytes_max = 2000, .inflight_messages_max = 3, .promotion_lag_max = 5};
}

}  // namespace

RandomLife::RandomLife(const Options& options)
    : options_(options),
      random_(options.seed),
      cluster_(kBrokers,
               {.flush = options.machines_go_down ? Flush::kAsync : Flush::kCommit,
                .config = MakeConfig(options.seed),
                .seed = options.seed,
                .on_applied = [this](int broker, const raft::Entry& entry) { witness_.OnApplied(broker, entry); },
                .on_sent = [this](int broker, const raft::Message& message) { OnSent(broker, message); }},
               disks_.Opener()) {
  for (int broker = 1; broker <= kBrokers; ++broker) {
    if (OneIn(2)) replica(broker).SnapshotAtApplied();
    is_async_[broker] = options.machines_go_down;
  }
}

void RandomLife::Run() {
  for (int step = 0; step < 500 && !testing::Test::HasFailure(); ++step) {
    SCOPED_TRACE(absl::StrCat("step ", step));
    Disturb();
    for (int passes = random_.UpTo(4); passes > 0; --passes) Pass();
    Check();
  }
  if (testing::Test::HasFailure()) return;
  Recover();
  CheckEnd();
}

// ---- What happens

void RandomLife::Disturb() {
  const int broker = 1 + random_.UpTo(kBrokers);
  switch (random_.UpTo(10)) {
    case 0:
      return OneIn(4) ? Restart(broker) : void();
    case 1:
      return DisturbNetwork(broker);
    case 2:
    case 3:
      return DisturbDisk(broker);
    case 4:
    case 5:
    case 6:
      return AskLeader();
    default:
      for (int each = 1; each <= kBrokers; ++each) core(each).Tick();
  }
}

void RandomLife::DisturbNetwork(int broker) {
  if (!OneIn(3)) return cluster_.Heal();
  cluster_.CutOff(broker);
  if (OneIn(2)) TellOthers(broker);
}

void RandomLife::TellOthers(int unreachable) {
  for (int each = 1; each <= kBrokers; ++each) {
    if (each != unreachable) core(each).OnUnreachable(TestCluster::Id(unreachable));
  }
}

void RandomLife::DisturbDisk(int broker) {
  switch (random_.UpTo(8)) {
    case 0:
      return disks_.store(broker).Stall();
    case 1:
    case 2:
      return disks_.store(broker).EndStall();
    case 3:
      return OneIn(2) ? DropApplied(broker) : void();
    case 4:
      return options_.machines_go_down ? SwitchFlush(broker) : void();
    default:
      return disks_.store(broker).DropCache();
  }
}

void RandomLife::AskLeader() {
  std::vector<int> leaders;  // an old one may not know yet
  for (int broker = 1; broker <= kBrokers; ++broker) {
    if (core(broker).role() == raft::Role::kLeader) leaders.push_back(broker);
  }
  if (leaders.empty()) return;
  const int leader = leaders[random_.UpTo(static_cast<int>(leaders.size()))];
  switch (random_.UpTo(8)) {
    case 0:
      return (void)core(leader).ReadIndex(witness_.NextRead(leader));
    case 1:
    case 2:
      return ChangeMembership(core(leader));
    case 3:
      return OneIn(2) ? HandOver(core(leader)) : void();
    default:
      return Propose(core(leader));
  }
}

// Refused while leadership is being handed over.
void RandomLife::Propose(raft::Core& leader) {
  for (int count = random_.UpTo(5); count >= 0; --count) {
    raft::Entry entry;
    entry.header.record_count = 1;
    entry.payload = absl::Cord(absl::StrCat(++texts_, std::string(random_.UpTo(1500), 'x')));
    entry.header.payload_crc = Crc32c(0, entry.payload);
    (void)leader.Propose(std::move(entry));
  }
}

// While one abstains, a change could leave a majority that does not count, and only all voters together would go on.
void RandomLife::ChangeMembership(raft::Core& leader) {
  for (int broker = 1; broker <= kBrokers; ++broker) {
    if (core(broker).abstaining()) return;
  }
  if (leader.membership().joint()) return (void)leader.ProposeMembership({});
  std::vector<MembershipChange> changes;
  for (int count = random_.UpTo(2); count >= 0; --count) {
    const auto kind = static_cast<MembershipChange::Kind>(1 + random_.UpTo(3));
    const int broker = 1 + random_.UpTo(kBrokers);
    changes.push_back({.kind = kind, .id = TestCluster::Id(broker), .promote = OneIn(2)});
  }
  using Joint = raft::Core::MembershipOptions::Joint;
  (void)leader.ProposeMembership(changes,
                                 {.joint = OneIn(4) ? Joint::kAlways : Joint::kWhenNeeded, .auto_leave = !OneIn(4)});
}

void RandomLife::HandOver(raft::Core& leader) {
  const int to = 1 + random_.UpTo(kBrokers);
  if (leader.TransferLeadership(TestCluster::Id(to)).ok()) transfer_ = {to, leader.term()};
}

void RandomLife::DropApplied(int broker) {
  const auto header = cluster_.store(broker).HeaderAt(TestCluster::kGroup, replica(broker).driver().applied_index());
  if (header.ok()) replica(broker).driver().SetLogStart(header->base_offset);
}

// ---- Death

// Of the process, or of the machine with what is not synced.
void RandomLife::Restart(int broker) {
  FakeLogStore& store = disks_.store(broker);
  const bool machine = !options_.machines_go_down || (OneIn(2) && MayAbstain(broker));
  const bool abstained = core(broker).abstaining();
  HearAnswers(broker);
  witness_.OnDeath(broker);
  ++counts_["restarts"];
  cluster_.Restart(
      broker,
      [&] {
        const auto unsynced = static_cast<int>(store.unsynced_writes());
        const int kept = machine ? random_.UpTo(unsynced + 1) : unsynced;
        counts_["lossy restarts"] += kept < unsynced;
        store.Crash(static_cast<size_t>(kept));
      },
      machine);
  counts_["abstentions"] += core(broker).abstaining() && !abstained;
  if (OneIn(2)) TellOthers(broker);
}

// Whether of each membership in any log a majority still counts when this one does not: too many together may have lost what they
// acked. A membership that is not committed is one of them, also when it has been cut off and the cut is not synced: who finds it again
// may be elected by it. Of those that are to be promoted the ones that do not count may be first.
bool RandomLife::MayAbstain(int broker) {
  const auto counts = [&](ReplicaId id) {
    const auto of = static_cast<int>(id.broker.value());
    return of != broker && !core(of).abstaining();
  };
  const auto survives = [&](const ReplicaSet& voters) {
    return 2 * std::count_if(voters.begin(), voters.end(), counts) > static_cast<ptrdiff_t>(voters.size());
  };
  for (int each = 1; each <= kBrokers; ++each) {
    for (const auto& [index, membership] : replica(each).Memberships()) {
      if (membership == raft::Membership()) continue;
      ReplicaSet voters = membership.voters;
      std::copy_if(membership.promote.begin(), membership.promote.end(), std::back_inserter(voters),
                   std::not_fn(counts));
      if (!survives(voters) || !(membership.outgoing.empty() || survives(membership.outgoing))) return false;
    }
  }
  return true;
}

void RandomLife::SwitchFlush(int broker) { SetFlush(broker, !is_async_[broker]); }

void RandomLife::SetFlush(int broker, bool is_async) {
  is_async_[broker] = is_async;
  replica(broker).SetFlush(is_async ? Flush::kAsync : Flush::kCommit);
}

// ---- Time

void RandomLife::Pass() {
  cluster_.Turn([this](int) { return OneIn(3); });
  for (int broker = 1; broker <= kBrokers; ++broker) AnswerReads(broker);
  mail_.Disturb(cluster_.under_way());
  cluster_.Deliver();
}

void RandomLife::AnswerReads(int broker) {
  if (replica(broker).asked().empty() || OneIn(3)) return;
  if (!OneIn(4)) return (void)replica(broker).AnswerReads();
  ++counts_["failed reads"];
  replica(broker).FailReads(absl::UnavailableError("the disk is in trouble"));
}

// The term and vote that a message stands for are on the disk at any level, what it acks is where it says.
void RandomLife::OnSent(int broker, const raft::Message& message) {
  const raft::LogState synced = disks_.store(broker).SyncedState(TestCluster::kGroup);
  const auto* reply = std::get_if<raft::AppendReply>(&message.body);
  const bool unsynced = reply != nullptr && reply->unsynced;
  counts_["unsynced acks"] += unsynced;
  EXPECT_TRUE(!unsynced || options_.machines_go_down);
  witness_.OnSent(message, synced.term_and_vote, unsynced ? cluster_.store(broker).State(TestCluster::kGroup) : synced);
  // Within its term nothing replaces what it acks.
  if (reply == nullptr || !reply->accepted || message.term != core(broker).term()) return;
  const std::optional<raft::Term> meant = core(broker).terms().At(reply->match);
  const absl::StatusOr<raft::Term> held = unsynced
                                              ? cluster_.store(broker).TermAt(TestCluster::kGroup, reply->match)
                                              : disks_.store(broker).SyncedTermAt(TestCluster::kGroup, reply->match);
  if (!meant || !held.ok()) return;
  EXPECT_EQ(*held, *meant) << raft::ToString(message);
}

void RandomLife::HearAnswers(int broker) {
  const std::vector<TestReplica::Answer>& answers = replica(broker).reads();
  for (size_t& seen = answers_heard_[broker]; seen < answers.size(); ++seen) witness_.OnAnswer(broker, answers[seen]);
}

void RandomLife::Check() {
  for (int broker = 1; broker <= kBrokers; ++broker) {
    HearAnswers(broker);
    const raft::GroupDriver& driver = replica(broker).driver();
    ASSERT_FALSE(driver.fatal()) << driver.fatal()->text;
    const raft::LogIndex commit = driver.core().commit_index();
    const raft::MembershipAt& last = driver.core().memberships().back();
    if (!driver.core().commit_is_synced() || last.index > commit) continue;
    ++counts_["synced commits"];
    const raft::Membership& membership = last.membership;
    EXPECT_TRUE(IsOnDisksOfMost(membership.voters, commit) &&
                (membership.outgoing.empty() || IsOnDisksOfMost(membership.outgoing, commit)))
        << "what is acked as synced is not; " << driver.core().Dump();
  }
  if (transfer_ && core(transfer_->to).role() == raft::Role::kLeader) {
    counts_["transfers"] += core(transfer_->to).term() == transfer_->from + 1;
    transfer_.reset();
  }
}

bool RandomLife::IsOnDisksOfMost(const ReplicaSet& voters, raft::LogIndex index) const {
  const auto holds = [&](ReplicaId id) {
    return disks_.store(static_cast<int>(id.broker.value())).SyncedState(TestCluster::kGroup).last_index >= index;
  };
  return 2 * std::count_if(voters.begin(), voters.end(), holds) > static_cast<ptrdiff_t>(voters.size());
}

// ---- The end

void RandomLife::Recover() {
  const bool is_async = options_.machines_go_down && OneIn(2);
  for (int broker = 1; broker <= kBrokers; ++broker) {
    disks_.store(broker).EndStall();
    SetFlush(broker, is_async);
  }
  cluster_.Heal();
  cluster_.Tick(60);  // transfers are given up
  cluster_.Propose(cluster_.AwaitLeader(), "last");
  cluster_.Tick(60);
}

void RandomLife::CheckEnd() {
  Check();
  witness_.ExpectAllAnswered();
  std::vector<int> members;
  for (ReplicaId id : cluster_.AwaitLeader().core().membership().Members()) {
    members.push_back(static_cast<int>(id.broker.value()));
    EXPECT_FALSE(core(members.back()).abstaining()) << "broker " << members.back();
    witness_.ExpectHeld(members.back(), cluster_.store(members.back()), TestCluster::kGroup);
  }
  cluster_.ExpectEqual(members);
  for (int broker = 1; broker <= kBrokers; ++broker) {
    counts_["installs"] += replica(broker).installs();
    for (const raft::Notice& notice : replica(broker).notices()) {
      counts_["abstentions ended"] += notice.kind == raft::Notice::kAbstainingEnded;
      counts_["possible losses"] += notice.kind == raft::Notice::kPossibleLoss;
      EXPECT_NE(notice.kind, raft::Notice::kLostDurability) << notice.replica << " has not what it acked";
    }
  }
  EXPECT_TRUE(options_.machines_go_down || counts_["possible losses"] == 0);
}

}  // namespace millrace
