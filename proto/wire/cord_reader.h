// Reads protobuf fields out of a Cord: across chunks, without flattening, with payloads handed out as Cords that share its
// buffers.
//
//     CordReader in(message);
//     while (uint32_t tag = in.NextTag()) {
//       switch (tag) {
//         case Tag(1, kVarint): gap.from = in.Int64(); break;
//         case Tag(15, kBytes): in.AppendTo(&batch); break;
//         default: in.Skip(tag);
//       }
//     }
//     return in.status("Gap");
//
// Failure is sticky: after malformed bytes every read returns 0 and NextTag() ends the loop; status() tells at the end.
// Tags are compared whole, so a known field in an unknown wire type is skipped like an unknown field. Groups, which proto3 does
// not have, are malformed, as is whatever some language's stock parser refuses (needlessly long tags and lengths, numbers beyond
// 64 bits): what passes here goes to readers as it is, and one batch that they cannot parse would cost them the whole reply.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "proto/wire/frames.h"
#include "proto/wire/varint.h"

namespace millrace::internal {

class CordReader {
 public:
  // `cord` must outlive the reader.
  explicit CordReader(const absl::Cord& cord)
      : iterator_(cord.char_begin()), total_(cord.size()), after_chunk_(cord.size()) {
    LoadChunk();
  }

  // Bytes left in the current message.
  size_t remaining() const { return unread() - behind_limit_; }

  // 0 at the end of the current message and after a failure.
  uint32_t NextTag() {
    if (unread() <= behind_limit_) return 0;
    const size_t before = unread();
    const uint64_t tag = Varint();
    if (!IsTag(tag) || before - unread() > kVarint32BytesMax) [[unlikely]]
      return Fail();
    return static_cast<uint32_t>(tag);
  }

  uint64_t Varint() {
    // More than a varint's worth of bytes in this chunk: p_ stays before end_. Reading may have crossed the limit.
    if (end_ - p_ > static_cast<ptrdiff_t>(kVarintBytesMax)) [[likely]] {
      uint64_t value = 0;
      const char* next = ReadVarint(p_, end_, value);
      if (next == nullptr) [[unlikely]]
        return Fail();
      p_ = next;
      if (unread() < behind_limit_) [[unlikely]]
        return Fail();
      return value;
    }
    return VarintNearChunkEnd();
  }
  int64_t Int64() { return static_cast<int64_t>(Varint()); }
  int32_t Int32() { return static_cast<int32_t>(Varint()); }  // wider numbers are cut off, as protobuf does
  bool Bool() { return Varint() != 0; }
  uint32_t Fixed32() { return Fixed<uint32_t>(); }
  uint64_t Fixed64() { return Fixed<uint64_t>(); }

  // The length of a field's bytes, checked against what is left.
  size_t Length() {
    const size_t before = unread();
    const uint64_t length = Varint();
    if (length > remaining() || before - unread() > kVarint32BytesMax) [[unlikely]]
      return Fail();
    return static_cast<size_t>(length);
  }

  // A string; malformed unless UTF-8.
  void String(std::string* out);

  // The next Length() bytes, shared. Appending is how protobuf merges a message that comes in several pieces.
  void AppendTo(absl::Cord* out);

  // A field of bytes: the last one counts.
  void Bytes(absl::Cord* out) {
    out->Clear();
    AppendTo(out);
  }

  // One value of a repeated uint64, and a packed run of them.
  void AppendTo(std::vector<uint64_t>* out) { AddElement(out) = Varint(); }
  void AppendPackedTo(std::vector<uint64_t>* out);

  // A new element of a repeated field. Two bytes of a message can become a hundred in memory: past kElementsMax the message
  // is refused instead.
  template <typename T>
  T& AddElement(std::vector<T>* out) {
    if (out->size() >= kElementsMax) [[unlikely]] {
      Fail("too many elements in a repeated field");
      return out->back();
    }
    return out->emplace_back();
  }

  // Reads a submessage's length, and its fields by `body()`, whose NextTag() loop ends with the submessage.
  template <typename Body>
  void Message(Body&& body) {
    const size_t length = Length();
    const size_t outer_limit = behind_limit_;
    behind_limit_ = unread() - length;
    body();
    behind_limit_ = ok() ? outer_limit : 0;
  }

  // Skips the value of a field whose tag was read.
  void Skip(uint32_t tag);
  void SkipBytes(size_t n) {
    if (n > remaining()) [[unlikely]] {
      Fail();
    } else if (n < static_cast<size_t>(end_ - p_)) [[likely]] {
      p_ += n;
    } else {
      SkipToOtherChunk(n);
    }
  }

  // For what is protobuf and still not acceptable. `cause` is a literal.
  void Refuse(const char* cause) { Fail(cause); }

  bool ok() const { return failed_ == nullptr; }
  // kInvalidArgument names `what`, the cause and the place after a failure.
  absl::Status status(const char* what) const;

 private:
  size_t unread() const { return after_chunk_ + static_cast<size_t>(end_ - p_); }

  uint32_t Fail(const char* cause = "malformed protobuf");
  void LoadChunk();
  // Brings the iterator to p_, which the fast paths leave behind.
  void Sync();
  void SkipToOtherChunk(size_t n);
  uint64_t VarintNearChunkEnd();
  template <typename Value>
  Value Fixed() {
    Value value;
    if (static_cast<size_t>(end_ - p_) > sizeof(value) && remaining() >= sizeof(value)) [[likely]] {
      std::memcpy(&value, p_, sizeof(value));
      p_ += sizeof(value);
      return value;
    }
    char bytes[sizeof(value)] = {};
    CopyNearChunkEnd(bytes, sizeof(value));
    std::memcpy(&value, bytes, sizeof(value));
    return value;
  }
  void CopyNearChunkEnd(char* out, size_t size);

  absl::Cord::CharIterator iterator_;  // at chunk_
  size_t total_;
  size_t after_chunk_;           // bytes behind end_
  const char* chunk_ = nullptr;  // chunk_ <= p_ <= end_; p_ == end_ only at the end of the Cord
  const char* p_ = nullptr;
  const char* end_ = nullptr;
  size_t behind_limit_ = 0;       // bytes that belong to enclosing messages
  const char* failed_ = nullptr;  // the cause
  size_t failed_at_ = 0;
};

}  // namespace millrace::internal
