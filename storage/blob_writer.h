// A blob file as RocksDB writes it, less the values that already lie in a WAL file.
//
// Follows what RocksDB appends: a header, then records `key_bytes(8) value_bytes(8) expiration(8) header_crc(4) blob_crc(4) key
// value`, then a footer (db/blob/blob_log_format.h of RocksDB 7.8.3). A record's checksum covers key and value, as
// WalValue::crc does: where key, length and checksum are those of a place in a WAL file, the value's bytes are dropped and the
// place is remembered. At anything unexpected the rest is kept as RocksDB wrote it.
//
// Not thread-safe, as no FSWritableFile is.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <rocksdb/file_system.h>

#include "storage/blob_extents.h"
#include "storage/wal_values.h"

namespace millrace::storage {

class BlobWriter : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  // Called when the file is complete and on the disk.
  using Finished = std::function<void(std::shared_ptr<const BlobFile>)>;

  BlobWriter(uint64_t number, std::unique_ptr<rocksdb::FSWritableFile> file, WalValues& wals, Finished finished);
  // Gives back what an unfinished file has pinned.
  ~BlobWriter() override;

  rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                           rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                           const rocksdb::DataVerificationInfo& info, rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus Flush(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus Sync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus Fsync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus Close(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus RangeSync(uint64_t offset, uint64_t bytes, const rocksdb::IOOptions& options,
                              rocksdb::IODebugContext* dbg) override;
  uint64_t GetFileSize(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg) override;
  // RocksDB's offsets are not those of the file.
  void PrepareWrite(size_t, size_t, const rocksdb::IOOptions&, rocksdb::IODebugContext*) override {}
  rocksdb::IOStatus Allocate(uint64_t, uint64_t, const rocksdb::IOOptions&, rocksdb::IODebugContext*) override;

 private:
  enum class Part { kFileHeader, kRecordHeader, kKey, kKeptValue, kLeftOutValue, kRest };

  void Follow(std::string_view bytes);
  void BeginPart(Part part, uint64_t bytes);
  void EndPart();
  void EndRecordHeader();
  void BeginValue();
  rocksdb::IOStatus WriteKept(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg);
  // Once, whether it works or not: a sync that failed and is tried again would say that all is well.
  rocksdb::IOStatus End(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg);
  // Writes the table and syncs all that the file rests on.
  rocksdb::IOStatus WriteEnd(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg);
  // Has the values of WAL files of which little else is wanted moved to this one. The WAL files that stay in use.
  rocksdb::IOStatus MoveValues(std::vector<uint64_t>* wals, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* dbg);
  rocksdb::IOStatus SyncWals(const std::vector<uint64_t>& wals);
  BlobTrailer AppendTable(const std::vector<uint64_t>& wals);

  const uint64_t number_;
  WalValues& wals_;
  const Finished finished_;

  // Following RocksDB.
  Part part_ = Part::kFileHeader;
  uint64_t left_ = 0;    // of the part
  std::string current_;  // of the part, if it is looked at
  uint64_t value_bytes_ = 0;
  uint32_t value_crc_ = 0;

  uint64_t offset_ = 0;              // as RocksDB sees the file
  uint64_t kept_bytes_ = 0;          // of those, in the file itself, with what is still in kept_
  std::string kept_;                 // to be written
  std::vector<BlobExtent> extents_;  // until the end `wal` is a place in wals_used_
  std::vector<uint64_t> wals_used_;
  std::set<uint64_t> pinned_;
  std::optional<rocksdb::IOStatus> ended_;
};

}  // namespace millrace::storage
