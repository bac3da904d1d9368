// Moves payloads into files of their own, for one flush or compaction: one mover is one thread's.
//
//     PayloadMover mover(payloads, 256 << 10);
//     std::optional<PayloadPlace> place = mover.Move({123, 4711}, 65536);    // nothing: it stays where it is
//
// The files end with the mover; by then the tables that refer to them must have pinned them. A file has 64 MiB at most. Keys come
// in order, so each holds payloads of few logs, and those tend to be removed together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <rocksdb/file_system.h>

#include "storage/payload_files.h"

namespace millrace::storage {

class PayloadMover {
 public:
  // `payloads` outlives it. What is written is handed to the disk every `piece_bytes`; 0: when it is synced.
  PayloadMover(PayloadFiles& payloads, size_t piece_bytes) : payloads_(payloads), piece_bytes_(piece_bytes) {}
  PayloadMover(const PayloadMover&) = delete;
  PayloadMover& operator=(const PayloadMover&) = delete;
  ~PayloadMover();

  // A payload that cannot be read stays, and who reads it is told. What cannot be written stays, too, and the table being made
  // cannot be synced: the store fails.
  std::optional<PayloadPlace> Move(const PayloadPlace& from, size_t bytes);

 private:
  rocksdb::IOStatus Begin();
  rocksdb::IOStatus Append(const rocksdb::Slice& payload);
  void Close();

  PayloadFiles& payloads_;
  const size_t piece_bytes_;
  std::vector<uint64_t> begun_;  // the last one is being written
  std::unique_ptr<rocksdb::FSWritableFile> file_;
  std::shared_ptr<SharedFile> shared_;  // of file_
  uint64_t handed_over_ = 0;            // to the disk, of file_
  std::string payload_;
  bool failed_ = false;
};

}  // namespace millrace::storage
