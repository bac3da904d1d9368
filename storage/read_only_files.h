// A file system through which nothing can be changed, whatever RocksDB takes upon itself while it only reads a store.
#pragma once

#include <memory>
#include <string>

#include <rocksdb/file_system.h>

namespace millrace::storage {

class ReadOnlyFiles : public rocksdb::FileSystemWrapper {
 public:
  using rocksdb::FileSystemWrapper::FileSystemWrapper;

  const char* Name() const override { return "millrace-read-only"; }
  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions&,
                                    std::unique_ptr<rocksdb::FSWritableFile>*, rocksdb::IODebugContext*) override {
    return Refuse(path);
  }
  rocksdb::IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions&,
                                       std::unique_ptr<rocksdb::FSWritableFile>*, rocksdb::IODebugContext*) override {
    return Refuse(path);
  }
  rocksdb::IOStatus ReuseWritableFile(const std::string& path, const std::string&, const rocksdb::FileOptions&,
                                      std::unique_ptr<rocksdb::FSWritableFile>*, rocksdb::IODebugContext*) override {
    return Refuse(path);
  }
  rocksdb::IOStatus NewRandomRWFile(const std::string& path, const rocksdb::FileOptions&,
                                    std::unique_ptr<rocksdb::FSRandomRWFile>*, rocksdb::IODebugContext*) override {
    return Refuse(path);
  }
  rocksdb::IOStatus RenameFile(const std::string& path, const std::string&, const rocksdb::IOOptions&,
                               rocksdb::IODebugContext*) override {
    return Refuse(path);
  }
  rocksdb::IOStatus LinkFile(const std::string& path, const std::string&, const rocksdb::IOOptions&,
                             rocksdb::IODebugContext*) override {
    return Refuse(path);
  }
  rocksdb::IOStatus Truncate(const std::string& path, size_t, const rocksdb::IOOptions&,
                             rocksdb::IODebugContext*) override {
    return Refuse(path);
  }
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions&, rocksdb::IODebugContext*) override {
    return Refuse(path);
  }
  rocksdb::IOStatus CreateDir(const std::string& path, const rocksdb::IOOptions&, rocksdb::IODebugContext*) override {
    return Refuse(path);
  }
  rocksdb::IOStatus DeleteDir(const std::string& path, const rocksdb::IOOptions&, rocksdb::IODebugContext*) override {
    return Refuse(path);
  }

 private:
  static rocksdb::IOStatus Refuse(const std::string& path) {
    return rocksdb::IOStatus::NotSupported(path, "is only read");
  }
};

}  // namespace millrace::storage
