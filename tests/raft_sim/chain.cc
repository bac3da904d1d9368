#include "tests/raft_sim/chain.h"

#include <cstring>
#include <string_view>

namespace millrace::raft::sim {
namespace {

uint64_t MixPayload(uint64_t hash, const absl::Cord& payload) {
  for (auto chunk : payload.Chunks()) {
    for (size_t at = 0; at < chunk.size(); at += 8) {
      uint64_t word = 0;
      std::memcpy(&word, chunk.data() + at, std::min<size_t>(8, chunk.size() - at));
      hash = Mix(hash, word);
    }
  }
  return Mix(hash, payload.size());
}

uint64_t Digest(uint64_t previous, const Entry& entry) {
  const EntryHeader& header = entry.header;
  uint64_t hash = Mix(previous, static_cast<uint64_t>(header.term.value()));
  hash = Mix(hash, static_cast<uint64_t>(header.index.value()));
  hash = Mix(hash, static_cast<uint64_t>(header.base_offset.value()));
  hash = Mix(hash, static_cast<uint64_t>(header.record_count) << 8 | static_cast<uint64_t>(header.type));
  hash = Mix(hash, static_cast<uint64_t>(header.append_time));
  hash = Mix(hash, static_cast<uint64_t>(header.max_timestamp) ^ header.payload_crc);
  return MixPayload(hash, entry.payload);
}

}  // namespace

const char* Chain::Append(const Entry& entry) {
  const Link& previous = links_.back();
  const EntryHeader& header = entry.header;
  if (header.index != last() + 1) return "index does not follow";
  if (header.term < previous.term) return "term falls along the log";
  if (header.base_offset != previous.end_offset) return "offsets are not dense";
  if (header.append_time < previous.append_time) return "append time goes back";
  if (header.type != EntryType::kRecords && header.record_count != 0) return "the log's own entry has records";
  links_.push_back({.term = header.term,
                    .digest = Digest(previous.digest, entry),
                    .proposal = ProposalOf(entry),
                    .end_offset = header.end_offset(),
                    .append_time = header.append_time,
                    .type = header.type});
  return nullptr;
}

void Chain::RemovePrefix(LogIndex before) {
  head_ += static_cast<size_t>(before - before_);
  before_ = before;
  if (head_ <= links_.size() / 2) return;
  links_.erase(links_.begin(), links_.begin() + static_cast<ptrdiff_t>(head_));
  head_ = 0;
}

uint64_t ProposalOf(const Entry& entry) {
  if (entry.header.type != EntryType::kRecords || entry.payload.size() < 8) return 0;
  uint64_t number = 0;
  if (auto flat = entry.payload.TryFlat()) {
    std::memcpy(&number, flat->data(), sizeof number);
  } else {
    std::string bytes(entry.payload.Subcord(0, sizeof number));
    std::memcpy(&number, bytes.data(), sizeof number);
  }
  return number;
}

}  // namespace millrace::raft::sim
