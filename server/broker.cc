#include "server/broker.h"

#include <chrono>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"
#include "server/errors.h"
#include "server/group_lag.h"
#include "server/group_partition.h"
#include "server/identity.h"
#include "server/log.h"

namespace millrace::server {
namespace {

using v1::Error;

// Shares of the memory limit; the rest is the store's (memtables, cache of recent entries) and gRPC's.
constexpr int64_t kProduceShare = 8;
constexpr int64_t kFetchShare = 16;
constexpr int64_t kReadAheadShare = 16;

std::vector<std::unique_ptr<Shard>> MakeShards(const Broker::Options& options, raft::LogStore& store, Clock& clock,
                                               Random& random, WorkPool& pool, ClusterView& view, PeerGate& gate,
                                               Metrics& metrics, const std::vector<Broker::Loop>& loops,
                                               const LogWriter::FatalHandler& on_fatal) {
  MILLRACE_CHECK(!loops.empty());
  const int64_t share = options.memory_limit / static_cast<int64_t>(loops.size());
  std::vector<std::unique_ptr<Shard>> shards;
  for (const Broker::Loop& loop : loops) {
    const ShardPeers::Seams peers{
        {gate.self(), gate.secret(), nullptr}, gate.presence(), loop.links, loop.executor, clock, random, view};
    shards.push_back(std::make_unique<Shard>(
        store, loop.executor, clock, pool, peers, loop.calls, metrics.AddLoop(), on_fatal,
        Shard::Limits{share / kProduceShare, share / kFetchShare, share / kReadAheadShare}, random.Next()));
  }
  return shards;
}

// "retention.ms: 1000 to 5000, ...": the values in effect.
std::string ChangesOf(const TopicConfig& before, const TopicConfig& after) {
  std::string changes;
  const auto old_values = before.ToMap();
  for (const auto& [name, value] : after.ToMap()) {
    const std::string& old_value = old_values.at(name);
    if (value != old_value)
      absl::StrAppend(&changes, changes.empty() ? "" : ", ", name, ": ", old_value, " to ", value);
  }
  return changes;
}

}  // namespace

Broker::Broker(Options options, raft::LogStore& store, Clock& clock, Random& random, WorkPool& pool, Metrics& metrics,
               PeerGate& gate, const std::vector<Loop>& loops, LogWriter::FatalHandler on_fatal)
    : options_(std::move(options)),
      store_(store),
      clock_(clock),
      pool_(pool),
      disk_floor_(clock, options_.disk_space, options_.disk_free_floor),
      view_(options_.self, options_.listed),
      shards_(MakeShards(options_, store, clock, random, pool, view_, gate, metrics, loops, on_fatal)),
      directory_(std::make_shared<const Directory>()),
      ask_(loops.front().calls, gate.secret(), random),
      gate_(gate),
      metadata_({.topic_defaults = options_.topic_defaults,
                 .self = {options_.self, options_.address, options_.rack, kFeatureLevels, MILLRACE_VERSION,
                          gate.self().life.session, gate.self().starts},
                 .cluster = {ClusterIdOf(options_.founders), options_.founders}},
                {.store = store,
                 .shard = *shards_.front(),
                 .view = view_,
                 .clock = clock,
                 .random = random,
                 .disk_floor = disk_floor_,
                 .peers = ask_,
                 .on_image = [this](std::shared_ptr<const MetadataImage> image) { OnImage(std::move(image)); },
                 .on_waiting = options_.on_waiting,
                 .on_fatal = std::move(on_fatal)}) {
  for (const auto& shard : shards_) {
    shard->peers.Serve(
        shard->groups, shard->writer, [this](raft::GroupId group) -> ShardPeers& { return ShardOf(group).peers; },
        [this](raft::BrokerId peer, bool alive) { OnPresence(peer, alive); });
  }
}

Broker::~Broker() {
  for (const auto& [name, entry] : *directory_.load()) {
    for (const auto& partition : entry->partitions) partition->Abandon();
  }
}

void Broker::Load(Partition::Lost may_have_lost, LoadDone done) {
  may_have_lost_ = may_have_lost;
  absl::StatusOr<std::vector<raft::GroupId>> found = store_.List();
  if (!found.ok()) return done(found.status());
  found_at_start_.insert(found->begin(), found->end());
  ConnectTo(nullptr);
  metadata_.Start(may_have_lost == Partition::Lost::kAnything, [this, done = std::move(done)](absl::Status status) {
    status.ok() ? OnCaughtUp(done) : done(std::move(status));
  });
}

void Broker::OnCaughtUp(LoadDone done) {
  caught_up_ = true;
  census_ = std::make_unique<Census>(control_executor(), shards_, view_, pool_);
  lag_watch_ = std::make_unique<LagWatch>(*this, group_lags_);
  ApplyImage(*image());
  RemoveOrphans({found_at_start_.begin(), found_at_start_.end()});
  found_at_start_.clear();
  AwaitStarts(std::move(done));
}

// Behind those of the first image on each shard.
void Broker::AwaitStarts(LoadDone done) {
  const auto left = std::make_shared<size_t>(shards_.size());
  const auto not_started = std::make_shared<size_t>(0);
  const auto count = [left, not_started, done = std::move(done)](size_t failed) {
    *not_started += failed;
    if (--*left == 0) done(*not_started);
  };
  for (const auto& shard : shards_) {
    shard->executor.Post([&shard = *shard, &home = control_executor(), count] {
      shard.starts.WhenDone([&shard, &home, count](size_t failed) {
        shard.writer.OnDurable([&home, count, failed] { RunOn(home, [count, failed] { count(failed); }); });
      });
    });
  }
}

// To the brokers of --cluster and to those that are known, by the address that each list has for use among brokers.
void Broker::ConnectTo(const MetadataImage* image) {
  std::map<raft::BrokerId, PeerAddress> peers;
  if (image != nullptr) {
    for (const auto& [id, broker] : image->brokers()) peers[id] = {broker.address, broker.id.incarnation};
  }
  for (const ListedBroker& broker : options_.listed) {
    peers[broker.id].address = broker.address;
    peers[broker.id].listed = true;
  }
  for (raft::ReplicaId founder : options_.founders) {
    const auto peer = peers.find(founder.broker);
    if (peer != peers.end() && peer->second.incarnation == 0) peer->second.incarnation = founder.incarnation;
  }
  if (peers == peers_) return;
  peers_ = peers;
  for (const auto& shard : shards_) {
    RunOn(shard->executor, [&shard = *shard, peers] { shard.peers.SetPeers(peers); });
  }
}

// A connection to a broker that stands still breaks much later than others lead in its place, and one that is back under its name
// with another address is still looked for at the old one.
void Broker::OnPresence(raft::BrokerId peer, bool alive) {
  for (const auto& shard : shards_) {
    shard->executor.Post([&shard = *shard, address = view_.PeerAddressOf(peer), alive] {
      alive ? shard.forward.Renew(address) : shard.forward.GiveUp(address);
    });
  }
}

namespace {

constexpr std::chrono::milliseconds kHandOverLook{20};
constexpr int kHandOverLooks = 50;

void HandOverShard(Shard& shard, int looks, const std::function<void()>& done) {
  if (shard.groups.HandOver() == 0 || looks == 0) return done();
  shard.executor.After(kHandOverLook, [&shard, looks, done] { HandOverShard(shard, looks - 1, done); });
}

}  // namespace

void Broker::HandOver(std::function<void()> done) {
  auto left = std::make_shared<std::atomic<size_t>>(shards_.size());
  for (const auto& shard : shards_) {
    shard->executor.Post([&shard = *shard, left, done] {
      HandOverShard(shard, kHandOverLooks, [left, done] {
        if (--*left == 0) done();
      });
    });
  }
}

void Broker::Disconnect(std::function<void()> done) {
  auto left = std::make_shared<std::atomic<size_t>>(shards_.size());
  for (const auto& shard : shards_) {
    shard->executor.Post([this, &shard = *shard, left, done] {
      if (&shard == shards_.front().get()) {
        census_.reset();
        lag_watch_.reset();
        metadata_.Stop();
      }
      shard.peers.SetPeers({});
      // What is closed may still be on the call stack, and goes a turn later.
      shard.executor.Post([left, done] {
        if (--*left == 0) done();
      });
    });
  }
}

// Logs without a topic: of a creation or deletion that a crash cut short.
void Broker::RemoveOrphans(std::vector<raft::GroupId> groups) {
  std::unordered_set<raft::GroupId> known{kMetadataGroup};
  const auto image = this->image();
  for (const auto& [name, topic] : image->topics()) {
    for (const PartitionInfo& partition : topic->partitions) known.insert(partition.group);
  }
  std::erase_if(groups, [&known](raft::GroupId group) { return known.contains(group); });
  if (groups.empty()) return;
  MILLRACE_LOG(kInfo, "removing logs without a topic", {"logs", groups.size()});
  RemoveLogs(std::move(groups), *shards_.front());
}

Retention::Walk Broker::WalkPartitions(const Executor& executor) const {
  const auto directory = directory_.load();
  return [directory, &executor, topic = directory->begin(), next = size_t{0}]() mutable -> std::shared_ptr<Partition> {
    for (; topic != directory->end(); ++topic, next = 0) {
      const auto& partitions = topic->second->partitions;
      while (next < partitions.size()) {
        const std::shared_ptr<Partition>& partition = partitions[next++];
        if (&partition->executor() == &executor) return partition;
      }
    }
    return nullptr;
  };
}

void Broker::StartRetention() {
  for (auto& shard : shards_) {
    shard->executor.Post([this, &shard = *shard] {
      shard.retention = std::make_unique<Retention>(shard.executor, clock_, shard.log_clock, shard.metrics,
                                                    [this, &shard] { return WalkPartitions(shard.executor); });
    });
  }
}

void Broker::StopRetention() {
  for (auto& shard : shards_) shard->executor.Post([&shard = *shard] { shard.retention.reset(); });
}

void Broker::SavePartitions(std::function<void()> done) {
  auto waiting = std::make_shared<std::atomic<size_t>>(shards_.size());
  for (auto& shard : shards_) {
    shard->executor.Post([this, &shard = *shard, waiting, done] {
      const Retention::Walk walk = WalkPartitions(shard.executor);
      while (const std::shared_ptr<Partition> partition = walk()) partition->Save();
      shard.writer.OnWritten([waiting, done] {
        if (--*waiting == 0) done();
      });
    });
  }
}

std::shared_ptr<Partition> Broker::FindPartition(const std::string& topic, int32_t partition, uint64_t topic_id,
                                                 ErrorFrame* error) const {
  const std::shared_ptr<const Directory> directory = directory_.load();
  auto it = directory->find(topic);
  if (it == directory->end()) {
    *error = NoTopic(topic, partition);
    return nullptr;
  }
  const TopicEntry& entry = *it->second;
  if (topic_id != 0 && topic_id != entry.info->topic_id) {
    *error = MakeError(Error::UNKNOWN_TOPIC_ID, topic, partition,
                       absl::StrCat("topic ", topic, " was deleted and made anew; ask for metadata again"));
    return nullptr;
  }
  if (partition < 0 || partition >= static_cast<int32_t>(entry.partitions.size())) {
    *error = MakeError(
        Error::UNKNOWN_TOPIC_OR_PARTITION, topic, partition,
        absl::StrCat("topic ", topic, " has no partition ", partition, "; it has 0 to ", entry.partitions.size() - 1));
    return nullptr;
  }
  return entry.partitions[partition];
}

void Broker::NoteFailure(const Executor& executor, const ErrorFrame& error) {
  if (error.ok()) return;
  ShardOf(executor).metrics.errors.Add(error.code);
  MILLRACE_LOG_EVERY(std::chrono::seconds(1), kWarning, "a client was sent an error",
                     {"code", v1::Error::Code_Name(static_cast<ErrorCode>(error.code))}, {"topic", error.topic},
                     {"error", error.message});
}

Shard& Broker::ShardOf(const Executor& executor) {
  for (auto& shard : shards_) {
    if (&shard->executor == &executor) return *shard;
  }
  MILLRACE_CHECK(false) << "not an executor of this broker";
  return *shards_.front();
}

void Broker::OnImage(std::shared_ptr<const MetadataImage> image) {
  view_.SetImage(image);
  std::vector<BrokerInfo> brokers;
  for (const auto& [id, broker] : image->brokers()) brokers.push_back(broker);
  gate_.SetBrokers(std::move(brokers));
  ConnectTo(image.get());
  if (!caught_up_) return;
  ApplyImage(*image);
  TellCoordinators();
}

void Broker::ApplyImage(const MetadataImage& image) {
  const std::shared_ptr<const Directory> old = directory_.load();
  auto next = std::make_shared<Directory>();
  next->reserve(image.topics().size());
  for (const auto& [name, info] : image.topics()) {
    auto it = old->find(name);
    const TopicEntry* before =
        it != old->end() && it->second->info->topic_id == info->topic_id ? it->second.get() : nullptr;
    (*next)[name] = before != nullptr && before->info == info ? it->second : MakeEntry(info, before);
  }
  if (found_at_start_.empty()) LogChanges(*old, *next);
  directory_.store(next);
  for (const auto& [name, entry] : *old) {
    auto it = next->find(name);
    if (it != next->end() && it->second->info->topic_id == entry->info->topic_id) continue;
    RemoveTopic(entry);
  }
}

// Of topics that their groups may read.
void Broker::TellCoordinators() const {
  const auto directory = directory_.load();
  const auto groups = directory->find(kGroupsTopic);
  if (groups == directory->end()) return;
  for (const auto& partition : groups->second->partitions) {
    RunOn(partition->executor(), [partition] {
      if (GroupCoordinator* coordinator = CoordinatorOf(*partition)) coordinator->OnImage();
    });
  }
}

void Broker::LogChanges(const Directory& old, const Directory& next) {
  for (const auto& [name, entry] : next) {
    auto it = old.find(name);
    if (it != old.end() && it->second == entry) continue;
    const bool same = it != old.end() && it->second->info->topic_id == entry->info->topic_id;
    if (same) {
      MILLRACE_LOG(kInfo, "topic changed", {"topic", name}, {"partitions", entry->partitions.size()},
                   {"settings", ChangesOf(*it->second->info->config, *entry->info->config)});
    } else {
      MILLRACE_LOG(kInfo, "topic created", {"topic", name}, {"partitions", entry->partitions.size()});
    }
  }
  for (const auto& [name, entry] : old) {
    auto it = next.find(name);
    if (it != next.end() && it->second->info->topic_id == entry->info->topic_id) continue;
    MILLRACE_LOG(kInfo, "topic deleted", {"topic", name}, {"partitions", entry->partitions.size()});
  }
}

// Keeps the partitions there were, with the new settings, and adds those that came.
std::shared_ptr<const Broker::TopicEntry> Broker::MakeEntry(const std::shared_ptr<const TopicInfo>& info,
                                                            const TopicEntry* old) {
  auto entry = std::make_shared<TopicEntry>();
  entry->info = info;
  if (old != nullptr) entry->partitions = old->partitions;
  for (auto& partition : entry->partitions) {
    partition->executor().Post([partition, config = info->config] { partition->SetConfig(config); });
  }
  std::map<Shard*, std::vector<StartQueue::Start>> starts;
  for (size_t p = entry->partitions.size(); p < info->partitions.size(); ++p) {
    const raft::GroupId group = info->partitions[p].group;
    Shard& shard = ShardOf(group);
    const Partition::Host host{.store = store_,
                               .groups = shard.groups,
                               .writer = shard.writer,
                               .executor = shard.executor,
                               .log_clock = shard.log_clock,
                               .disk_floor = disk_floor_,
                               .view = view_,
                               .peers = shard.peers,
                               .producer_ids_given_here = metadata_.controller().producer_ids_end(),
                               .self = options_.self,
                               .may_have_lost = may_have_lost_};
    entry->partitions.push_back(
        std::make_shared<Partition>(PartitionName{info->name, static_cast<int32_t>(p), info->topic_id}, group,
                                    info->partitions[p].replicas, info->config, host));
    if (info->name == kGroupsTopic) AttachCoordinator(*entry->partitions.back(), *this);
    starts[&shard].push_back([partition = entry->partitions.back(), has_log = found_at_start_.contains(group)] {
      return partition->Begin(has_log);
    });
  }
  for (auto& [shard, theirs] : starts) {
    shard->executor.Post(
        [shard = shard, theirs = std::move(theirs)]() mutable { shard->starts.Add(std::move(theirs)); });
  }
  return entry;
}

// Its logs go in one write, when each shard has written what was still staged for them: appends to a removed log would be a bug.
void Broker::RemoveTopic(const std::shared_ptr<const TopicEntry>& entry) {
  auto shards_left = std::make_shared<std::atomic<size_t>>(shards_.size());
  for (const auto& shard : shards_) {
    shard->executor.Post([this, entry, shards_left, &shard = *shard] {
      for (const auto& partition : entry->partitions) {
        if (&partition->executor() == &shard.executor) partition->Close();
      }
      shard.writer.OnWritten([this, entry, shards_left, &shard] {
        if (shards_left->fetch_sub(1) > 1) return;
        std::vector<raft::GroupId> groups;
        for (const auto& partition : entry->partitions) groups.push_back(partition->group());
        RemoveLogs(std::move(groups), shard);
      });
    });
  }
}

void Broker::RemoveLogs(std::vector<raft::GroupId> groups, Shard& shard) {
  const absl::Status status = store_.Remove(groups);
  if (raft::IsStalled(status)) {
    shard.writer.AfterStall(
        [this, groups = std::move(groups), &shard]() mutable { RemoveLogs(std::move(groups), shard); });
  } else if (!status.ok()) {
    MILLRACE_LOG(kError, "could not remove logs without a topic; the next start tries again", {"logs", groups.size()},
                 {"status", status.ToString()});
  }
}

}  // namespace millrace::server
