// Records of the metadata log as tests write them, and random ones that fit an image.
//
//     RandomMetadata random(seed);
//     for (const MetadataRecord& record : random.Step(*image).records()) ...     // what a controller may have decided
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "millrace/internal/v1/metadata.pb.h"
#include "proto/wire/record_batch.h"
#include "server/metadata_image.h"

namespace millrace::server {

using millrace::internal::v1::MetadataRecord;
using millrace::internal::v1::MetadataRecords;

inline MetadataRecord BrokerRecord(int32_t id, uint64_t incarnation, const std::string& rack = "") {
  MetadataRecord record;
  auto& broker = *record.mutable_broker();
  broker.set_broker_id(id);
  broker.set_incarnation(incarnation);
  broker.set_address("host" + std::to_string(id) + ":9470");
  broker.set_rack(rack);
  broker.set_feature_level_min(1);
  broker.set_feature_level_max(1);
  broker.set_build("0.1.0");
  return record;
}

inline MetadataRecord RemoveBroker(int32_t id) {
  MetadataRecord record;
  record.mutable_remove_broker()->set_broker_id(id);
  return record;
}

inline MetadataRecord TopicRecord(uint64_t id, const std::string& name, const std::string& flush = "commit") {
  MetadataRecord record;
  record.mutable_topic()->set_name(name);
  record.mutable_topic()->set_topic_id(id);
  (*record.mutable_topic()->mutable_config())["flush"] = flush;
  return record;
}

inline MetadataRecord PartitionRecord(uint64_t topic_id, int32_t partition, int64_t group,
                                      const std::vector<raft::ReplicaId>& replicas = {}) {
  MetadataRecord record;
  record.mutable_partition()->set_topic_id(topic_id);
  record.mutable_partition()->set_partition(partition);
  record.mutable_partition()->set_group_id(group);
  for (raft::ReplicaId id : replicas) {
    auto& replica = *record.mutable_partition()->add_replicas();
    replica.set_broker_id(static_cast<int32_t>(id.broker.value()));
    replica.set_incarnation(id.incarnation);
  }
  return record;
}

inline MetadataRecord RemoveTopic(uint64_t topic_id) {
  MetadataRecord record;
  record.mutable_remove_topic()->set_topic_id(topic_id);
  return record;
}

inline std::shared_ptr<const MetadataImage> After(const MetadataImage& base,
                                                  const std::vector<MetadataRecord>& records) {
  MetadataImage::Builder next(base);
  for (const MetadataRecord& record : records) {
    const absl::Status status = next.Replay(record);
    EXPECT_TRUE(status.ok()) << status << "\n" << record.DebugString();
  }
  next.SetVersion(base.version() + 1);
  return std::move(next).Build();
}

class RandomMetadata {
 public:
  explicit RandomMetadata(uint64_t seed) : random_(seed) {}

  // Never empty.
  MetadataRecords Step(const MetadataImage& image) {
    MetadataRecords records;
    switch (image.cluster_id().empty() ? 0 : UpTo(9)) {
      case 0: {
        auto& cluster = *records.add_records()->mutable_cluster();
        cluster.set_cluster_id("abc");
        for (int32_t id = 1; id <= 3; ++id) Fill(*cluster.add_founders(), id, 100u + id);
        break;
      }
      case 1:
        *records.add_records() = BrokerRecord(UpTo(6), random_(), "rack" + std::to_string(UpTo(3)));
        break;
      case 2:
        if (const auto broker = Any(image.brokers())) {
          *records.add_records() = RemoveBroker(static_cast<int32_t>(broker->first.value()));
          break;
        }
        [[fallthrough]];
      case 3:
        records.add_records()->mutable_producer_ids()->set_end(image.producer_ids_end() + UpTo(1000));
        break;
      case 4:
        if (const auto topic = Any(image.topics())) {
          *records.add_records() = RemoveTopic(topic->second->topic_id);
          break;
        }
        [[fallthrough]];
      case 5:
        if (const auto topic = Any(image.topics())) {
          *records.add_records() = TopicRecord(topic->second->topic_id, topic->first, UpTo(2) ? "async" : "commit");
          AddPartitions(topic->second->topic_id, static_cast<int32_t>(topic->second->partitions.size()), image,
                        records);
          break;
        }
        [[fallthrough]];
      case 6: {
        const std::string name = "p" + std::to_string(UpTo(4));
        if (image.named_producers().Find(name) != nullptr && UpTo(3) == 0) {
          records.add_records()->mutable_remove_producer()->set_name(name);
          break;
        }
        auto& producer = *records.add_records()->mutable_producer();
        producer.set_name(name);
        producer.set_producer_id(image.producer_ids_end() + UpTo(5));
        producer.set_producer_epoch(kEpochsRaised * (1 + UpTo(3)));
        producer.set_session(random_());
        producer.set_former_id(UpTo(2));
        break;
      }
      default:
        AddTopic(image, records);
    }
    return records;
  }

  // In [0, bound).
  int32_t UpTo(int32_t bound) { return static_cast<int32_t>(random_() % static_cast<uint64_t>(bound)); }

 private:
  template <typename Map>
  std::optional<typename Map::Entry> Any(const Map& map) {
    if (map.empty()) return std::nullopt;
    auto entry = map.begin();
    std::advance(entry, UpTo(static_cast<int32_t>(map.size())));
    return *entry;
  }

  static void Fill(internal::v1::Replica& replica, int32_t id, uint64_t incarnation) {
    replica.set_broker_id(id);
    replica.set_incarnation(incarnation);
  }

  void AddTopic(const MetadataImage& image, MetadataRecords& records) {
    const uint64_t id = random_() | 1;
    *records.add_records() = TopicRecord(id, "t" + std::to_string(id % 100'000));
    if (image.FindTopic(records.records(0).topic().name()) != nullptr) {
      records.mutable_records(0)->mutable_topic()->set_name("t-" + std::to_string(id));
    }
    AddPartitions(id, 0, image, records);
  }

  void AddPartitions(uint64_t topic_id, int32_t first, const MetadataImage& image, MetadataRecords& records) {
    const int32_t count = UpTo(10) == 0 ? 300 : UpTo(5);
    for (int32_t i = 0; i < count; ++i) {
      std::vector<raft::ReplicaId> replicas(static_cast<size_t>(UpTo(4)));
      for (raft::ReplicaId& replica : replicas) replica = {raft::BrokerId(UpTo(6)), random_()};
      *records.add_records() = PartitionRecord(topic_id, first + i, image.next_group().value() + i, replicas);
    }
    if (first > 0) {
      const auto topic = image.FindTopic(records.records(0).topic().name());
      *records.add_records() =
          PartitionRecord(topic_id, 0, topic->partitions[0].group.value(), {{raft::BrokerId(9), random_()}});
    }
  }

  std::mt19937_64 random_;
};

}  // namespace millrace::server
