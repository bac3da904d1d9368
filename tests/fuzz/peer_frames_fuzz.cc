// Brokers' frames: any bytes, in chunks of any size, are refused or are read, and then written as what reads the same again. What
// they hold in memory is bounded.
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "absl/strings/cord.h"
#include "proto/wire/check.h"
#include "proto/wire/frames.h"
#include "server/peer_frames.h"

namespace millrace::server {
namespace {

// Each chunk in an allocation of its own, so that a sanitizer sees its ends.
absl::Cord Chunked(std::string_view bytes, size_t chunk_bytes) {
  absl::Cord cord;
  while (!bytes.empty()) {
    const size_t size = (bytes.size() - 1) % chunk_bytes + 1;
    auto chunk = std::make_shared<std::string>(bytes.substr(bytes.size() - size));
    cord.Prepend(absl::MakeCordFromExternal(absl::string_view(chunk->data(), chunk->size()), [chunk] {}));
    bytes.remove_suffix(size);
  }
  return cord;
}

size_t EntriesOf(const PeerFrame& frame) {
  size_t entries = 0;
  for (const GroupMessage& m : frame.messages) {
    const auto* append = std::get_if<raft::AppendEntries>(&m.message.body);
    if (append != nullptr) entries += append->entries.size();
  }
  return entries;
}

absl::Cord Write(const PeerFrame& frame) {
  PeerFrameWriter out(frame.sequence);
  for (const GroupLeader& leader : frame.leaders) out.Add(leader);
  for (const auto& [group, message] : frame.messages) out.Add(group, message);
  return std::move(out).Finish(frame.stalled, frame.sent_at);
}

void Read(const absl::Cord& bytes) {
  const absl::StatusOr<PeerFrame> frame = ParsePeerFrame(bytes);
  if (!frame.ok()) return;
  MILLRACE_CHECK(frame->messages.size() <= kElementsMax && frame->leaders.size() <= kElementsMax &&
                 EntriesOf(*frame) <= kElementsMax);
  const absl::Cord written = Write(*frame);
  const absl::StatusOr<PeerFrame> again = ParsePeerFrame(written);
  MILLRACE_CHECK(again.ok()) << again.status();
  MILLRACE_CHECK(Write(*again) == written);
}

}  // namespace
}  // namespace millrace::server

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  millrace::server::Read(millrace::server::Chunked(bytes, data[0] == 0 ? bytes.size() + 1 : data[0]));
  return 0;
}
