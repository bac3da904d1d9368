#include "tests/cluster_sim/run.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace millrace::sim {

using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

// What a cluster of which everything works may take to finish what was under way.
constexpr seconds kBound{90};
constexpr int kNamedMax = 6;

}  // namespace

void World::Trace(const std::string& what) {
  if (trace) std::printf("%10.6f %s\n", now(), what.c_str());
}

// ---- The beginning

Run::Run(const Swarm& swarm, Coverage& coverage, bool trace) : world_(swarm, coverage) {
  world_.trace = trace;
  world_.network.SetTravelTime([this](const std::string& from, const std::string& to) {
    return nemesis_ == nullptr ? milliseconds(1) : nemesis_->TravelTime(from, to);
  });
  world_.network.OnOpen([this](const std::string& from, const std::string& method) {
    if (from.rfind("broker", 0) != 0) return;
    if (method == "/millrace.v1.Broker/Produce") world_.coverage.Saw(Rare::kForwardedAppend);
    if (method == "/millrace.internal.v1.Forward/Read") world_.coverage.Saw(Rare::kForwardedRead);
  });
  cluster_ = std::make_unique<SimCluster>(
      world_.executor, world_.network,
      SimCluster::Options{.brokers = swarm.brokers, .seed = swarm.seed, .sync_time = [this](int broker) {
                            return nemesis_ == nullptr ? milliseconds(1) : nemesis_->SyncTime(broker);
                          }});
  std::vector<std::string> clients{"operator"};
  for (int i = 1; i <= swarm.producers; ++i) clients.push_back(absl::StrCat("producer-", i));
  for (int i = 1; i <= swarm.consumers; ++i) clients.push_back(absl::StrCat("consumer-", i));
  for (int i = 1; i <= swarm.members; ++i) clients.push_back(absl::StrCat("member-", i));
  nemesis_ = std::make_unique<Nemesis>(world_, *cluster_, std::move(clients));
  copies_ = std::make_unique<Copies>(world_, *cluster_);
  topics_ = std::make_unique<Topics>(world_, cluster_->addresses());
}

// Clients go first: what they hear at the end counts for nothing.
Run::~Run() {
  producers_.clear();
  consumers_.clear();
  crowd_.reset();
  topics_.reset();
  copies_.reset();
  cluster_.reset();
}

bool Run::Begin() {
  if (!Await(seconds(10), "the brokers' start", [this] { return cluster_->ready() ? "" : "a broker is not ready"; })) {
    return false;
  }
  topics_->Create();
  if (!Await(seconds(10), "the topics' creation", [this] { return topics_->created() ? "" : "a topic is missing"; })) {
    return false;
  }
  MakeClients();
  Advance(milliseconds(200));
  return true;
}

void Run::MakeClients() {
  const Swarm& swarm = world_.swarm;
  const auto check = [this](const char* what) {
    return [this, what](const Place& place, int64_t offset) { CheckCopies(place, offset, what); };
  };
  // The first of each kind may be one that reaches a single broker.
  std::vector<std::string> one{cluster_->addresses().front()};
  if (swarm.one_way_client) {
    for (int other = 2; other <= swarm.brokers; ++other) {
      nemesis_->Separate("producer-1", other);
      nemesis_->Separate("consumer-1", other);
      nemesis_->Separate("member-1", other);
    }
  }
  for (int i = 1; i <= swarm.producers; ++i) {
    const bool limited = i == 1 && swarm.one_way_client;
    producers_.push_back(
        std::make_unique<SimProducer>(world_, i, limited ? one : cluster_->addresses(), check("acked")));
    nemesis_->Know(producers_.back()->process());
  }
  if (swarm.named_producer) AddNamedProducer();
  for (int i = 1; i <= swarm.consumers; ++i) {
    const bool limited = i == 1 && swarm.one_way_client;
    consumers_.push_back(std::make_unique<SimConsumer>(world_, absl::StrCat("consumer-", i),
                                                       limited ? one : cluster_->addresses(), topics_->readable(),
                                                       check("read")));
    nemesis_->Know(consumers_.back()->process());
  }
  crowd_ = std::make_unique<Crowd>(world_, *cluster_, *nemesis_, topics_->readable());
}

