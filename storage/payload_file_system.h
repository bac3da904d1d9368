// The file system that a store's RocksDB sees. It tells PayloadFiles what becomes of the write-ahead log's files and of the tables
// (SST files) that refer to them, and keeps the order on the disk: the log before a table that refers to it.
//
//     auto files = std::make_shared<PayloadFileSystem>(directory, beneath, FileRemover::kPieceBytes);
//     options.env = (env = rocksdb::NewCompositeEnv(files)).get();
//
// For one database whose files are all in `directory`, of one process at a time, with the options that README.md names
// ("What relies on RocksDB").
//
// Thread-safe.
#pragma once

#include <memory>
#include <string>

#include <rocksdb/file_system.h>

#include "storage/payload_files.h"

namespace millrace::storage {

class PayloadFileSystem : public rocksdb::FileSystemWrapper {
 public:
  PayloadFileSystem(std::string directory, const std::shared_ptr<rocksdb::FileSystem>& beneath,
                    uint64_t removal_piece_bytes)
      : rocksdb::FileSystemWrapper(beneath), payloads_(std::move(directory), *beneath, removal_piece_bytes) {}

  PayloadFiles& payloads() { return payloads_; }

  const char* Name() const override { return "millrace-payloads"; }
  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus NewSequentialFile(const std::string& path, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSSequentialFile>* file,
                                      rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* dbg) override;

 private:
  PayloadFiles payloads_;
};

}  // namespace millrace::storage
