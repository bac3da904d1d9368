#include "proto/wire/cord_reader.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "proto/wire/utf8.h"

namespace millrace::internal {

uint32_t CordReader::Fail(const char* cause) {
  if (ok()) {
    failed_ = cause;
    failed_at_ = total_ - unread();
  }
  chunk_ = p_ = end_ = nullptr;
  after_chunk_ = behind_limit_ = 0;
  return 0;
}

absl::Status CordReader::status(const char* what) const {
  if (ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("not a ", what, ": ", failed_, " at byte ", failed_at_, " of ", total_));
}

void CordReader::LoadChunk() {
  if (after_chunk_ == 0) {
    chunk_ = p_ = end_ = nullptr;
    return;
  }
  const absl::string_view chunk = absl::Cord::ChunkRemaining(iterator_);
  chunk_ = p_ = chunk.data();
  end_ = p_ + chunk.size();
  after_chunk_ -= chunk.size();
}

void CordReader::Sync() {
  absl::Cord::Advance(&iterator_, static_cast<size_t>(p_ - chunk_));
  chunk_ = p_;
}

void CordReader::SkipToOtherChunk(size_t n) {
  const size_t left = unread() - n;
  absl::Cord::Advance(&iterator_, static_cast<size_t>(p_ - chunk_) + n);
  after_chunk_ = left;
  LoadChunk();
}

uint64_t CordReader::VarintNearChunkEnd() {
  char bytes[kVarintBytesMax];
  const size_t size = std::min(kVarintBytesMax, remaining());
  size_t used = 0;
  while (used < size) {
    bytes[used] = *p_;
    SkipBytes(1);
    if (static_cast<uint8_t>(bytes[used++]) < 0x80) break;
  }
  uint64_t value = 0;
  if (ReadVarint(bytes, bytes + used, value) == nullptr) return Fail();
  return value;
}

void CordReader::CopyNearChunkEnd(char* out, size_t size) {
  if (remaining() < size) return void(Fail());
  for (char* p = out; p < out + size; ++p) {
    *p = *p_;
    SkipBytes(1);
  }
}

void CordReader::String(std::string* out) {
  size_t left = Length();
  out->clear();
  while (left > 0) {
    const size_t n = std::min(left, static_cast<size_t>(end_ - p_));
    out->append(p_, n);
    SkipBytes(n);
    left -= n;
  }
  if (!IsUtf8(*out)) Fail();
}

void CordReader::AppendTo(absl::Cord* out) {
  const size_t length = Length();
  if (length == 0) return;
  Sync();
  const size_t left = unread() - length;
  if (out->empty()) {
    *out = absl::Cord::AdvanceAndRead(&iterator_, length);
  } else {
    out->Append(absl::Cord::AdvanceAndRead(&iterator_, length));
  }
  after_chunk_ = left;
  LoadChunk();
}

void CordReader::AppendPackedTo(std::vector<uint64_t>* out) {
  Message([&] {
    while (remaining() > 0) AppendTo(out);
  });
}

void CordReader::Skip(uint32_t tag) {
  switch (tag & 7) {
    case kVarint:
      Varint();
      return;
    case kFixed64:
      SkipBytes(8);
      return;
    case kFixed32:
      SkipBytes(4);
      return;
    case kBytes:
      SkipBytes(Length());
      return;
    default:
      Fail();
  }
}

}  // namespace millrace::internal
