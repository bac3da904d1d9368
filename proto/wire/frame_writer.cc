#include "proto/wire/frame_writer.h"

#include <utility>

#include "proto/wire/utf8.h"

namespace millrace::internal {

void FrameWriter::String(uint32_t field, std::string_view text) {
  if (text.empty()) return;
  if (!IsUtf8(text)) [[unlikely]]
    return String(field, MakeUtf8(text));
  buffer_.SetEnd(WriteBytes(buffer_.Reserve(BytesFieldBytes(text.size())), field, text));
}

void FrameWriter::Packed(uint32_t field, const std::vector<uint64_t>& values) {
  if (values.empty()) return;
  Message(field, [&] {
    for (const uint64_t value : values) buffer_.SetEnd(WriteVarint(buffer_.Reserve(kVarintBytesMax), value));
  });
}

void FrameWriter::Shared(uint32_t field, absl::Cord bytes) {
  if (bytes.empty()) return;
  char* p = buffer_.Reserve(kTagBytes + kVarintBytesMax);
  *p++ = static_cast<char>(Tag(field, kBytes));
  buffer_.SetEnd(WriteVarint(p, bytes.size()));
  shared_bytes_ += bytes.size();
  shared_.push_back({buffer_.size(), std::move(bytes)});
}

void FrameWriter::CloseMessage(const Open& open) {
  const size_t written = buffer_.size() - open.begin;
  const uint64_t length = written + (shared_bytes_ - open.shared_bytes);
  const size_t more = VarintBytes(length) - 1;
  if (more != 0) {
    char* end = buffer_.Reserve(more);
    char* begin = buffer_.data() + open.begin;
    std::memmove(begin + more, begin, written);
    buffer_.SetEnd(end + more);
    for (size_t i = open.shared_count; i < shared_.size(); ++i) shared_[i].at += more;
  }
  WriteVarint(buffer_.data() + open.begin - 1, length);
}

absl::Cord FrameWriter::ToCord() && {
  if (shared_.empty()) return std::move(buffer_).ToCord();
  absl::Cord result;
  size_t done = 0;
  for (SharedPart& part : shared_) {
    result.Append(absl::string_view(buffer_.data() + done, part.at - done));
    result.Append(std::move(part.cord));
    done = part.at;
  }
  result.Append(absl::string_view(buffer_.data() + done, buffer_.size() - done));
  return result;
}

}  // namespace millrace::internal
