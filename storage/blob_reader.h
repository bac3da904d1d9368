// A blob file with extents, as the one file that RocksDB knows.
//
// A read of a whole value is one call to the kernel. Memory: four bytes for 64 extents.
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <rocksdb/file_system.h>

#include "storage/blob_extents.h"
#include "storage/open_files.h"
#include "storage/wal_values.h"

namespace millrace::storage {

// Reads how a blob file ends; `*blob` is set if with extents.
rocksdb::IOStatus ReadBlobFile(uint64_t number, const std::string& path, uint64_t file_bytes, OpenFiles& files,
                               BlobEnding* ending, std::shared_ptr<const BlobFile>* blob);

class BlobReader : public rocksdb::FSRandomAccessFile {
 public:
  // Reads and checks the table of extents; keeps every 64th in memory.
  static rocksdb::IOStatus Open(std::shared_ptr<const BlobFile> blob, std::string path, WalValues& wals,
                                OpenFiles& files, std::unique_ptr<rocksdb::FSRandomAccessFile>* reader);

  rocksdb::IOStatus Read(uint64_t offset, size_t bytes, const rocksdb::IOOptions& options, rocksdb::Slice* result,
                         char* scratch, rocksdb::IODebugContext* dbg) const override;

 private:
  using Extents = std::vector<BlobExtent>;

  BlobReader(std::shared_ptr<const BlobFile> blob, std::string path, WalValues& wals, OpenFiles& files)
      : blob_(std::move(blob)), path_(std::move(path)), wals_(wals), files_(files) {}

  rocksdb::IOStatus LoadIndex();
  // Fills as much as lies together, and says how much that was.
  rocksdb::IOStatus ReadPiece(uint64_t offset, size_t bytes, char* out, size_t* read) const;
  // The run of extents that has the last one at or before `offset`, and the one after it.
  rocksdb::IOStatus RunFor(uint64_t offset, std::shared_ptr<const Extents>* extents) const;
  rocksdb::IOStatus ReadFile(uint64_t offset, size_t bytes, char* out) const;
  rocksdb::IOStatus ReadExtent(const BlobExtent& extent, uint64_t skip, size_t bytes, char* out) const;

  const std::shared_ptr<const BlobFile> blob_;
  const std::string path_;
  WalValues& wals_;
  OpenFiles& files_;
  std::vector<uint32_t> run_offsets_;  // of the first extent of each run

  mutable std::mutex mutex_;
  // Guarded by mutex_: of the last read, for the next one.
  mutable size_t last_run_ = 0;
  mutable std::shared_ptr<const Extents> last_extents_;
};

}  // namespace millrace::storage
