// What a damaged entry takes with it: the status of a read that met one names the offsets, so that readers can be told of the
// gap and go on behind it.
//
//     absl::Status s = DamagedEntry("group 7 entry 42: its checksum does not match", {first, end});
//     if (auto lost = DamagedOffsets(s)) next = lost->end;
#pragma once

#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "raft/types.h"

namespace millrace::raft {

// first inclusive, end exclusive.
struct OffsetRange {
  Offset first;
  Offset end;

  bool operator==(const OffsetRange&) const = default;
};

namespace internal {
inline constexpr char kDamagedOffsets[] = "millrace/damaged-offsets";
}

// kDataLoss.
inline absl::Status DamagedEntry(std::string_view text, OffsetRange lost) {
  absl::Status status = absl::DataLossError(absl::string_view(text.data(), text.size()));
  status.SetPayload(internal::kDamagedOffsets,
                    absl::Cord(std::string(reinterpret_cast<const char*>(&lost), sizeof(lost))));
  return status;
}

// Nothing if the status is not of a damaged entry, or what the entry held is not known.
inline std::optional<OffsetRange> DamagedOffsets(const absl::Status& status) {
  const auto payload = status.GetPayload(internal::kDamagedOffsets);
  if (!payload || payload->size() != sizeof(OffsetRange)) return std::nullopt;
  OffsetRange lost;
  std::memcpy(&lost, std::string(*payload).data(), sizeof(lost));
  return lost;
}

}  // namespace millrace::raft
