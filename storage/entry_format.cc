#include "storage/entry_format.h"

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"
#include "proto/wire/crc32c.h"
#include "storage/little_endian.h"

namespace millrace::storage {
namespace {

using raft::EntryHeader;
using raft::EntryType;

constexpr size_t kHeaderCrcAt = kStoredHeaderBytes - sizeof(uint32_t);
constexpr size_t kPlacedAt = 2;
constexpr size_t kPayloadBytesAt = 72;
constexpr size_t kPlaceCrcAt = kPlaceBytes - sizeof(uint32_t);

uint32_t HeaderCrc(const char* header) { return Crc32c(0, std::string_view(header, kHeaderCrcAt)); }

bool IsEntryType(uint8_t type) {
  switch (static_cast<EntryType>(type)) {
    case EntryType::kRecords:
    case EntryType::kNoop:
    case EntryType::kMembership:
    case EntryType::kLogStart:
      return true;
  }
  return false;
}

}  // namespace

void EncodeHeader(const StoredHeader& header, char* out) {
  const EntryHeader& entry = header.entry;
  LittleEndianWriter writer(out);
  writer.Put<uint8_t>(kHeaderVersion)
      .Put<uint8_t>(static_cast<uint8_t>(entry.type))
      .Put<uint8_t>(header.placed ? 1 : 0)
      .Put<uint8_t>(0)
      .Put<int32_t>(entry.record_count)
      .Put<int64_t>(entry.term.value())
      .Put<int64_t>(entry.index.value())
      .Put<int64_t>(entry.base_offset.value())
      .Put<int64_t>(entry.append_time)
      .Put<int64_t>(entry.max_timestamp)
      .Put<uint32_t>(entry.payload_crc)
      .Put<uint32_t>(entry.chain)
      .Put<int64_t>(header.log_bytes)
      .Put<int64_t>(header.segment_max_timestamp)
      .Put<uint32_t>(header.payload_bytes);
  writer.Put<uint32_t>(HeaderCrc(out));
  MILLRACE_CHECK(writer.end() == out + kStoredHeaderBytes);
}

absl::StatusOr<StoredHeader> DecodeHeader(std::string_view value) {
  if (value.size() < kStoredHeaderBytes) {
    return absl::DataLossError(absl::StrCat("an entry has ", value.size(), " bytes, less than its header"));
  }
  LittleEndianReader reader(value.substr(0, kStoredHeaderBytes));
  const auto version = reader.Get<uint8_t>();
  const auto type = reader.Get<uint8_t>();
  const auto placed = reader.Get<uint8_t>();
  reader.Get<uint8_t>();
  StoredHeader header;
  EntryHeader& entry = header.entry;
  entry.record_count = reader.Get<int32_t>();
  entry.term = raft::Term(reader.Get<int64_t>());
  entry.index = raft::LogIndex(reader.Get<int64_t>());
  entry.base_offset = raft::Offset(reader.Get<int64_t>());
  entry.append_time = reader.Get<int64_t>();
  entry.max_timestamp = reader.Get<int64_t>();
  entry.payload_crc = reader.Get<uint32_t>();
  entry.chain = reader.Get<uint32_t>();
  header.log_bytes = reader.Get<int64_t>();
  header.segment_max_timestamp = reader.Get<int64_t>();
  header.payload_bytes = reader.Get<uint32_t>();
  const auto crc = reader.Get<uint32_t>();
  if (crc != HeaderCrc(value.data())) return absl::DataLossError("an entry's header does not match its checksum");
  if (version != kHeaderVersion || !IsEntryType(type) || placed > 1) {
    return absl::DataLossError(absl::StrCat("an entry of version ", version, ", type ", type, " and place ", placed,
                                            ", which this release does not know"));
  }
  entry.type = static_cast<EntryType>(type);
  header.placed = placed == 1;
  const size_t wanted = header.placed ? kPlaceBytes : header.payload_bytes;
  if (wanted != value.size() - kStoredHeaderBytes) {
    return absl::DataLossError(absl::StrCat("an entry has ", value.size() - kStoredHeaderBytes,
                                            " bytes behind its header, which says ", wanted));
  }
  return header;
}

bool HasPlace(std::string_view value) { return value.size() == kPlacedValueBytes && value[kPlacedAt] == 1; }

uint32_t PayloadBytesUnchecked(std::string_view value) {
  return LittleEndianReader(value.substr(kPayloadBytesAt)).Get<uint32_t>();
}

void EncodePlace(const PayloadPlace& place, char* out) {
  LittleEndianWriter writer(out);
  writer.Put<uint64_t>(place.file).Put<uint64_t>(place.offset);
  writer.Put<uint32_t>(Crc32c(0, std::string_view(out, kPlaceCrcAt)));
}

absl::StatusOr<PayloadPlace> DecodePlace(std::string_view value) {
  const std::string_view bytes = value.substr(kStoredHeaderBytes);
  LittleEndianReader reader(bytes);
  PayloadPlace place;
  place.file = reader.Get<uint64_t>();
  place.offset = reader.Get<uint64_t>();
  const auto crc = reader.Get<uint32_t>();
  if (!reader.complete() || crc != Crc32c(0, bytes.substr(0, kPlaceCrcAt))) {
    return absl::DataLossError("the place of an entry's payload does not match its checksum");
  }
  return place;
}

std::optional<StoredHeader> MendHeader(std::string_view value, raft::LogIndex index, raft::Offset base_offset,
                                       uint32_t previous_chain) {
  if (value.size() < kStoredHeaderBytes) return std::nullopt;
  std::string mended(value);
  for (size_t at = 0; at < kStoredHeaderBytes; ++at) {
    for (int byte = 0; byte < 256; ++byte) {
      mended[at] = static_cast<char>(byte);
      absl::StatusOr<StoredHeader> header = DecodeHeader(mended);
      if (header.ok() && header->entry.index == index && header->entry.base_offset == base_offset &&
          header->entry.chain == ChainDigest(previous_chain, header->entry)) {
        return *header;
      }
    }
    mended[at] = value[at];
  }
  return std::nullopt;
}

uint32_t ChainDigest(uint32_t previous_chain, const EntryHeader& header) {
  char bytes[52];
  LittleEndianWriter writer(bytes);
  writer.Put<uint32_t>(static_cast<uint32_t>(header.type))
      .Put<int32_t>(header.record_count)
      .Put<int64_t>(header.term.value())
      .Put<int64_t>(header.index.value())
      .Put<int64_t>(header.base_offset.value())
      .Put<int64_t>(header.append_time)
      .Put<int64_t>(header.max_timestamp)
      .Put<uint32_t>(header.payload_crc);
  MILLRACE_CHECK(writer.end() == bytes + sizeof(bytes));
  return Crc32c(previous_chain, std::string_view(bytes, sizeof(bytes)));
}

}  // namespace millrace::storage
