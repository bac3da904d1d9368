// Records from a file, a pipe or a terminal: lines, or length-prefixed values.
//
//     absl::StatusOr<std::unique_ptr<ByteSource>> source = OpenInput("events.jsonl.gz");
//     RecordInput input(std::move(*source), Framing::kLines);
//     while (input.Next()) Use(input.record());
//     if (!input.status().ok()) ...  // kCancelled: interrupted, or woken by WakeReaders()
//
// Reads with large read(2) calls and hands out views into the one buffer; nothing is allocated per record. Whatever a read
// returned is handed out before the next one, so a pipe's lines do not wait for each other.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace millrace::cli {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // At least one byte, or 0 at the end. kCancelled when woken while waiting, kUnknown and kDataLoss when reading failed.
  virtual absl::StatusOr<size_t> Read(char* to, size_t size) = 0;
  // Share of the input that was read, 0 to 1; nullopt for pipes and terminals.
  virtual std::optional<double> Fraction() const = 0;
};

// "-" is standard input; a name that ends in .gz is unpacked on the way.
absl::StatusOr<std::unique_ptr<ByteSource>> OpenInput(const std::string& name);

enum class Framing {
  kLines,           // a record ends at \n, which is not part of it; the last one needs none
  kLengthPrefixed,  // 4 bytes length (signed, big-endian), then so many bytes; -1 is a null value
};

// Longest record: the largest max.message.bytes there can be.
inline constexpr size_t kRecordBytesMax = size_t{64} << 20;

class RecordInput {
 public:
  RecordInput(std::unique_ptr<ByteSource> source, Framing framing);

  // False at the end or on an error: see status().
  bool Next();
  // Valid until the next call of Next(). nullopt: null.
  const std::optional<std::string_view>& record() const { return record_; }
  // Of record(), counted from 1.
  int64_t number() const { return number_; }
  // OK at the end. kInvalidArgument: record number() + 1 is wrong, and the text continues "line 7 ...". Others: from the source.
  const absl::Status& status() const { return status_; }
  std::optional<double> Fraction() const { return source_->Fraction(); }

 private:
  bool NextLine();
  bool NextPrefixed();
  // Reads on behind the bytes not yet handed out. False at the end or on an error.
  bool Fill();
  size_t rest() const { return end_ - begin_; }

  std::unique_ptr<ByteSource> source_;
  Framing framing_;
  std::unique_ptr<char[]> buffer_;
  size_t capacity_;
  size_t begin_ = 0;  // [begin_, end_) was read and not handed out
  size_t end_ = 0;
  bool at_end_ = false;
  std::optional<std::string_view> record_;
  int64_t number_ = 0;
  absl::Status status_;
};

}  // namespace millrace::cli
