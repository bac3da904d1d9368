// What it costs to put a message between brokers into a frame, and to take it out again.
#include <benchmark/benchmark.h>

#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "proto/wire/check.h"
#include "server/peer_frames.h"

namespace millrace::server {
namespace {

absl::Cord ExternalChunks(std::string_view bytes, size_t chunk_bytes) {
  absl::Cord cord;
  for (size_t done = 0; done < bytes.size(); done += chunk_bytes) {
    auto* chunk = new std::string(bytes.substr(done, chunk_bytes));
    cord.Append(absl::MakeCordFromExternal(absl::string_view(*chunk), [chunk] { delete chunk; }));
  }
  return cord;
}

raft::Message Append(const absl::Cord& payload) {
  raft::AppendEntries append{.prev = {raft::Term(3), raft::LogIndex(1'000'000)},
                             .commit = raft::LogIndex(999'990),
                             .confirmed = {raft::LogIndex(999'990), 0},
                             .request = 12'345};
  append.entries.push_back({.header = {.term = raft::Term(3),
                                       .index = raft::LogIndex(1'000'001),
                                       .base_offset = raft::Offset(60'000'000),
                                       .record_count = 64,
                                       .append_time = 1'700'000'000'000,
                                       .max_timestamp = 1'700'000'000'000,
                                       .payload_crc = 0x12345678},
                            .payload = payload});
  return {.term = raft::Term(3), .body = std::move(append)};
}

raft::Message Beat() {
  return {.term = raft::Term(3),
          .body = raft::Heartbeat{.commit = {raft::Term(3), raft::LogIndex(999'990)},
                                  .confirmed = {raft::LogIndex(999'990), 0},
                                  .read_round = 7}};
}

// One frame with `count` of the message; the argument is the count.
absl::Cord FrameOf(const raft::Message& message, int64_t count) {
  PeerFrameWriter frame(42);
  for (int64_t group = 1; group <= count; ++group) frame.Add(raft::GroupId(1000 + group), message);
  return std::move(frame).Finish(false);
}

void Encode(benchmark::State& state, const raft::Message& message) {
  for (auto _ : state) benchmark::DoNotOptimize(FrameOf(message, state.range(0)));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

// As it comes from the socket: in chunks of 8 KiB.
void Decode(benchmark::State& state, const raft::Message& message) {
  const absl::Cord bytes = ExternalChunks(std::string(FrameOf(message, state.range(0))), 8 << 10);
  for (auto _ : state) {
    auto frame = ParsePeerFrame(bytes);
    MILLRACE_CHECK(frame.ok());
    benchmark::DoNotOptimize(frame->messages.data());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

const absl::Cord& Payload() {
  static const absl::Cord* const payload = new absl::Cord(ExternalChunks(std::string(64 << 10, 'p'), 8 << 10));
  return *payload;
}

void BM_EncodeAppend64K(benchmark::State& state) { Encode(state, Append(Payload())); }
void BM_DecodeAppend64K(benchmark::State& state) { Decode(state, Append(Payload())); }
void BM_EncodeHeartbeat(benchmark::State& state) { Encode(state, Beat()); }
void BM_DecodeHeartbeat(benchmark::State& state) { Decode(state, Beat()); }
BENCHMARK(BM_EncodeAppend64K)->Arg(1)->Arg(16);
BENCHMARK(BM_DecodeAppend64K)->Arg(1)->Arg(16);
BENCHMARK(BM_EncodeHeartbeat)->Arg(1)->Arg(1000);
BENCHMARK(BM_DecodeHeartbeat)->Arg(1)->Arg(1000);

}  // namespace
}  // namespace millrace::server

BENCHMARK_MAIN();