// Those before it go on, and are refused. Not before the last one has its identity: who gets one later is the later one.
void Run::AddNamedProducer() {
  producers_.push_back(std::make_unique<SimProducer>(
      world_, Ledger::kFirstNamed + named_producers_++, cluster_->addresses(),
      [this](const Place& place, int64_t offset) { CheckCopies(place, offset, "acked"); }));
  last_named_ = producers_.back().get();
  nemesis_->Know(last_named_->process());
}

// ---- The time with faults

void Run::Disturb() {
  for (int step = 0; step < world_.swarm.steps && ledger().violation().empty(); ++step) {
    SendSome();
    nemesis_->Step();
    topics_->Step();
    crowd_->Step();
    const bool may_be_fenced = last_named_ != nullptr && last_named_->acked() && named_producers_ < kNamedMax;
    if (may_be_fenced && world_.dice.OneIn(50)) AddNamedProducer();
    const bool idle = world_.dice.OneIn(world_.swarm.idle_one_in);
    Advance(std::chrono::microseconds(world_.dice.Between(100, idle ? 4'000'000 : 1000 * world_.swarm.step_ms)));
  }
}

void Run::SendSome() {
  for (int64_t n = world_.dice.UpTo(world_.swarm.sends + 1); n > 0; --n) {
    const Place place = topics_->Pick();
    producers_[static_cast<size_t>(world_.dice.UpTo(static_cast<int64_t>(producers_.size())))]->Send(place);
  }
}

void Run::Advance(std::chrono::nanoseconds by) {
  world_.executor.Advance(by);
  for (const auto& consumer : consumers_) {
    if (!consumer->process().frozen()) consumer->Poll();
  }
  if (crowd_ != nullptr) crowd_->Poll();
  world_.executor.RunUntilIdle();
  Watch();
}

// Rare states that show in who leads what.
void Run::Watch() {
  for (int id = 1; id <= cluster_->size(); ++id) {
    SimBroker& broker = cluster_->broker(id);
    if (broker.running() && broker.loaded() && !broker.loaded()->ok()) {
      ledger().Violate(absl::StrCat("broker ", id, " cannot start: ", std::string(broker.loaded()->message())));
    }
  }
  const bool all_up = cluster_->ready();
  const auto image = cluster_->image();
  if (image == nullptr) return;
  const auto watch = [this](raft::GroupId group, Rare change) {
    const int leader = cluster_->LeaderOf(group);
    int& before = leaders_[group];
    if (leader != 0 && before != 0 && leader != before) world_.coverage.Saw(change);
    if (leader != 0) before = leader;
  };
  watch(server::kMetadataGroup, Rare::kControllerFailover);
  for (const auto& [name, topic] : image->topics()) {
    for (const server::PartitionInfo& partition : topic->partitions) {
      watch(partition.group, Rare::kElection);
      for (const raft::ReplicaId& replica : partition.replicas) {
        const raft::Core* const core = cluster_->CoreOf(static_cast<int>(replica.broker.value()), partition.group);
        if (core != nullptr && core->abstaining()) world_.coverage.Saw(Rare::kAbstained);
      }
    }
  }
  if (!all_up && counted_up_) world_.coverage.Saw(Rare::kLoadedUnderFaults);
  counted_up_ = all_up;
}

void Run::CheckCopies(const Place& place, int64_t offset, const char* what) {
  const std::string missing = copies_->Missing(place, offset);
  if (missing.empty()) return;
  ledger().Violate(absl::StrCat(what, " ", place.topic, "/", place.partition, " at ", offset, ", ", missing));
}

// ---- The end

bool Run::Await(seconds at_most, const std::string& what, const std::function<std::string()>& missing) {
  const std::chrono::nanoseconds until = world_.executor.clock().Monotonic() + at_most;
  for (;;) {
    const std::string lacks = missing();
    if (!ledger().violation().empty()) return false;
    if (lacks.empty()) return true;
    if (world_.executor.clock().Monotonic() >= until) {
      ledger().Violate(absl::StrCat(what, " does not come to an end: ", lacks));
      return false;
    }
    Advance(milliseconds(50));
    nemesis_->Tend();
  }
}

