#include "server/metadata_snapshot.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "millrace/internal/v1/metadata.pb.h"
#include "proto/wire/crc32c.h"
#include "raft/fixed_int.h"

namespace millrace::server {
namespace {

using millrace::internal::v1::MetadataRecord;
using millrace::internal::v1::MetadataRecords;
using millrace::internal::v1::Replica;

constexpr char kVersion = 1;
constexpr int kRecordsPerChunk = 500;

// Writes records in chunks, and makes only one at a time.
class Recorder {
 public:
  explicit Recorder(std::string& out) : out_(out) {}

  MetadataRecord& Add() {
    if (chunk_.records_size() == kRecordsPerChunk) Flush();
    return *chunk_.add_records();
  }

  void Flush() {
    raft::PutInt<uint32_t>(out_, static_cast<uint32_t>(chunk_.ByteSizeLong()));
    chunk_.AppendToString(&out_);
    chunk_.Clear();
  }

 private:
  std::string& out_;
  MetadataRecords chunk_;
};

void Fill(Replica& out, raft::ReplicaId id) {
  out.set_broker_id(static_cast<int32_t>(id.broker.value()));
  out.set_incarnation(id.incarnation);
}

void RecordCluster(const MetadataImage& image, Recorder& out) {
  if (!image.cluster_id().empty()) {
    auto& cluster = *out.Add().mutable_cluster();
    cluster.set_cluster_id(image.cluster_id());
    for (raft::ReplicaId founder : image.founders()) Fill(*cluster.add_founders(), founder);
  }
  out.Add().mutable_feature_level()->set_feature_level(image.feature_level());
  out.Add().mutable_producer_ids()->set_end(image.producer_ids_end());
  out.Add().mutable_group_ids()->set_end(image.next_group().value());
}

void RecordProducer(const std::string& name, const NamedProducer& info, Recorder& out) {
  auto& producer = *out.Add().mutable_producer();
  producer.set_name(name);
  producer.set_producer_id(info.id);
  producer.set_producer_epoch(info.epoch);
  producer.set_session(info.session);
  producer.set_made(info.made.value());
  producer.set_former_id(info.former_id);
}

void RecordBroker(const BrokerInfo& info, Recorder& out) { FillRecord(*out.Add().mutable_broker(), info); }

void RecordTopic(const TopicInfo& info, Recorder& out) {
  auto& topic = *out.Add().mutable_topic();
  topic.set_name(info.name);
  topic.set_topic_id(info.topic_id);
  topic.set_replication_factor(info.replication_factor);
  topic.mutable_config()->insert(info.overrides.begin(), info.overrides.end());
  for (size_t p = 0; p < info.partitions.size(); ++p) {
    auto& partition = *out.Add().mutable_partition();
    partition.set_topic_id(info.topic_id);
    partition.set_partition(static_cast<int32_t>(p));
    partition.set_group_id(info.partitions[p].group.value());
    for (raft::ReplicaId replica : info.partitions[p].replicas) Fill(*partition.add_replicas(), replica);
  }
}

absl::Status Replay(std::string_view chunk, MetadataImage::Builder& image) {
  MetadataRecords records;
  if (!records.ParseFromArray(chunk.data(), static_cast<int>(chunk.size()))) {
    return absl::DataLossError("its records cannot be read");
  }
  for (const MetadataRecord& record : records.records()) {
    if (absl::Status status = image.Replay(record); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// `in` is what the checksum covers.
absl::StatusOr<MetadataSnapshot> Decode(std::string_view in, const TopicConfig& defaults) {
  const auto version = raft::GetInt<char>(in);
  const auto index = raft::GetInt<int64_t>(in);
  const auto end_offset = raft::GetInt<int64_t>(in);
  if (!end_offset) return absl::DataLossError("it is cut off");
  if (*version != kVersion) {
    return absl::UnimplementedError(absl::StrCat("it has format ", static_cast<int>(*version), ", this release knows ",
                                                 static_cast<int>(kVersion), "; start the newer release"));
  }
  MetadataImage::Builder image{MetadataImage(defaults)};
  while (!in.empty()) {
    const auto size = raft::GetInt<uint32_t>(in);
    if (!size || *size > in.size()) return absl::DataLossError("it is cut off");
    if (absl::Status status = Replay(in.substr(0, *size), image); !status.ok()) return status;
    in.remove_prefix(*size);
  }
  image.SetVersion(raft::LogIndex(*index));
  return MetadataSnapshot{std::move(image).Build(), raft::Offset(*end_offset)};
}

}  // namespace

absl::Cord EncodeSnapshot(const MetadataSnapshot& snapshot) {
  std::string out = {kVersion};
  raft::PutInt<int64_t>(out, snapshot.image->version().value());
  raft::PutInt<int64_t>(out, snapshot.end_offset.value());
  Recorder records(out);
  RecordCluster(*snapshot.image, records);
  for (const auto& [id, broker] : snapshot.image->brokers()) RecordBroker(broker, records);
  for (const auto& [name, producer] : snapshot.image->named_producers()) RecordProducer(name, producer, records);
  for (const auto& [name, topic] : snapshot.image->topics()) RecordTopic(*topic, records);
  records.Flush();
  raft::PutInt<uint32_t>(out, Crc32c(0, out));
  return absl::Cord(std::move(out));
}

absl::StatusOr<MetadataSnapshot> DecodeSnapshot(const absl::Cord& bytes, const TopicConfig& defaults) {
  const auto refuse = [&bytes](absl::StatusCode code, absl::string_view why) {
    return absl::Status(code, absl::StrCat("the snapshot of the metadata, ", bytes.size(), " bytes: ", why));
  };
  const std::string all(bytes);
  if (all.size() < sizeof(uint32_t)) return refuse(absl::StatusCode::kDataLoss, "it is cut off");
  const std::string_view covered = std::string_view(all).substr(0, all.size() - sizeof(uint32_t));
  std::string_view crc = std::string_view(all).substr(covered.size());
  if (*raft::GetInt<uint32_t>(crc) != Crc32c(0, covered)) {
    return refuse(absl::StatusCode::kDataLoss, "it does not match its checksum");
  }
  auto snapshot = Decode(covered, defaults);
  return snapshot.ok() ? snapshot : refuse(snapshot.status().code(), snapshot.status().message());
}

}  // namespace millrace::server
