// Writes a protobuf message whose large parts are Cords that are shared, not copied.
//
//     FrameWriter out;
//     out.Integer(1, id);                       // left out when 0, as proto3 does
//     out.Message(15, [&] { out.String(2, topic); out.Shared(15, batch); });
//     return std::move(out).ToCord();
//
// All fields have numbers below 16.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "absl/strings/cord.h"
#include "proto/wire/varint.h"
#include "proto/wire/write_buffer.h"

namespace millrace::internal {

class FrameWriter {
 public:
  // Any of protobuf's plain varints; negative ones take ten bytes.
  void Integer(uint32_t field, int64_t value) {
    if (value != 0) PresentInteger(field, value);
  }
  // For fields with presence: written even when 0.
  void PresentInteger(uint32_t field, int64_t value) {
    char* p = buffer_.Reserve(kTagBytes + kVarintBytesMax);
    *p++ = static_cast<char>(Tag(field, kVarint));
    buffer_.SetEnd(WriteVarint(p, static_cast<uint64_t>(value)));
  }

  void Fixed32(uint32_t field, uint32_t value) { Fixed(field, internal::kFixed32, value); }
  void Fixed64(uint32_t field, uint64_t value) { Fixed(field, internal::kFixed64, value); }

  // Left out when empty. Bytes that are not UTF-8 become '?': they would make the whole message unreadable.
  void String(uint32_t field, std::string_view text);

  void Packed(uint32_t field, const std::vector<uint64_t>& values);

  // Bytes, or a submessage already serialized; left out when empty.
  void Shared(uint32_t field, absl::Cord bytes);

  // A submessage with the fields that `body()` writes.
  template <typename Body>
  void Message(uint32_t field, Body&& body) {
    char* p = buffer_.Reserve(kTagBytes + 1);
    *p++ = static_cast<char>(Tag(field, kBytes));
    buffer_.SetEnd(p + 1);  // room for a length below 128; CloseMessage makes more where needed
    const Open open{buffer_.size(), shared_bytes_, shared_.size()};
    body();
    CloseMessage(open);
  }

  // Of all that was written, what is shared included.
  size_t bytes() const { return buffer_.size() + shared_bytes_; }

  absl::Cord ToCord() &&;

 private:
  template <typename Value>
  void Fixed(uint32_t field, WireType type, Value value) {
    if (value == 0) return;
    char* p = buffer_.Reserve(kTagBytes + sizeof(value));
    *p++ = static_cast<char>(Tag(field, type));
    std::memcpy(p, &value, sizeof(value));
    buffer_.SetEnd(p + sizeof(value));
  }

  // State where a submessage's fields began.
  struct Open {
    size_t begin;
    size_t shared_bytes;
    size_t shared_count;
  };
  void CloseMessage(const Open& open);

  struct SharedPart {
    size_t at;  // in buffer_
    absl::Cord cord;
  };

  WriteBuffer buffer_;
  std::vector<SharedPart> shared_;  // by place
  size_t shared_bytes_ = 0;
};

}  // namespace millrace::internal
