#include "tests/cluster_sim/topics.h"

#include "absl/strings/str_cat.h"

namespace millrace::sim {

namespace control = client::control;

Topics::Topics(World& world, const std::vector<std::string>& bootstrap) : world_(world), operator_(world, bootstrap) {
  for (int i = 1; i <= world_.swarm.topics; ++i) names_.push_back(absl::StrCat("topic-", i));
  if (world_.swarm.lone_topic) names_.push_back(kLone);
  if (world_.swarm.vanishing_topic) names_.push_back(kVanishing);
  for (const std::string& name : names_) partitions_[name] = world_.swarm.partitions;
  world_.ledger.MayVanish(kVanishing);
}

void Topics::Create() {
  missing_ = static_cast<int>(names_.size());
  for (const std::string& name : names_) CreateOne(name, name == kLone ? 1 : kReplicas);
}

void Topics::CreateOne(const std::string& name, int replicas) {
  NewTopic topic{
      .name = name, .partitions = world_.swarm.partitions, .replication_factor = replicas, .if_not_exists = true};
  topic.config["segment.bytes"] = "16KiB";
  topic.config["message.timestamp.after.max.ms"] = "3650d";  // brokers' clocks jump
  if (world_.swarm.async) topic.config["flush"] = "async";
  operator_.Ask(control::kCreateTopic, control::CreateTopicRequest(topic),
                [this, name, replicas](const absl::StatusOr<absl::Cord>& reply) {
                  if (reply.ok()) {
                    --missing_;
                    return;
                  }
                  world_.Trace(absl::StrCat("cannot create ", name, ": ", std::string(reply.status().message())));
                  CreateOne(name, replicas);
                });
}

Place Topics::Pick() {
  const std::string& name = names_[static_cast<size_t>(world_.dice.UpTo(static_cast<int64_t>(names_.size())))];
  return {name, static_cast<int32_t>(world_.dice.UpTo(partitions_[name]))};
}

std::vector<std::string> Topics::readable() const {
  std::vector<std::string> names;
  for (const std::string& name : names_) {
    if (name != kVanishing) names.push_back(name);
  }
  return names;
}

void Topics::Step() {
  if (!world_.dice.OneIn(world_.swarm.change_one_in)) return;
  const int64_t change = world_.dice.UpTo(8);
  if (change < 4) {
    if (world_.swarm.Has(Fault::kTrim)) Trim();
  } else if (change < 5) {
    if (world_.swarm.Has(Fault::kAlter)) Alter();
  } else if (change < 6) {
    if (world_.swarm.Has(Fault::kAddPartitions)) AddPartition();
  } else if (world_.swarm.Has(Fault::kDelete)) {
    Replace();
  }
}

void Topics::Ask(Fault fault, const char* method, absl::Cord request) {
  world_.coverage.Injected(fault);
  ++asked_;
  operator_.Ask(method, std::move(request), [this, method](const absl::StatusOr<absl::Cord>& reply) {
    --asked_;
    if (!reply.ok()) world_.Trace(absl::StrCat(method, ": ", std::string(reply.status().message())));
  });
}

// A part of what is known to be there.
void Topics::Trim() {
  const Place place = Pick();
  const int64_t end = world_.ledger.end(place);
  if (end == 0 || place.topic == kVanishing) return;
  const int64_t before = world_.dice.OneIn(3) ? world_.dice.UpTo(end + 1) : end;
  world_.Trace(absl::StrCat("trim ", place.topic, "/", place.partition, " before ", before));
  world_.ledger.MayTrim(place, before);
  Ask(Fault::kTrim, control::kTrimPartition, control::TrimPartitionRequest({place.topic, place.partition}, before));
}

void Topics::Alter() {
  const Place place = Pick();
  if (world_.dice.OneIn(3) && place.topic != kVanishing) {
    for (int32_t partition = 0; partition < 16; ++partition) world_.ledger.MayTrimAll({place.topic, partition});
    return Ask(Fault::kAlter, control::kAlterTopic,
               control::AlterTopicRequest(place.topic, {{"retention.bytes", "20000"}}, {}));
  }
  // What is promised of records in this cluster stays that they may be in memories only.
  if (world_.swarm.async && world_.dice.OneIn(2)) {
    const char* flush = world_.dice.OneIn(2) ? "commit" : "async";
    return Ask(Fault::kAlter, control::kAlterTopic, control::AlterTopicRequest(place.topic, {{"flush", flush}}, {}));
  }
  const std::string segment = absl::StrCat(world_.dice.Between(16, 64), "KiB");
  Ask(Fault::kAlter, control::kAlterTopic, control::AlterTopicRequest(place.topic, {{"segment.bytes", segment}}, {}));
}

void Topics::AddPartition() {
  const Place place = Pick();
  int& partitions = partitions_[place.topic];
  if (partitions >= 6 || place.topic == kVanishing) return;
  ++partitions;
  Ask(Fault::kAddPartitions, control::kAddPartitions, control::AddPartitionsRequest(place.topic, partitions));
}

void Topics::Replace() {
  world_.Trace("a topic is deleted and made anew");
  Ask(Fault::kDelete, control::kDeleteTopic, control::DeleteTopicRequest(kVanishing));
  NewTopic topic{.name = kVanishing,
                 .partitions = world_.swarm.partitions,
                 .replication_factor = kReplicas,
                 .config = {{"message.timestamp.after.max.ms", "3650d"}},
                 .if_not_exists = true};
  Ask(Fault::kDelete, control::kCreateTopic, control::CreateTopicRequest(topic));
}

}  // namespace millrace::sim
