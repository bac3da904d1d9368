#include "tests/cluster_sim/members.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "proto/wire/partitioner.h"
#include "server/group_partition.h"

namespace millrace::sim {

using std::chrono::milliseconds;
using std::chrono::seconds;

// ---- One member

namespace {

Subscription SubscriptionTo(const std::vector<std::string>& topics, bool by_pattern) {
  if (!by_pattern) return {.topics = topics};
  return {.pattern = absl::StrJoin(topics, "|")};
}

}  // namespace

ConsumerOptions SimMember::OptionsFor(World& world, std::string instance, const std::vector<std::string>& bootstrap,
                                      SimMember* member) {
  ConsumerOptions options;
  options.client.bootstrap_servers = absl::StrJoin(bootstrap, ",");
  options.on_gap = OnGap::kReport;
  options.group_id = Crowd::kGroup;
  options.group_instance_id = std::move(instance);
  options.session_timeout = milliseconds(world.dice.Between(1'000, 8'000));
  options.max_poll_interval = seconds(world.dice.OneIn(3) ? 2 : 300);
  // By itself, without anybody being told of the acks; or here, where they are heard.
  options.auto_commit = world.dice.OneIn(2);
  options.auto_commit_interval = milliseconds(world.dice.Between(20, 1'000));
  options.max_poll_records = static_cast<int32_t>(world.dice.Between(1, 20));
  if (!options.auto_commit) options.on_revoked = [member](std::span<const TopicPartition>) { member->Commit(); };
  options.on_lost = [member](std::span<const TopicPartition>) {
    const std::optional<Trouble> trouble = member->session_->trouble();
    member->world_.Trace(absl::StrCat(
        member->name(), " is lost; last trouble: ", trouble ? std::string(trouble->status.message()) : "none"));
    member->heard_.lost();
  };
  return options;
}

SimMember::SimMember(World& world, std::string name, std::string instance, const std::vector<std::string>& bootstrap,
                     const std::vector<std::string>& topics, Heard heard)
    : ClientProcess(world, std::move(name)),
      heard_(std::move(heard)),
      options_(OptionsFor(world, std::move(instance), bootstrap, this)),
      core_(environment(), options_, bootstrap, queue_),
      reader_(options_, queue_, this),
      group_(environment(), options_, reader_, queue_,
             [this](std::function<void()> task) { process_.Post(std::move(task)); }),
      session_(std::make_unique<client::GroupSession>(environment(), options_, bootstrap,
                                                      SubscriptionTo(topics, world.swarm.pattern), group_.owner())) {
  group_.SetSession(session_.get());
  process_.Post([this] { session_->Start(); });
}

SimMember::~SimMember() { process_.Kill(); }

void SimMember::Poll() {
  if (leaving_) return;
  session_->NotePolling(true);
  if (absl::Status status = group_.Step(); !status.ok()) {
    if (!instance().empty() && ErrorFrom(status).code == ErrorCode::kFencedInstanceId) {
      // The join of one that died came late, through a broker that stood still, and counts as the later one. This ends; another comes.
      leaving_ = left_ = true;
      return;
    }
    world_.ledger.Violate(absl::StrCat(name(), " is refused: ", std::string(status.message())));
  }
  // One batch of records, which is handled by the next time.
  if (group_.MayDeliver()) {
    const auto news = reader_.Next();
    if (news && !news->ok()) {
      world_.ledger.Violate(absl::StrCat(name(), " fails: ", std::string(news->status().message())));
    }
    for (size_t i = 0; news && news->ok() && i < (*news)->records.size(); ++i) {
      const ConsumerRecord& record = (*news)->records[i];
      const Place place{std::string(record.topic), record.partition};
      heard_.given_out(place, group_.EpochOf({place.topic, place.partition}), record.offset);
    }
  }
  if (!options_.auto_commit && world_.dice.OneIn(5)) Commit();
  session_->NotePolling(false);
}

void SimMember::Commit() {
  std::vector<client::control::OffsetToStore> offsets = group_.Handled(nullptr);
  if (offsets.empty()) return;
  process_.Post([this, offsets] {
    session_->Commit(offsets, [this, offsets](const absl::Status& status) {
      if (!status.ok()) return;
      for (const auto& each : offsets) heard_.committed({each.topic, each.partition}, each.offset);
    });
  });
}

void SimMember::Leave() {
  if (std::exchange(leaving_, true)) return;
  Commit();
  process_.Post([this] { session_->Leave([this] { left_ = true; }); });
}

std::string SimMember::Report() const {
  std::string report = absl::StrCat(name(), leaving_ ? " is leaving\n" : "\n");
  for (const PartitionProgress& each : reader_.progress()) {
    absl::StrAppend(&report, "  ", each.topic, "/", each.partition, " at ", each.position, " of ", each.high_watermark,
                    each.ended ? ", ended" : "", ", epoch ", group_.EpochOf({each.topic, each.partition}), "\n");
  }
  for (const auto& trouble : {session_->trouble(), core_.trouble()}) {
    if (trouble) absl::StrAppend(&report, "  trouble: ", std::string(trouble->status.message()), "\n");
  }
  return report;
}

void SimMember::Reposition(const std::shared_ptr<client::FetchPartition>& partition, uint64_t generation,
                           Position position) {
  process_.Post([=, this] { core_.Reposition(partition, generation, position); });
}
void SimMember::Halt(const std::shared_ptr<client::FetchPartition>& partition, uint64_t generation) {
  process_.Post([=, this] { core_.Halt(partition, generation); });
}
void SimMember::Add(const std::shared_ptr<client::FetchPartition>& partition, uint64_t generation, Position position) {
  process_.Post([=, this] { core_.Add(partition, generation, position); });
}
void SimMember::Remove(const std::shared_ptr<client::FetchPartition>& partition, uint64_t generation) {
  process_.Post([=, this] { core_.Remove(partition, generation); });
}
void SimMember::GrantCredit() {
  process_.Post([this] { core_.GrantCredit(); });
}

// ---- All of them

Crowd::Crowd(World& world, SimCluster& cluster, Nemesis& nemesis, std::vector<std::string> topics)
    : world_(world),
      cluster_(cluster),
      nemesis_(nemesis),
      topics_(std::move(topics)),
      operator_(world, cluster.addresses()) {
  for (int i = 0; i < world_.swarm.members; ++i) Join();
}

std::string Crowd::FreeInstance() const {
  for (int number = 1;; ++number) {
    std::string instance = absl::StrCat("instance-", number);
    if (std::ranges::none_of(members_, [&](const auto& member) { return member->instance() == instance; }))
      return instance;
  }
}

void Crowd::Join() {
  const std::string name = absl::StrCat("member-", ++last_member_);
  // One of them may reach a single broker.
  std::vector<std::string> addresses = cluster_.addresses();
  if (world_.swarm.one_way_client && last_member_ == 1) addresses.resize(1);
  members_.push_back(std::make_unique<SimMember>(
      world_, name, world_.swarm.instances ? FreeInstance() : "", addresses, topics_,
      SimMember::Heard{
          .given_out = [this, name](const Place& place, int32_t epoch,
                                    int64_t offset) { OnGivenOut(name, place, epoch, offset); },
          .committed = [this](const Place& place,
                              int64_t offset) { handled_[place].acked = std::max(handled_[place].acked, offset); },
          .lost = [this] { world_.coverage.Saw(Rare::kMemberLost); }}));
  nemesis_.Know(members_.back()->process());
  const std::string& instance = members_.back()->instance();
  if (!instance.empty() && !instances_.insert(instance).second) world_.coverage.Saw(Rare::kInstanceBack);
}

// To what is handled already: nothing is passed over.
void Crowd::Reset() {
  if (handled_.empty()) return;
  auto& [place, handled] = *std::next(handled_.begin(), world_.dice.UpTo(static_cast<int64_t>(handled_.size())));
  const int64_t first = world_.ledger.may_be_trimmed(place);
  if (handled.committed <= first) return;
  const int64_t target = world_.dice.Between(first, handled.committed);
  handled.reset_to = std::min(handled.reset_to, target);
  const CommittedOffset offset{.topic = place.topic, .partition = place.partition, .offset = target};
  operator_.Ask(client::control::kResetOffsets,
                client::control::ResetOffsetsRequest(kGroup, {offset}, client::control::DryRun::kNo),
                [this](const absl::StatusOr<absl::Cord>& reply) {
                  if (reply.ok()) world_.coverage.Saw(Rare::kOffsetReset);
                });
}

void Crowd::RemoveLeft() {
  std::erase_if(members_, [this](const auto& member) {
    if (member->left()) nemesis_.Forget(member->process());
    return member->left();
  });
}

void Crowd::Step() {
  RemoveLeft();
  if (world_.swarm.members > 0 && world_.swarm.resets && world_.dice.OneIn(3 * world_.swarm.member_one_in)) Reset();
  if (world_.swarm.members == 0 || !world_.dice.OneIn(world_.swarm.member_one_in)) return;
  const int64_t what = world_.dice.UpTo(4);
  if (members_.empty() || (what < 2 && members_.size() < 4)) return Join();
  const auto chosen = members_.begin() + world_.dice.UpTo(static_cast<int64_t>(members_.size()));
  if (what == 2) {
    world_.coverage.Saw(Rare::kMemberLeft);
    return (*chosen)->Leave();
  }
  world_.coverage.Saw(Rare::kMemberDied);
  nemesis_.Forget((*chosen)->process());
  members_.erase(chosen);
}

void Crowd::Poll() {
  for (const auto& member : members_) {
    for (int i = 0; i < polls_ && !member->process().frozen(); ++i) member->Poll();
  }
  Watch();
}

void Crowd::OnGivenOut(const std::string& member, const Place& place, int32_t epoch, int64_t offset) {
  Handled& handled = handled_[place];
  const auto violate = [&](const std::string& what) {
    world_.ledger.Violate(
        absl::StrCat(member, " gives out ", Text(place), " at ", offset, " under epoch ", epoch, ", ", what));
  };
  if (epoch < handled.epoch) violate(absl::StrCat("though ", handled.member, " has it under ", handled.epoch));
  if (epoch == handled.epoch && member != handled.member) violate(absl::StrCat("as ", handled.member, " has done"));
  if (offset < std::min(handled.acked, handled.reset_to)) violate(absl::StrCat("which was committed: ", handled.acked));
  if (handled.epoch != 0 && epoch > handled.epoch) world_.coverage.Saw(Rare::kPartitionMoved);
  if (handled.offsets.contains(offset)) world_.coverage.Saw(Rare::kHandledAgain);
  handled.epoch = epoch;
  handled.member = member;
  handled.offsets.insert(offset);
}

const server::GroupCoordinator* Crowd::CoordinatorNow() {
  const auto image = cluster_.image();
  const auto topic = image == nullptr ? nullptr : image->FindTopic(server::kGroupsTopic);
  if (topic == nullptr) return nullptr;
  const int32_t number = PartitionForKey(kGroup, static_cast<int32_t>(topic->partitions.size()));
  const int leader = cluster_.LeaderOf(topic->partitions[static_cast<size_t>(number)].group);
  if (leader == 0) return nullptr;
  ErrorFrame error;
  const auto partition = cluster_.broker(leader).broker().FindPartition(server::kGroupsTopic, number, 0, &error);
  const server::GroupCoordinator* coordinator = partition == nullptr ? nullptr : server::CoordinatorOf(*partition);
  if (coordinator == nullptr || !coordinator->serving() || partition->leader_epoch() < newest_coordinator_)
    return nullptr;
  newest_coordinator_ = partition->leader_epoch();
  return coordinator;
}

const server::GroupState* Crowd::GroupNow() {
  const server::GroupCoordinator* coordinator = CoordinatorNow();
  if (coordinator == nullptr) return nullptr;
  const auto group = coordinator->groups().find(kGroup);
  return group == coordinator->groups().end() ? nullptr : &group->second;
}

void Crowd::Watch() {
  const server::GroupState* group = GroupNow();
  const auto image = cluster_.image();
  if (group == nullptr) return;
  for (const auto& [id, offset] : group->offsets) {
    const auto topic = image->FindTopic(id.topic_id);
    if (topic == nullptr) continue;
    const Place place{topic->name, id.partition};
    Handled& handled = handled_[place];
    if (offset.offset < std::min(handled.committed, handled.reset_to)) {
      world_.ledger.Violate(absl::StrCat("the committed offset of ", Text(place), " goes back from ", handled.committed,
                                         " to ", offset.offset));
    }
    handled.committed = offset.offset;
  }
}

void Crowd::Settle() {
  polls_ = 20;  // a member takes records one by one, maybe, and has thousands left
  RemoveLeft();
  while (world_.swarm.members > 0 && members_.size() < 2) Join();
}

std::string Crowd::Unfinished() {
  if (world_.swarm.members == 0) return "";
  RemoveLeft();
  if (members_.empty()) Join();
  const server::GroupState* group = GroupNow();
  if (group == nullptr) return "there is no group";
  const auto image = cluster_.image();
  size_t partitions = 0;
  for (const std::string& name : topics_) {
    const auto topic = image->FindTopic(name);
    for (size_t p = 0; p < topic->partitions.size(); ++p, ++partitions) {
      const Place place{name, static_cast<int32_t>(p)};
      const auto offset = group->offsets.find({topic->topic_id, place.partition});
      const int64_t committed = offset == group->offsets.end() ? 0 : offset->second.offset;
      if (committed < world_.ledger.end(place)) {
        return absl::StrCat(Text(place), " is committed up to ", committed, " of ", world_.ledger.end(place));
      }
    }
  }
  if (group->members.size() != members_.size()) {
    return absl::StrCat("the group has ", group->members.size(), " members instead of ", members_.size());
  }
  for (const auto& member : members_) {
    const size_t has = member->partitions(), share = partitions / members_.size();
    if (has < share || has > share + (partitions % members_.size() != 0 ? 1 : 0)) {
      return absl::StrCat(member->name(), " has ", has, " of ", partitions, " partitions, ", members_.size(),
                          " members");
    }
  }
  return "";
}

std::string Crowd::Report() {
  const server::GroupCoordinator* coordinator = CoordinatorNow();
  std::string report = coordinator == nullptr ? "no coordinator\n" : coordinator->Dump();
  for (const auto& member : members_) report += member->Report();
  return report;
}

void Crowd::Check() {
  if (world_.swarm.members == 0) return;
  for (const auto& [place, handled] : handled_) {
    const int64_t first = std::min(world_.ledger.may_be_trimmed(place), world_.ledger.end(place));
    for (int64_t offset = first; offset < world_.ledger.end(place); ++offset) {
      if (!handled.offsets.contains(offset)) {
        world_.ledger.Violate(absl::StrCat("nobody was given ", Text(place), " at ", offset));
      }
    }
  }
}

std::string Crowd::Unequal() {
  if (world_.swarm.members == 0) return "";
  const auto topic = cluster_.image()->FindTopic(server::kGroupsTopic);
  for (size_t p = 0; p < topic->partitions.size(); ++p) {
    const server::GroupTable::Groups* first = nullptr;
    for (const raft::ReplicaId& replica : topic->partitions[p].replicas) {
      ErrorFrame error;
      const auto partition = cluster_.broker(static_cast<int>(replica.broker.value()))
                                 .broker()
                                 .FindPartition(server::kGroupsTopic, static_cast<int32_t>(p), 0, &error);
      const server::GroupTable::Groups& groups = server::CoordinatorOf(*partition)->groups();
      if (first != nullptr && groups != *first) {
        return absl::StrCat("broker ", replica.broker.value(), " has other groups in partition ", p);
      }
      first = &groups;
    }
  }
  return "";
}

}  // namespace millrace::sim
