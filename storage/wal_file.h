// The file system at the bottom of a store: as the machine's, but WAL files are written with one call and no copy for each
// record, and all but the first have their room on the disk found before they are begun.
//
//     options.file_system = std::make_shared<WalFileSystem>(rocksdb::FileSystem::Default());
//
// RocksDB gives a record's fragments to the file one by one, each as a header and data, or copies them together first into a
// buffer, once more than needed. So it asks for a small buffer (OptimizeForLogWrite), and what passes that by is gathered here
// until the record is complete: the data stays where RocksDB has it that long, in the batch. A record is complete when its last
// fragment is, by the fragments' headers (wal_format.h). What RocksDB takes for written and is not yet is at most part of one
// record, for which no sync was promised.
//
// The blocks that RocksDB wants allocated ahead are those of the next file, which is made meanwhile (spare_file.h). They are
// asked for once a file has an eighth of what it may hold: a store that is hardly written to takes none. A file that is begun
// before the next one was made has none either.
//
// Thread-safe as rocksdb::FSWritableFile is: one writer, syncs by any thread.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include <rocksdb/file_system.h>

#include "storage/spare_file.h"

namespace millrace::storage {

// What RocksDB may hand over out of a buffer that it uses again at once; larger pieces stay where they are.
inline constexpr size_t kWalBufferBytes = 4096;

class WalFileSystem : public rocksdb::FileSystemWrapper {
 public:
  // Outlives the files; all WAL files are in one directory, which stays locked until it is destroyed.
  explicit WalFileSystem(const std::shared_ptr<rocksdb::FileSystem>& target) : rocksdb::FileSystemWrapper(target) {}

  const char* Name() const override { return "millrace-wal"; }
  rocksdb::FileOptions OptimizeForLogWrite(const rocksdb::FileOptions& options,
                                           const rocksdb::DBOptions& db_options) const override;
  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* dbg) override;
  // RocksDB's own does not know how to.
  rocksdb::IOStatus Truncate(const std::string& path, size_t size, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* dbg) override;

 private:
  std::once_flag spare_made_;
  std::optional<SpareFile> spare_;  // beside the first WAL file
};

}  // namespace millrace::storage
