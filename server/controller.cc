#include "server/controller.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "millrace/internal/v1/metadata.pb.h"
#include "proto/wire/check.h"
#include "proto/wire/crc32c.h"
#include "server/errors.h"
#include "server/topic_name.h"

namespace millrace::server {
namespace {

using millrace::internal::v1::MetadataRecord;
using millrace::internal::v1::MetadataRecords;
using v1::Error;

constexpr int64_t kProducerIdBlock = 1000;
constexpr size_t kReplayBytes = 1 << 20;
// The metadata log has one writer and no elections yet.
constexpr raft::Term kMetadataTerm{1};

std::string HexId(uint64_t high, uint64_t low) {
  return absl::StrCat(absl::Hex(high, absl::kZeroPad16), absl::Hex(low, absl::kZeroPad16));
}

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

}  // namespace

// What an operation decided: records to append (none: nothing changes), and the answer once they are replayed.
struct Controller::Decision {
  MetadataRecords records;
  std::function<void()> answer;

  MetadataRecord& Add() { return *records.add_records(); }
};

Controller::Controller(int32_t broker_id, TopicConfig defaults, raft::LogStore& store, LogWriter& writer,
                       const Clock& clock, Random& random, DiskFloor& disk_floor, ImageListener listener)
    : broker_id_(broker_id),
      store_(store),
      writer_(writer),
      clock_(clock),
      random_(random),
      disk_floor_(disk_floor),
      listener_(std::move(listener)),
      image_(std::make_shared<MetadataImage>(defaults)),
      defaults_(defaults) {}

absl::Status Controller::Load() {
  absl::StatusOr<raft::LogState> state = store_.Open(kMetadataGroup);
  if (state.status().code() == absl::StatusCode::kNotFound) {
    if (absl::Status status = store_.Create(kMetadataGroup, {}); !status.ok()) return status;
    state = store_.Open(kMetadataGroup);
  }
  if (!state.ok()) return state.status();
  if (state->read_only) {
    return absl::DataLossError(absl::StrCat(
        "the last change of the metadata log, entry ", state->last_index.value() + 1,
        ", is damaged: which topics there are is not known for sure; restore the data directory from a backup"));
  }
  tail_ = LogTail(*state);

  MetadataImage::Builder next_image{MetadataImage(defaults_)};
  for (raft::LogIndex next = state->first_index; next <= state->last_index;) {
    auto entries = store_.ReadEntries(kMetadataGroup, next, state->last_index, kReplayBytes);
    if (!entries.ok()) return entries.status();
    if (entries->empty()) return absl::DataLossError("the metadata log ends before its last entry");
    for (const raft::Entry& entry : *entries) {
      next = entry.header.index + 1;
      MetadataRecords records;
      // A flipped bit may parse as another group, and the real one's log would be removed as nobody's.
      if (Crc32c(0, entry.payload) != entry.header.payload_crc ||
          !records.ParseFromString(std::string(entry.payload))) {
        return absl::DataLossError(
            absl::StrCat("entry ", entry.header.index.value(), " of the metadata log is damaged"));
      }
      for (const MetadataRecord& record : records.records()) {
        if (absl::Status status = next_image.Replay(record); !status.ok()) return status;
      }
    }
  }
  MetadataRecords first;
  if (next_image.image().cluster_id().empty())
    first.add_records()->mutable_cluster()->set_cluster_id(HexId(random_.Next(), random_.Next()));
  if (first.records_size() > 0) {
    for (const MetadataRecord& record : first.records()) {
      if (absl::Status status = next_image.Replay(record); !status.ok()) return status;
    }
    StageRecords(first.SerializeAsString());
  }
  image_ = std::move(next_image).Build();
  next_producer_id_ = image_->producer_ids_end();  // what was left of the last block is not used again
  listener_(image_);
  return absl::OkStatus();
}

void Controller::StageRecords(const std::string& serialized) {
  raft::Entry entry = tail_.Next(raft::EntryType::kRecords, kMetadataTerm, clock_.Wall());
  entry.header.record_count = 1;
  entry.payload = absl::Cord(serialized);
  entry.header.payload_crc = Crc32c(0, entry.payload);
  tail_.Advance(entry.header);
  writer_.round().Append(kMetadataGroup, std::move(entry));
}

void Controller::Enqueue(Operation decide) {
  queue_.push_back(std::move(decide));
  if (!busy_) RunNext();
}

void Controller::RunNext() {
  while (!busy_ && !queue_.empty()) {
    Operation decide = std::move(queue_.front());
    queue_.pop_front();
    auto decision = std::make_shared<Decision>();
    decide(*decision);
    if (decision->records.records_size() == 0) {
      decision->answer();
    } else {
      Commit(std::move(decision));
    }
  }
}

void Controller::Commit(std::shared_ptr<Decision> decision) {
  busy_ = true;
  StageRecords(decision->records.SerializeAsString());
  writer_.OnDurable([this, decision] {
    MetadataImage::Builder next(*image_);
    for (const MetadataRecord& record : decision->records.records()) {
      absl::Status status = next.Replay(record);
      MILLRACE_CHECK(status.ok()) << "decided a record that cannot be replayed: " << status.ToString();
    }
    image_ = std::move(next).Build();
    listener_(image_);
    busy_ = false;
    decision->answer();
    RunNext();
  });
}

void Controller::CreateTopic(NewTopic topic, CreateDone done) {
  Enqueue([this, topic = std::move(topic), done = std::move(done)](Decision& decision) {
    DecideCreate(topic, done, decision);
  });
}

void Controller::DecideCreate(const NewTopic& topic, const CreateDone& done, Decision& decision) {
  const auto refuse = [&](ErrorCode code, std::string message) {
    ErrorFrame error = MakeError(code, topic.name, std::nullopt, std::move(message));
    decision.records.Clear();
    decision.answer = [done, error] { done(error, {}); };
  };
  if (auto existing = image_->FindTopic(topic.name)) {
    if (!topic.if_not_exists)
      return refuse(
          Error::TOPIC_ALREADY_EXISTS,
          absl::StrCat("topic ", topic.name, " exists; choose another name, or set if_not_exists to use it as it is"));
    decision.answer = [done, existing] { done({}, {existing, false}); };
    return;
  }
  if (std::string problem = TopicNameProblem(topic.name); !problem.empty())
    return refuse(Error::INVALID_TOPIC_EXCEPTION, problem);
  const int32_t partitions = topic.partitions == 0 ? 1 : topic.partitions;
  if (partitions < 1 || partitions > kPartitionsMax) {
    return refuse(Error::INVALID_PARTITIONS,
                  absl::StrCat("a topic has 1 to ", kPartitionsMax, " partitions, asked for ", partitions));
  }
  const int32_t replicas = topic.replication_factor == 0 ? 1 : topic.replication_factor;
  if (replicas != 1) {
    return refuse(
        Error::INVALID_REPLICATION_FACTOR,
        absl::StrCat("asked for ", replicas, " replicas, but the cluster has 1 broker; use --replication-factor 1"));
  }
  if (absl::StatusOr<TopicConfig> config = ParseTopicConfig(topic.config, defaults_); !config.ok()) {
    return refuse(Error::INVALID_CONFIG, ToStdString(config.status().message()));
  }
  const uint64_t topic_id = random_.Next() | 1;  // never 0
  auto& record = *decision.Add().mutable_topic();
  record.set_name(topic.name);
  record.set_topic_id(topic_id);
  record.set_replication_factor(replicas);
  record.mutable_config()->insert(topic.config.begin(), topic.config.end());
  if (absl::Status status = AddPartitionRecords(decision, topic_id, 0, partitions, image_->next_group());
      !status.ok()) {
    return refuse(Error::KAFKA_STORAGE_ERROR, ToStdString(status.message()));
  }
  decision.answer = [this, done, name = topic.name] { done({}, {image_->FindTopic(name), true}); };
}

absl::Status Controller::AddPartitionRecords(Decision& decision, uint64_t topic_id, int32_t first, int32_t end,
                                             raft::GroupId next) const {
  if (disk_floor_.reserve_reached()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the broker's disk has ", disk_floor_.free_bytes(),
        " bytes free, which it keeps for what makes room: nothing was made; trim or delete topics, or remove "
        "other files, and try again"));
  }
  for (int32_t p = first; p < end; ++p, ++next) {
    auto& record = *decision.Add().mutable_partition();
    record.set_topic_id(topic_id);
    record.set_partition(p);
    record.set_group_id(next.value());
    record.add_replicas(broker_id_);
  }
  return absl::OkStatus();
}

