// What the codec costs for each record, chunk and message.
#include <benchmark/benchmark.h>

#include <algorithm>

#include "proto/wire/crc32c.h"
#include "proto/wire/frames.h"
#include "proto/wire/record_batch.h"

namespace millrace {
namespace {

absl::Cord ExternalChunks(std::string_view bytes, size_t chunk_bytes) {
  absl::Cord cord;
  for (size_t done = 0; done < bytes.size(); done += chunk_bytes) {
    auto* chunk = new std::string(bytes.substr(done, chunk_bytes));
    cord.Append(absl::MakeCordFromExternal(absl::string_view(*chunk), [chunk] { delete chunk; }));
  }
  return cord;
}

absl::Cord BatchOf(size_t records, size_t value_bytes) {
  const std::string value(value_bytes, 'v');
  BatchBuilder builder(records * (value_bytes + 20));
  for (size_t i = 0; i < records; ++i) builder.Add({.timestamp = 1700000000000, .key = "N14228", .value = value});
  return builder.Finish({.producer_id = 7});
}

void BM_BuilderAdd(benchmark::State& state) {
  const std::string value(static_cast<size_t>(state.range(0)), 'v');
  const size_t batch_bytes = 256 << 10;
  BatchBuilder builder(batch_bytes);
  RecordView record{.timestamp = 1700000000000, .key = "N14228", .value = value};
  for (auto _ : state) {
    if (builder.payload_bytes() + BatchBuilder::SizeBound(record) > batch_bytes) {
      benchmark::DoNotOptimize(builder.Finish({.producer_id = 7}));
    }
    ++record.timestamp;
    builder.Add(record);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_BuilderAdd)->Arg(100)->Arg(1024);

void BM_ReaderNext(benchmark::State& state) {
  const size_t records = 1000;
  const absl::Cord bytes = BatchOf(records, 100);
  const absl::Cord chunks = ExternalChunks(std::string(bytes), static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    const auto batch = ParseBatch(chunks);
    RecordReader reader(*batch, {.check_crc = false});
    while (reader.Next()) benchmark::DoNotOptimize(reader.record().value->data());
  }
  state.SetItemsProcessed(state.iterations() * records);
}
BENCHMARK(BM_ReaderNext)->Arg(1 << 20)->Arg(8 << 10);

void BM_CountRecords(benchmark::State& state) {
  const size_t records = 1000;
  const auto batch = ParseBatch(ExternalChunks(std::string(BatchOf(records, 100)), 8 << 10));
  for (auto _ : state) benchmark::DoNotOptimize(CountRecords(batch->payload));
  state.SetItemsProcessed(state.iterations() * records);
}
BENCHMARK(BM_CountRecords);

void BM_ParseProduceRequest(benchmark::State& state) {
  ProduceRequestFrame request{.acks = 3};
  const size_t batches = static_cast<size_t>(state.range(1));
  const absl::Cord batch(std::string((1 << 20) / batches, 'b'));
  for (uint64_t id = 0; id < batches; ++id) request.batches.push_back({.id = id, .topic = "flights", .batch = batch});
  const absl::Cord message =
      ExternalChunks(std::string(SerializeProduceRequest(request)), static_cast<size_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(ParseProduceRequest(message));
}
BENCHMARK(BM_ParseProduceRequest)->ArgsProduct({{8 << 10, 64 << 10}, {1, 16, 1024}});

void BM_SerializeFetchResponse(benchmark::State& state) {
  FetchResponseFrame response;
  const absl::Cord batch = ExternalChunks(std::string(64 << 10, 'b'), 64 << 10);
  for (uint64_t id = 0; id < 16; ++id) {
    FetchPartitionFrame& partition = response.partitions.emplace_back();
    partition.subscription = id;
    partition.batches.assign(static_cast<size_t>(state.range(0)),
                             {.base_offset = 1 << 20, .append_time = 1700000000000, .batch = batch});
  }
  for (auto _ : state) benchmark::DoNotOptimize(SerializeFetchResponse(response));
}
BENCHMARK(BM_SerializeFetchResponse)->Arg(1)->Arg(4);

void BM_SerializeProduceResponse(benchmark::State& state) {
  ProduceResponseFrame response;
  for (uint64_t id = 0; id < 16; ++id) {
    response.acks.push_back({.id = id,
                             .base_offset = 1 << 20,
                             .append_time = 1700000000000,
                             .leader_epoch = 1,
                             .durability = Durability::kQuorumDisk,
                             .high_watermark = 1 << 20});
  }
  for (auto _ : state) benchmark::DoNotOptimize(SerializeProduceResponse(response));
}
BENCHMARK(BM_SerializeProduceResponse);

void BM_ParseBatch(benchmark::State& state) {
  const absl::Cord bytes = ExternalChunks(std::string(BatchOf(600, 100)), 8 << 10);
  for (auto _ : state) benchmark::DoNotOptimize(ParseBatch(bytes));
}
BENCHMARK(BM_ParseBatch);

void BM_Crc32c(benchmark::State& state) {
  const std::string bytes(static_cast<size_t>(state.range(0)), 'c');
  for (auto _ : state) benchmark::DoNotOptimize(Crc32c(0, bytes));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_Crc32c)->Arg(80)->Arg(64 << 10);

void BM_Codec(benchmark::State& state) {
  std::string text;
  for (int i = 0; text.size() < 256 << 10; ++i) {
    text += R"({"carrier":"UA","flight":)" + std::to_string(i * 7919 % 3000) + R"(,"tailnum":"N)" +
            std::to_string(i * 31 % 9973) + R"(","origin":"EWR","dest":"IAH","distance":1400})" + "\n";
  }
  const Codec codec = static_cast<Codec>(state.range(0));
  const absl::Cord payload{text};
  const absl::Cord compressed = Compress(codec, payload);
  const bool decompress = state.range(1) != 0;
  for (auto _ : state) {
    if (decompress) {
      benchmark::DoNotOptimize(
          Decompress(static_cast<int32_t>(codec), compressed, static_cast<int64_t>(text.size()), 1 << 30));
    } else {
      benchmark::DoNotOptimize(Compress(codec, payload));
    }
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
}
BENCHMARK(BM_Codec)->ArgNames({"codec", "decompress"})->ArgsProduct({{3, 4}, {0, 1}});

}  // namespace
}  // namespace millrace

BENCHMARK_MAIN();
