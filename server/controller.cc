#include "server/controller.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "millrace/internal/v1/metadata.pb.h"
#include "proto/wire/check.h"
#include "proto/wire/record_batch.h"
#include "server/errors.h"
#include "server/identity.h"
#include "server/placement.h"
#include "server/topic_name.h"

namespace millrace::server {
namespace {

using millrace::internal::v1::MetadataRecord;
using millrace::internal::v1::MetadataRecords;
using v1::Error;

constexpr int64_t kProducerIdBlock = 1000;

absl::Status CheckKnown(const std::vector<std::string>& settings) {
  const auto known = TopicSettingNames();
  for (const std::string& name : settings) {
    TopicConfig scratch;
    // The parser's error names the nearest setting.
    if (std::find(known.begin(), known.end(), name) == known.end()) return SetTopicSetting(name, "", scratch);
  }
  return absl::OkStatus();
}

absl::Status CheckChosen(const std::map<std::string, std::string>& set, const std::vector<std::string>& unset) {
  for (const std::string& name : unset) {
    if (set.contains(name)) return absl::InvalidArgumentError(absl::StrCat(name, " is both set and unset"));
  }
  return CheckKnown(unset);
}

// Of a proposal that the log did not take, or may not have.
ErrorFrame NotCommitted(const absl::Status& status) {
  std::string text = ToStdString(status.message());
  switch (status.code()) {
    case absl::StatusCode::kFailedPrecondition:
      return MakeError(Error::NOT_LEADER_OR_FOLLOWER, std::move(text));
    case absl::StatusCode::kUnavailable:
      return MakeError(Error::LEADER_NOT_AVAILABLE, std::move(text));
    case absl::StatusCode::kResourceExhausted:
      return MakeError(Error::NOT_ENOUGH_REPLICAS, std::move(text));
    default:
      MILLRACE_CHECK(MayHaveHappened(status)) << status.ToString();
      ErrorFrame error = MakeError(Error::REQUEST_TIMED_OUT, std::move(text));
      error.may_have_happened = true;
      return error;
  }
}

void Fill(internal::v1::Replica& out, raft::ReplicaId id) {
  out.set_broker_id(static_cast<int32_t>(id.broker.value()));
  out.set_incarnation(id.incarnation);
}

}  // namespace

// What an operation decided: records to append (none: nothing changes), or why not, and who is told.
struct Controller::Decision {
  MetadataRecords records;
  ErrorFrame error;
  std::function<void(const ErrorFrame&)> answer;  // `error`, or what became of the records