const TopicInfo* Controller::FindForChange(const std::string& name, ErrorFrame* error) const {
  auto it = image_->topics().find(name);
  if (it != image_->topics().end()) return it->second.get();
  *error = NoTopic(name);
  return nullptr;
}

void Controller::DeleteTopic(std::string name, Done done) {
  Enqueue([this, name = std::move(name), done = std::move(done)](Decision& decision) {
    ErrorFrame error;
    if (const TopicInfo* topic = FindForChange(name, &error))
      decision.Add().mutable_remove_topic()->set_topic_id(topic->topic_id);
    decision.answer = [done, error] { done(error); };
  });
}

void Controller::AlterTopic(std::string name, std::map<std::string, std::string> set, std::vector<std::string> unset,
                            Done done) {
  Enqueue([this, name = std::move(name), set = std::move(set), unset = std::move(unset),
           done = std::move(done)](Decision& decision) {
    ErrorFrame error;
    if (const TopicInfo* topic = FindForChange(name, &error)) {
      std::map<std::string, std::string> overrides = topic->overrides;
      for (const auto& [key, value] : set) overrides[key] = value;
      absl::Status status = CheckChosen(set, unset);
      for (const std::string& key : unset) overrides.erase(key);
      if (status.ok()) status = ParseTopicConfig(overrides, defaults_).status();
      if (status.ok()) {
        auto& record = *decision.Add().mutable_topic();
        record.set_name(name);
        record.set_topic_id(topic->topic_id);
        record.set_replication_factor(topic->replication_factor);
        record.mutable_config()->insert(overrides.begin(), overrides.end());
      } else {
        error = MakeError(Error::INVALID_CONFIG, ToStdString(status.message()));
        error.topic = name;
      }
    }
    decision.answer = [done, error] { done(error); };
  });
}

