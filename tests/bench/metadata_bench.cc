// What changes of the metadata cost in a cluster of 10,000 partitions with three replicas each.
//
//     build/release/tests/bench/metadata_bench
#include <benchmark/benchmark.h>

#include <string>

#include "millrace/internal/v1/metadata.pb.h"
#include "proto/wire/check.h"
#include "server/metadata_image.h"
#include "server/metadata_snapshot.h"
#include "server/placement.h"

namespace millrace::server {
namespace {

using millrace::internal::v1::MetadataRecord;
using millrace::internal::v1::MetadataRecords;

MetadataRecords NewTopic(uint64_t id, int32_t partitions, int64_t first_group) {
  MetadataRecords records;
  auto& topic = *records.add_records()->mutable_topic();
  topic.set_name("topic-" + std::to_string(id));
  topic.set_topic_id(id);
  topic.set_replication_factor(3);
  for (int32_t p = 0; p < partitions; ++p) {
    auto& partition = *records.add_records()->mutable_partition();
    partition.set_topic_id(id);
    partition.set_partition(p);
    partition.set_group_id(first_group + p);
    for (int32_t r = 0; r < 3; ++r) {
      auto& replica = *partition.add_replicas();
      replica.set_broker_id((p + r) % 5);
      replica.set_incarnation(0x9e3779b97f4a7c15 * static_cast<uint64_t>(1 + (p + r) % 5));
    }
  }
  return records;
}

std::shared_ptr<const MetadataImage> After(const MetadataImage& base, const MetadataRecords& records) {
  MetadataImage::Builder next(base);
  for (const MetadataRecord& record : records.records()) MILLRACE_CHECK(next.Replay(record).ok());
  next.SetVersion(base.version() + 1);
  return std::move(next).Build();
}

// 10,000 partitions in so many topics.
std::shared_ptr<const MetadataImage> Cluster(int64_t topics) {
  auto image = std::make_shared<const MetadataImage>(TopicConfig());
  const auto partitions = static_cast<int32_t>(10'000 / topics);
  for (int64_t t = 0; t < topics; ++t) {
    image = After(*image, NewTopic(static_cast<uint64_t>(t) * 0x9e3779b97f4a7c15 + 1, partitions, 2 + t * partitions));
  }
  return image;
}

// As a broker meets it: the entry's bytes, and a new image.
void CreateAThousandPartitions(benchmark::State& state) {
  const auto image = Cluster(state.range(0));
  const std::string entry = NewTopic(7, 1000, 20'000).SerializeAsString();
  for (auto _ : state) {
    MetadataRecords records;
    MILLRACE_CHECK(records.ParseFromString(entry));
    benchmark::DoNotOptimize(After(*image, records));
  }
}
BENCHMARK(CreateAThousandPartitions)->Arg(10)->Arg(1000)->Arg(10'000)->Unit(benchmark::kMicrosecond);

void RemoveAThousandPartitions(benchmark::State& state) {
  const auto image = After(*Cluster(state.range(0)), NewTopic(7, 1000, 20'000));
  MetadataRecords records;
  records.add_records()->mutable_remove_topic()->set_topic_id(7);
  for (auto _ : state) benchmark::DoNotOptimize(After(*image, records));
}
BENCHMARK(RemoveAThousandPartitions)->Arg(10)->Arg(10'000)->Unit(benchmark::kMicrosecond);

void MoveOnePartition(benchmark::State& state) {
  const auto image = Cluster(state.range(0));
  const GroupInfo moved = *image->FindGroup(raft::GroupId(2));
  MetadataRecords records;
  auto& partition = *records.add_records()->mutable_partition();
  partition.set_topic_id(moved.topic->topic_id);
  partition.set_partition(moved.partition);
  partition.set_group_id(2);
  for (auto _ : state) benchmark::DoNotOptimize(After(*image, records));
}
BENCHMARK(MoveOnePartition)->Arg(10)->Arg(10'000)->Unit(benchmark::kMicrosecond);

void FindGroup(benchmark::State& state) {
  const auto image = Cluster(state.range(0));
  int64_t group = 2;
  for (auto _ : state) {
    benchmark::DoNotOptimize(image->FindGroup(raft::GroupId(group)));
    if ((group += 7) > 10'000) group = 2;
  }
}
BENCHMARK(FindGroup)->Arg(10)->Arg(10'000);

void Encode(benchmark::State& state) {
  const auto image = Cluster(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(EncodeSnapshot({image, {}}));
  state.counters["bytes"] = static_cast<double>(EncodeSnapshot({image, {}}).size());
}
BENCHMARK(Encode)->Arg(10)->Arg(10'000)->Unit(benchmark::kMicrosecond);

void Decode(benchmark::State& state) {
  const absl::Cord bytes = EncodeSnapshot({Cluster(state.range(0)), {}});
  for (auto _ : state) MILLRACE_CHECK(DecodeSnapshot(bytes, {}).ok());
}
BENCHMARK(Decode)->Arg(10)->Arg(10'000)->Unit(benchmark::kMicrosecond);

// So many partitions of three replicas over so many brokers in five racks.
void Place(benchmark::State& state) {
  std::vector<BrokerLoad> brokers;
  for (int64_t b = 0; b < state.range(1); ++b) {
    brokers.push_back({.id = {raft::BrokerId(b), 1}, .rack = std::to_string(b % 5)});
  }
  const NewPartitions wanted{.partitions = static_cast<int32_t>(state.range(0)), .replication_factor = 3};
  for (auto _ : state) benchmark::DoNotOptimize(PlaceReplicas(brokers, wanted));
}
BENCHMARK(Place)->Args({1000, 5})->Args({1000, 100})->Args({100'000, 100})->Unit(benchmark::kMicrosecond);

void Loads(benchmark::State& state) {
  const auto image = Cluster(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(LoadsOf(*image));
}
BENCHMARK(Loads)->Arg(10)->Arg(10'000)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace millrace::server

BENCHMARK_MAIN();
