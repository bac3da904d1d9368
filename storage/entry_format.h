// How an entry lies in the store: a fixed header, then the payload's bytes as they came, or the place in a WAL file where they are.
//
//     char header[kStoredHeaderBytes];
//     EncodeHeader({entry.header, log_bytes, segment_max_timestamp, payload_bytes}, header);
//     absl::StatusOr<StoredHeader> stored = DecodeHeader(value);   // value: header and payload, or header and place
//     if (stored->placed) absl::StatusOr<PayloadPlace> place = DecodePlace(value);
//
// All integers are little-endian. README.md shows the layout byte by byte with an example.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "raft/types.h"

namespace millrace::storage {

inline constexpr size_t kStoredHeaderBytes = 80;
inline constexpr uint8_t kHeaderVersion = 1;

// Smaller than every timestamp: the maximum of no records.
inline constexpr int64_t kNoTimestamp = std::numeric_limits<int64_t>::min();

// An entry's header, with sums up to and including this entry: the last entry of a log alone tells where the log stands, so
// opening one reads one entry. The sums are this replica's own (segments are), and not part of the chain.
struct StoredHeader {
  raft::EntryHeader entry;
  int64_t log_bytes = 0;                         // payload bytes since the log began, removed ones included
  int64_t segment_max_timestamp = kNoTimestamp;  // of the segment's entries with records; an upper bound
  uint32_t payload_bytes = 0;
  bool placed = false;  // a PayloadPlace follows, not the payload
};

// Where a payload lies: its first byte. In a WAL file it goes on from there as WalPosition (wal_format.h) says, in one that payloads
// were moved into in one piece.
struct PayloadPlace {
  uint64_t file = 0;  // a WAL file's number, or that of another file behind kMovedFiles; 0: the very record of the WAL
  uint64_t offset = 0;  // in that file; in that record's batch, if it is that

  // Not complete: the batch that holds it was not put into a memtable yet.
  bool staged() const { return file == 0; }
  bool operator==(const PayloadPlace&) const = default;
};
inline constexpr uint64_t kMovedFiles = uint64_t{1} << 63;
inline bool IsMoved(uint64_t file) { return file >= kMovedFiles; }
inline constexpr size_t kPlacedBytesMin = 1024;  // a smaller payload lies behind its header
inline constexpr size_t kPlaceBytes = 20;
inline constexpr size_t kPlacedValueBytes = kStoredHeaderBytes + kPlaceBytes;

// `out` has room for kStoredHeaderBytes.
void EncodeHeader(const StoredHeader& header, char* out);

// Of a stored value. kDataLoss: not a header, its checksum does not match, or what follows is not as long as it says.
absl::StatusOr<StoredHeader> DecodeHeader(std::string_view value);

// Whether a value is one with a place, as far as its length and its mark tell.
bool HasPlace(std::string_view value);
// As the header says, whose checksum is not looked at: for counting. The value has a header.
uint32_t PayloadBytesUnchecked(std::string_view value);
// `out`, behind the header, has room for kPlaceBytes.
void EncodePlace(const PayloadPlace& place, char* out);
// Of a value that has one. kDataLoss: its checksum does not match.
absl::StatusOr<PayloadPlace> DecodePlace(std::string_view value);

// The header of a stored value that DecodeHeader refuses, if one byte of it is damaged and no more: that of this index and
// offset whose checksum and chain both match. Another one would do so once in 2^64.
std::optional<StoredHeader> MendHeader(std::string_view value, raft::LogIndex index, raft::Offset base_offset,
                                       uint32_t previous_chain);

// The digest that goes into header.chain: of the header and of all entries before it through the previous entry's chain.
// Replicas whose chains agree at an index hold the same entries up to there.
uint32_t ChainDigest(uint32_t previous_chain, const raft::EntryHeader& header);

}  // namespace millrace::storage