  MetadataRecord& Add() { return *records.add_records(); }
  void Refuse(ErrorFrame why) {
    records.Clear();
    error = std::move(why);
  }
};

struct Controller::PartitionsOf {
  const std::string& topic;
  uint64_t topic_id;
  int32_t replication_factor;
  int32_t first;
  int32_t end;
};

Controller::Controller(Options options, MetadataProposer& metadata, Random& random, DiskFloor& disk_floor)
    : options_(std::move(options)), metadata_(metadata), random_(random), disk_floor_(disk_floor) {}

void Controller::Enqueue(Operation decide) {
  queue_.push_back(std::move(decide));
  RunNext();
}

// An operation may end within its own Commit; the loop goes on with the next then.
void Controller::RunNext() {
  if (std::exchange(running_, true)) return;
  while (!busy_ && !queue_.empty()) {
    const Operation decide = std::move(queue_.front());
    queue_.pop_front();
    auto decision = std::make_shared<Decision>();
    decide(*decision);
    if (decision->records.records_size() == 0) {
      decision->answer(decision->error);
    } else {
      Commit(std::move(decision));
    }
  }
  running_ = false;
}

void Controller::Commit(std::shared_ptr<Decision> decision) {
  busy_ = true;
  metadata_.Propose(decision->records, [this, decision](const absl::Status& status) {
    busy_ = false;
    decision->answer(status.ok() ? ErrorFrame() : NotCommitted(status));
    RunNext();
  });
}

// ---- The cluster

void Controller::Begin(const NewCluster& cluster, Done done) {
  Enqueue([this, cluster, done = std::move(done)](Decision& decision) {
    next_producer_id_ = image().producer_ids_end();  // what was left of the last block is not used again
    if (image().cluster_id().empty()) {
      auto& record = *decision.Add().mutable_cluster();
      record.set_cluster_id(cluster.cluster_id);
      for (raft::ReplicaId founder : cluster.founders) Fill(*record.add_founders(), founder);
      decision.Add().mutable_feature_level()->set_feature_level(kFeatureLevels.max);
    }
    decision.answer = done;
  });
}

void Controller::RegisterBroker(BrokerInfo broker, RegisterDone done) {
  Enqueue([this, broker = std::move(broker), done = std::move(done)](Decision& decision) {
    BrokerInfo numbered = broker;
    if (numbered.id.broker == kNoBrokerId) numbered.id.broker = NextBrokerId();
    for (const auto& [id, known] : image().brokers()) {
      if (broker.id.broker == kNoBrokerId && known.id.incarnation == broker.id.incarnation) numbered.id = known.id;
    }
    DecideRegister(numbered, decision);
    decision.answer = [done, id = numbered.id.broker](const ErrorFrame& error) { done(error, id); };
  });
}

raft::BrokerId Controller::NextBrokerId() const {
  raft::BrokerId next(1);
  for (const auto& [id, known] : image().brokers()) next = std::max(next, id + 1);
  for (raft::ReplicaId founder : image().founders()) next = std::max(next, founder.broker + 1);
  return next;
}

void Controller::DecideRegister(BrokerInfo broker, Decision& decision) const {
  const int64_t id = broker.id.broker.value();
  const BrokerInfo* known = image().FindBroker(broker.id.broker);
  if (known != nullptr && *known == broker) return;
  if (known != nullptr && known->id != broker.id) {
    return decision.Refuse(MakeError(
        Error::INVALID_REQUEST,
        absl::StrCat("broker ", id, " is known with another disk, at ", known->address,
                     ". If that one is in use, give the new broker another number; if not, ", kLostDiskRemedy)));
  }
  if (known != nullptr && IsOldCopy(broker.session, broker.starts, *known)) {
    return decision.Refuse(
        MakeError(Error::INVALID_REQUEST, OldCopySentence(broker.id.broker, broker.starts, known->starts)));
  }
  const int32_t level = image().feature_level();
  if (level < broker.feature_levels.min || level > broker.feature_levels.max) {
    return decision.Refuse(MakeError(Error::UNSUPPORTED_VERSION,
                                     absl::StrCat("the cluster is at feature level ", level, ", broker ", id, " (",
                                                  broker.build, ") speaks ", broker.feature_levels.min, " to ",
                                                  broker.feature_levels.max, "; install a release that speaks it")));
  }
  FillRecord(*decision.Add().mutable_broker(), broker);
}

// ---- Topics

void Controller::CreateTopic(NewTopic topic, CreateDone done) {
  Enqueue([this, topic = std::move(topic), done = std::move(done)](Decision& decision) {
    const bool existed = image().FindTopic(topic.name) != nullptr;
    DecideCreate(topic, decision);
    decision.answer = [this, done, existed, name = topic.name](const ErrorFrame& error) {
      error.ok() ? done({}, {image().FindTopic(name), !existed}) : done(error, {});
    };
  });
}

void Controller::DecideCreate(const NewTopic& topic, Decision& decision) {
  const auto refuse = [&](ErrorCode code, std::string message) {
    decision.Refuse(MakeError(code, topic.name, std::nullopt, std::move(message)));
  };
  if (image().FindTopic(topic.name) != nullptr) {
    if (topic.if_not_exists) return;
    return refuse(
        Error::TOPIC_ALREADY_EXISTS,
        absl::StrCat("topic ", topic.name, " exists; choose another name, or set if_not_exists to use it as it is"));
  }
  if (std::string problem = TopicNameProblem(topic.name); !problem.empty() && !topic.internal)
    return refuse(Error::INVALID_TOPIC_EXCEPTION, problem);
  const int32_t partitions = topic.partitions == 0 ? 1 : topic.partitions;
  if (partitions < 1 || partitions > kPartitionsMax) {
    return refuse(Error::INVALID_PARTITIONS,
                  absl::StrCat("a topic has 1 to ", kPartitionsMax, " partitions, asked for ", partitions));
  }
  if (absl::StatusOr<TopicConfig> config = ParseTopicConfig(topic.config, options_.defaults); !config.ok()) {
    return refuse(Error::INVALID_CONFIG, ToStdString(config.status().message()));
  }
  const size_t brokers = image().brokers().size() + image().Unregistered().size();
  const int32_t replicas = topic.replication_factor == 0 ? DefaultReplicationFactor(brokers) : topic.replication_factor;
  const uint64_t topic_id = random_.Next() | 1;  // never 0
  auto& record = *decision.Add().mutable_topic();
  record.set_name(topic.name);
  record.set_topic_id(topic_id);
  record.set_replication_factor(replicas);
  record.mutable_config()->insert(topic.config.begin(), topic.config.end());
  AddPartitionRecords({topic.name, topic_id, replicas, 0, partitions}, decision);
}

void Controller::AddPartitionRecords(const PartitionsOf& partitions, Decision& decision) {
  const auto refuse = [&](ErrorCode code, std::string message) {
    decision.Refuse(MakeError(code, partitions.topic, std::nullopt, std::move(message)));
  };
  if (disk_floor_.reserve_reached()) {
    return refuse(Error::KAFKA_STORAGE_ERROR,
                  absl::StrCat("the broker's disk has ", disk_floor_.free_bytes(),
                               " bytes free, which it keeps for what makes room: nothing was made; trim or delete "
                               "topics, or remove other files, and try again"));
  }
  std::vector<BrokerLoad> brokers = LoadsOf(image());
  for (BrokerLoad& broker : brokers) broker.alive &= !options_.is_alive || options_.is_alive(broker.id);
  const auto placed = PlaceReplicas(brokers, {.partitions = partitions.end - partitions.first,
                                              .replication_factor = partitions.replication_factor,
                                              .seed = random_.Next()});
  if (!placed.ok()) {
    const bool some_are_down = absl::IsUnavailable(placed.status());
    return refuse(some_are_down ? Error::NOT_ENOUGH_REPLICAS : Error::INVALID_REPLICATION_FACTOR,
                  ToStdString(placed.status().message()));
  }
  raft::GroupId group = image().next_group();
  int32_t number = partitions.first;
  for (const std::vector<raft::ReplicaId>& replicas : *placed) {
    auto& record = *decision.Add().mutable_partition();
    record.set_topic_id(partitions.topic_id);
    record.set_partition(number++);
    record.set_group_id(group.value());
    for (raft::ReplicaId replica : replicas) Fill(*record.add_replicas(), replica);
    ++group;
  }
}

const TopicInfo* Controller::FindForChange(const std::string& name, Decision& decision) const {
  const auto* topic = image().topics().Find(name);
  ErrorFrame error = topic == nullptr ? NoTopic(name) : CheckWritable(name);
  if (error.ok()) return topic->get();
  decision.Refuse(std::move(error));
  return nullptr;
}

void Controller::DeleteTopic(std::string name, Done done) {
  Enqueue([this, name = std::move(name), done = std::move(done)](Decision& decision) {
    if (const TopicInfo* topic = FindForChange(name, decision))
      decision.Add().mutable_remove_topic()->set_topic_id(topic->topic_id);
    decision.answer = done;
  });
}

void Controller::AlterTopic(std::string name, std::map<std::string, std::string> set, std::vector<std::string> unset,
                            Done done) {
  Enqueue([this, name = std::move(name), set = std::move(set), unset = std::move(unset),
           done = std::move(done)](Decision& decision) {
    DecideAlter(name, set, unset, decision);
    decision.answer = done;
  });
}

void Controller::DecideAlter(const std::string& name, const std::map<std::string, std::string>& set,
                             const std::vector<std::string>& unset, Decision& decision) const {
  const TopicInfo* topic = FindForChange(name, decision);
  if (topic == nullptr) return;
  std::map<std::string, std::string> overrides = topic->overrides;
  for (const auto& [key, value] : set) overrides[key] = value;
  absl::Status status = CheckChosen(set, unset);
  for (const std::string& key : unset) overrides.erase(key);
  if (status.ok()) status = ParseTopicConfig(overrides, options_.defaults).status();
  if (!status.ok()) {
    return decision.Refuse(MakeError(Error::INVALID_CONFIG, name, std::nullopt, ToStdString(status.message())));
  }
  auto& record = *decision.Add().mutable_topic();
  record.set_name(name);
  record.set_topic_id(topic->topic_id);
  record.set_replication_factor(topic->replication_factor);
  record.mutable_config()->insert(overrides.begin(), overrides.end());
}

void Controller::AddPartitions(std::string name, int32_t partitions, Done done) {
  Enqueue([this, name = std::move(name), partitions, done = std::move(done)](Decision& decision) {
    DecideAddPartitions(name, partitions, decision);
    decision.answer = done;
  });
}

void Controller::DecideAddPartitions(const std::string& name, int32_t partitions, Decision& decision) {
  const TopicInfo* topic = FindForChange(name, decision);
  if (topic == nullptr) return;
  const int32_t have = static_cast<int32_t>(topic->partitions.size());
  if (partitions <= have || partitions > kPartitionsMax) {
    return decision.Refuse(
        MakeError(Error::INVALID_PARTITIONS, name, std::nullopt,
                  absl::StrCat("topic ", name, " has ", have, " partitions; the new total must be more, up to ",
                               kPartitionsMax, "; asked for ", partitions)));
  }
  AddPartitionRecords({name, topic->topic_id, topic->replication_factor, have, partitions}, decision);
}

// ---- Producers

void Controller::ReserveProducerId(Decision& decision) {
  if (next_producer_id_ < image().producer_ids_end()) return;
  decision.Add().mutable_producer_ids()->set_end(next_producer_id_ + kProducerIdBlock);
}

void Controller::NewProducerId(ProducerIdDone done) {
  Enqueue([this, done = std::move(done)](Decision& decision) {
    ReserveProducerId(decision);
    decision.answer = [this, done](const ErrorFrame& error) {
      error.ok() ? done({}, next_producer_id_++) : done(error, 0);
    };
  });
}

void Controller::InitNamedProducer(NewNamedProducer producer, NamedProducerDone done) {
  Enqueue([this, producer = std::move(producer), done = std::move(done)](Decision& decision) {
    DecideNamedProducer(producer, decision);
    decision.answer = [this, done, name = producer.name](const ErrorFrame& error) {
      if (!error.ok()) return done(error, 0, 0);
      const NamedProducer* made = image().named_producers().Find(name);
      done({}, made->id, made->epoch);
    };
  });
}

void Controller::DecideNamedProducer(const NewNamedProducer& producer, Decision& decision) {
  if (producer.name.size() > kProducerNameBytesMax) {
    return decision.Refuse(MakeError(
        Error::INVALID_REQUEST, absl::StrCat("a producer's name has up to ", kProducerNameBytesMax,
                                             " bytes, this one has ", producer.name.size(), "; choose a shorter one")));
  }
  const NamedProducer* known = image().named_producers().Find(producer.name);
  const bool same = known != nullptr && producer.session != 0 && known->session == producer.session;
  const bool has_latest = known != nullptr && known->id == producer.id && known->epoch == producer.epoch;
  if (same && !has_latest) return;  // this was decided before, and its answer was lost
  if (known != nullptr && !same && producer.id != 0) {
    return decision.Refuse(MakeError(Error::INVALID_PRODUCER_EPOCH, absl::StrCat("a later producer has the name ",
                                                                                 producer.name, "; close this one")));
  }
  if (known == nullptr) ForgetOldestName(decision);
  constexpr int32_t kEpochMax = std::numeric_limits<int32_t>::max() - 2 * kEpochsRaised;
  const bool next_epoch = known != nullptr && known->epoch <= kEpochMax;
  if (!next_epoch) ReserveProducerId(decision);
  auto& record = *decision.Add().mutable_producer();
  record.set_name(producer.name);
  record.set_session(producer.session);
  record.set_made(image().version().value());
  // From 65,536 on, so that a partition need not look for the name of a producer that has none.
  record.set_producer_epoch(next_epoch ? known->epoch + kEpochsRaised : kEpochsRaised);
  record.set_producer_id(next_epoch ? known->id : next_producer_id_++);
  if (known != nullptr) record.set_former_id(next_epoch ? known->former_id : known->id);
}

void Controller::ForgetOldestName(Decision& decision) const {
  if (image().named_producers().size() < kProducerNamesMax) return;
  const auto oldest = std::min_element(image().named_producers().begin(), image().named_producers().end(),
                                       [](const auto& a, const auto& b) { return a.second.made < b.second.made; });
  decision.Add().mutable_remove_producer()->set_name(oldest->first);
}

}  // namespace millrace::server