bool Run::Settle() {
  nemesis_->Heal();
  crowd_->Settle();
  if (!Await(kBound, "the brokers' start", [this] { return cluster_->ready() ? "" : "a broker is not ready"; }) ||
      !Await(kBound, "what the operator asked for", [this] { return topics_->quiet() ? "" : "no answer"; }) ||
      !Await(kBound, "producing", [this] {
        return ledger().unanswered() == 0 ? "" : absl::StrCat(ledger().unanswered(), " records are not answered");
      })) {
    return false;
  }
  // A fresh reader beside those that read all the time.
  consumers_.push_back(std::make_unique<SimConsumer>(
      world_, "last-consumer", cluster_->addresses(), topics_->readable(),
      [this](const Place& place, int64_t offset) { CheckCopies(place, offset, "read"); }));
  // And one of what lives now of the topic that was deleted now and then.
  if (cluster_->image()->FindTopic(Topics::kVanishing) != nullptr) {
    consumers_.push_back(std::make_unique<SimConsumer>(world_, "survey", cluster_->addresses(),
                                                       std::vector<std::string>{Topics::kVanishing},
                                                       [](const Place&, int64_t) {}));
    const SimConsumer& survey = *consumers_.back();
    if (!Await(kBound, "reading what was made anew",
               [&survey] { return survey.AtEndOf(Topics::kVanishing) ? "" : "not at the end"; })) {
      return false;
    }
    consumers_.pop_back();
  }
  return Await(kBound, "reading",
               [this] {
                 for (const auto& consumer : consumers_) {
                   if (std::string unread = Unread(*consumer); !unread.empty()) return unread;
                 }
                 return std::string();
               }) &&
         Await(kBound, "the group", [this] { return crowd_->Unfinished(); }) &&
         Await(kBound, "what replicas make of groups", [this] { return crowd_->Unequal(); }) &&
         Await(kBound, "replication", [this] { return copies_->Lagging(); });
}

std::string Run::Unread(const SimConsumer& consumer) {
  for (const Place& place : ledger().places()) {
    const int64_t position = consumer.position(place);
    if (ledger().end(place) > 0 && position < ledger().end(place)) {
      return absl::StrCat(consumer.name(), " is at ", position, " of ", place.topic, "/", place.partition,
                          ", which goes to ", ledger().end(place));
    }
  }
  return "";
}

void Run::Check() {
  if (std::string unequal = copies_->Unequal(); !unequal.empty()) ledger().Violate(std::move(unequal));
  std::map<Place, int64_t> log_starts;
  const auto image = cluster_->image();
  for (const auto& [name, topic] : image->topics()) {
    for (size_t p = 0; p < topic->partitions.size(); ++p) {
      const server::PartitionInfo& partition = topic->partitions[p];
      const int broker = static_cast<int>(partition.replicas.front().broker.value());
      const auto state = cluster_->disk(broker).Open(partition.group);
      if (state.ok()) log_starts[{name, static_cast<int32_t>(p)}] = state->log_start.value();
    }
  }
  ledger().CheckEnd(log_starts);
  crowd_->Check();
  for (int id = 1; id <= cluster_->size(); ++id) {
    NoteCounts(cluster_->broker(id), world_.coverage);
    const auto add = [this](Rare state, uint64_t count) { world_.coverage.rare[static_cast<size_t>(state)] += count; };
    add(Rare::kTruncated, cluster_->disk(id).truncations());
    add(Rare::kSnapshotInstalled, cluster_->disk(id).resets());
  }
  world_.coverage.rare[static_cast<size_t>(Rare::kUnknownStored)] += ledger().unknown_stored();
  world_.coverage.messages += static_cast<uint64_t>(world_.network.messages());
  world_.coverage.simulated_ms += static_cast<uint64_t>(world_.now() * 1000);
  ++world_.coverage.seeds;
}

std::string Run::Report() {
  std::string report = absl::StrCat(ToString(world_.swarm), "\nat ", world_.now(), " s\n");
  if (crowd_ != nullptr) report += crowd_->Report();
  const auto image = cluster_->image();
  if (image == nullptr) return report;
  const auto describe = [&](const std::string& name, raft::GroupId group) {
    for (int id = 1; id <= cluster_->size(); ++id) {
      const raft::Core* const core = cluster_->CoreOf(id, group);
      absl::StrAppend(&report, name, " at broker ", id, ": ", core == nullptr ? "nothing" : core->Dump(), "\n");
    }
  };
  describe("metadata", server::kMetadataGroup);
  for (const auto& [name, topic] : image->topics()) {
    for (const server::PartitionInfo& partition : topic->partitions) {
      describe(absl::StrCat(name, " group ", partition.group.value()), partition.group);
    }
  }
  return report;
}

}  // namespace millrace::sim
