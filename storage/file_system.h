// The file system that all files of a store go through: counts what is written, by the kind of file.
//
//     auto files = std::make_shared<StoreFileSystem>(rocksdb::FileSystem::Default());
//     options.env = (env = rocksdb::NewCompositeEnv(files)).get();
//     files->written(FileKind::kWal).bytes
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <rocksdb/file_system.h>

namespace millrace::storage {

enum class FileKind { kWal, kBlob, kSst, kManifest, kOther };
inline constexpr size_t kFileKinds = 5;

// By its name, as RocksDB names its files.
FileKind KindOfFile(std::string_view path);

class StoreFileSystem : public rocksdb::FileSystemWrapper {
 public:
  struct Written {
    std::atomic<uint64_t> bytes{0};
    std::atomic<uint64_t> syncs{0};
  };

  explicit StoreFileSystem(const std::shared_ptr<rocksdb::FileSystem>& target) : rocksdb::FileSystemWrapper(target) {}

  const Written& written(FileKind kind) const { return written_[static_cast<size_t>(kind)]; }

  const char* Name() const override { return "millrace"; }
  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                       std::unique_ptr<rocksdb::FSWritableFile>* file,
                                       rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus ReuseWritableFile(const std::string& path, const std::string& old_path,
                                      const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSWritableFile>* file,
                                      rocksdb::IODebugContext* dbg) override;

 private:
  void Wrap(const std::string& path, std::unique_ptr<rocksdb::FSWritableFile>* file);

  std::array<Written, kFileKinds> written_;
};

}  // namespace millrace::storage
