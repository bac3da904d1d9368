// The file system that keeps RocksDB from writing large values twice: what a flush writes to a blob file is, where the same
// bytes already lie in a WAL file, replaced by a reference to them, and the WAL file stays as long as it is referred to.
//
//     auto files = std::make_shared<ValueOnceFileSystem>(directory, beneath, /*enabled=*/true);
//     rocksdb::IOStatus status = files->Load();     // before DB::Open
//     options.env = (env = rocksdb::NewCompositeEnv(files)).get();
//
// RocksDB knows nothing of it: a blob file has the size and the bytes that it wrote. For one database whose files are all in
// `directory`, of one process at a time, with WAL recycling and WAL compression off. When it is not `enabled`, values are written
// as RocksDB asks, and everything that is there stays readable and goes when it is due. README.md has the reasons, and the order
// of syncs.
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>

#include <rocksdb/file_system.h>

#include "storage/blob_extents.h"
#include "storage/open_files.h"
#include "storage/wal_values.h"

namespace millrace::storage {

class ValueOnceFileSystem : public rocksdb::FileSystemWrapper {
 public:
  ValueOnceFileSystem(std::string directory, const std::shared_ptr<rocksdb::FileSystem>& beneath, bool enabled);

  // Learns what the blob files there refer to. Before anything else.
  rocksdb::IOStatus Load();

  const char* Name() const override { return "millrace-value-once"; }
  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus NewSequentialFile(const std::string& path, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSSequentialFile>* file,
                                      rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus NewRandomAccessFile(const std::string& path, const rocksdb::FileOptions& options,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
                                        rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus GetFileSize(const std::string& path, const rocksdb::IOOptions& options, uint64_t* bytes,
                                rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* dbg) override;
  // Values reach a blob file without a copy into a buffer before it.
  rocksdb::FileOptions OptimizeForCompactionTableWrite(const rocksdb::FileOptions& options,
                                                       const rocksdb::ImmutableDBOptions& db_options) const override;

 private:
  using BlobPointer = std::shared_ptr<const BlobFile>;

  rocksdb::IOStatus LoadBlob(uint64_t number);
  BlobPointer FindBlob(const std::string& path) const;
  void AddBlob(BlobPointer blob);
  // Gives back what it refers to.
  void RemoveBlob(uint64_t number);

  const std::string directory_;
  const bool enabled_;
  OpenFiles open_files_;
  WalValues wals_;
  mutable std::mutex mutex_;
  std::unordered_map<uint64_t, BlobPointer> blobs_;  // guarded by mutex_; those with extents
  std::set<uint64_t> unknown_blobs_;                 // guarded by mutex_; BlobEnding::kUnknown
};

}  // namespace millrace::storage
