#include "absl/strings/str_cat.h"
#include "proto/wire/record_batch.h"
#include "proto/wire/varint.h"

namespace millrace {

using internal::kBytes;
using internal::kVarint;
using internal::ReadVarint;
using internal::SkipField;
using internal::Tag;

namespace {

constexpr int32_t kFormatRecords = 1;  // 0 means the same

// Reads a length and the bytes behind it; returns their end, or nullptr.
const char* ReadBytes(const char* p, const char* end, std::string_view& bytes) {
  uint64_t length = 0;
  p = ReadVarint(p, end, length);
  if (p == nullptr || length > static_cast<uint64_t>(end - p)) return nullptr;
  bytes = std::string_view(p, length);
  return p + length;
}

bool ReadHeader(std::string_view bytes, HeaderView& header) {
  const char* p = bytes.data();
  const char* end = p + bytes.size();
  while (p != nullptr && p != end) {
    uint64_t tag = 0;
    p = ReadVarint(p, end, tag);
    if (p == nullptr || !internal::IsTag(tag)) return false;
    if (tag == Tag(1, kBytes)) {
      p = ReadBytes(p, end, header.key);
    } else if (tag == Tag(2, kBytes)) {
      p = ReadBytes(p, end, header.value.emplace());
    } else {
      p = SkipField(p, end, tag);
    }
  }
  return p != nullptr;
}

}  // namespace

RecordReader::RecordReader(const BatchView& batch, Options options)
    : base_timestamp_(batch.header.base_timestamp), record_count_(batch.header.record_count) {
  status_ = Open(batch, options);
}

absl::Status RecordReader::Open(const BatchView& batch, const Options& options) {
  const BatchHeader& header = batch.header;
  if (options.check_crc && header.crc32c) {
    const uint32_t crc = ComputeBatchCrc(header, batch.payload);
    if (crc != *header.crc32c) {
      return absl::DataLossError(absl::StrCat("record batch is damaged: its CRC-32C is ",
                                              absl::Hex(crc, absl::kZeroPad8), ", its header says ",
                                              absl::Hex(*header.crc32c, absl::kZeroPad8)));
    }
  }
  if (header.payload_format != 0 && header.payload_format != kFormatRecords) {
    return absl::UnimplementedError(absl::StrCat("record batch has payload format ", header.payload_format,
                                                 ", this release reads format 1: use a newer client"));
  }
  absl::StatusOr<absl::Cord> payload =
      Decompress(header.codec, batch.payload, header.uncompressed_bytes, options.size_max);
  if (!payload.ok()) return payload.status();
  payload_ = *std::move(payload);

  if (auto flat = payload_.TryFlat()) {
    p_ = flat->data();
    end_ = p_ + flat->size();
  } else {
    // One copy costs less than looking for chunk boundaries at every field.
    flat_ = internal::WriteBuffer(payload_.size());
    for (absl::string_view chunk : payload_.Chunks()) flat_.Append({chunk.data(), chunk.size()});
    payload_.Clear();
    p_ = flat_.data();
    end_ = p_ + flat_.size();
  }
  return absl::OkStatus();
}

bool RecordReader::Fail(absl::Status status) {
  status_ = std::move(status);
  p_ = end_ = nullptr;
  return false;
}

bool RecordReader::Next() {
  if (!status_.ok()) return false;
  while (p_ != end_) {
    uint64_t tag = 0, length = 0;
    const char* p = ReadVarint(p_, end_, tag);
    if (p != nullptr && tag == Tag(1, kBytes)) [[likely]] {
      p = ReadVarint(p, end_, length);
      if (p != nullptr && length <= static_cast<uint64_t>(end_ - p)) [[likely]] {
        if (index_ + 1 >= record_count_) {
          return Fail(absl::DataLossError(
              absl::StrCat("record batch holds more records than the ", record_count_, " its header says")));
        }
        if (ReadRecord(p, p + length)) [[likely]] {
          p_ = p + length;
          ++index_;
          return true;
        }
      }
      p = nullptr;
    } else if (p != nullptr) {
      p = internal::IsTag(tag) ? SkipField(p, end_, tag) : nullptr;
    }
    if (p == nullptr) {
      return Fail(absl::InvalidArgumentError(
          absl::StrCat("record batch is malformed behind the first ", index_ + 1, " of ", record_count_, " records")));
    }
    p_ = p;
  }
  if (index_ + 1 != record_count_) {
    return Fail(absl::DataLossError(
        absl::StrCat("record batch holds ", index_ + 1, " records, its header says ", record_count_)));
  }
  return false;
}

bool RecordReader::ReadRecord(const char* p, const char* end) {
  uint64_t delta = 0;
  record_.key.reset();
  record_.value.reset();
  record_.headers.clear();
  while (p != end) {
    uint64_t tag = 0;
    p = ReadVarint(p, end, tag);
    if (p == nullptr) return false;
    if (tag == Tag(1, kVarint)) {
      p = ReadVarint(p, end, delta);
    } else if (tag == Tag(2, kBytes)) {
      p = ReadBytes(p, end, record_.key.emplace());
    } else if (tag == Tag(3, kBytes)) {
      p = ReadBytes(p, end, record_.value.emplace());
    } else if (tag == Tag(4, kBytes)) {
      std::string_view header;
      p = ReadBytes(p, end, header);
      if (p == nullptr || !ReadHeader(header, record_.headers.emplace_back())) return false;
    } else {
      p = internal::IsTag(tag) ? SkipField(p, end, tag) : nullptr;
    }
    if (p == nullptr) return false;
  }
  record_.timestamp =
      static_cast<int64_t>(static_cast<uint64_t>(base_timestamp_) + static_cast<uint64_t>(internal::UnZigZag(delta)));
  return true;
}

}  // namespace millrace