void Controller::AddPartitions(std::string name, int32_t partitions, Done done) {
  Enqueue([this, name = std::move(name), partitions, done = std::move(done)](Decision& decision) {
    ErrorFrame error;
    if (const TopicInfo* topic = FindForChange(name, &error)) {
      const int32_t have = static_cast<int32_t>(topic->partitions.size());
      if (partitions <= have || partitions > kPartitionsMax) {
        error = MakeError(Error::INVALID_PARTITIONS,
                          absl::StrCat("topic ", name, " has ", have, " partitions; the new total must be more, up to ",
                                       kPartitionsMax, "; asked for ", partitions));
        error.topic = name;
      } else if (absl::Status status =
                     AddPartitionRecords(decision, topic->topic_id, have, partitions, image_->next_group());
                 !status.ok()) {
        decision.records.Clear();
        error = MakeError(Error::KAFKA_STORAGE_ERROR, name, std::nullopt, ToStdString(status.message()));
      }
    }
    decision.answer = [done, error] { done(error); };
  });
}

void Controller::NewProducerId(ProducerIdDone done) {
  Enqueue([this, done = std::move(done)](Decision& decision) {
    if (next_producer_id_ >= image_->producer_ids_end()) {
      decision.Add().mutable_producer_ids()->set_end(next_producer_id_ + kProducerIdBlock);
    }
    decision.answer = [this, done] { done({}, next_producer_id_++); };
  });
}

}  // namespace millrace::server
