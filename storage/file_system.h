// The file system that all files of a store go through: counts what is written and what there is, by the kind of file, and keeps
// names in order where RocksDB relies on the disk for it.
//
//     auto files = std::make_shared<StoreFileSystem>(rocksdb::FileSystem::Default());
//     files->CountFilesOf(directory);                          // those there are; from then on it sees them come and go
//     options.env = (env = rocksdb::NewCompositeEnv(files)).get();
//     files->written(FileKind::kWal).bytes
//     files->held(FileKind::kWal).bytes
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <rocksdb/file_system.h>

namespace millrace::storage {

enum class FileKind { kWal, kKeptWal, kMoved, kSst, kManifest, kOther };
inline constexpr size_t kFileKinds = 6;

// By its name, as RocksDB names its files.
FileKind KindOfFile(std::string_view path);

// Names given, changed and removed in the directory so far are on the disk.
rocksdb::IOStatus SyncDirectory(rocksdb::FileSystem& files, const std::string& path);

// 000123.payloads and the like: RocksDB's way of naming files.
std::string NumberedFile(const std::string& directory, uint64_t number, std::string_view suffix);
// The number, if the last part of `path` is a number and `suffix`.
std::optional<uint64_t> FileNumber(std::string_view path, std::string_view suffix);

inline constexpr std::string_view kWalSuffix = ".log";
inline constexpr std::string_view kNextWalName = "next-wal";  // made ahead, without content: spare_file.h
inline constexpr std::string_view kKeptWalSuffix = ".payloads";
inline constexpr std::string_view kMovedSuffix = ".moved";
inline constexpr std::string_view kSstSuffix = ".sst";

class StoreFileSystem : public rocksdb::FileSystemWrapper {
 public:
  struct Written {
    std::atomic<uint64_t> bytes{0};
    std::atomic<uint64_t> syncs{0};
  };

  // What there is now. Sizes are of what is written through here, not of what is preallocated.
  struct Held {
    std::atomic<uint64_t> files{0};
    std::atomic<uint64_t> bytes{0};
  };

  explicit StoreFileSystem(const std::shared_ptr<rocksdb::FileSystem>& target) : rocksdb::FileSystemWrapper(target) {}

  const Written& written(FileKind kind) const { return written_[static_cast<size_t>(kind)]; }

  const Held& held(FileKind kind) const { return held_[static_cast<size_t>(kind)]; }

  // Once, before anything else is asked of it. A directory that cannot be read counts as empty.
  void CountFilesOf(const std::string& directory);
  // The WAL file made last by this process, and the one made before it; 0: none. Both may be older when another is just being made.
  struct NewestWals {
    uint64_t newest = 0;
    uint64_t previous = 0;
  };
  NewestWals newest_wals() const;

  // From now on a WAL file that is to be read gives `status`.
  void RefuseWals(const rocksdb::IOStatus& status) { wals_refused_ = status; }

  const char* Name() const override { return "millrace"; }
  rocksdb::IOStatus NewSequentialFile(const std::string& path, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSSequentialFile>* file,
                                      rocksdb::IODebugContext* dbg) override;
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
  // The name CURRENT comes after all names given before: opening a store RocksDB writes files, a manifest that lists them,
  // and renames, with no sync of the directory in between. On a disk that keeps the rename only, the store would not open.
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus Truncate(const std::string& path, size_t size, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* dbg) override;

 private:
  void Wrap(const std::string& path, std::unique_ptr<rocksdb::FSWritableFile>* file);
  uint64_t SizeOf(const std::string& path);

  std::array<Written, kFileKinds> written_;
  std::array<Held, kFileKinds> held_;
  std::atomic<uint64_t> newest_wal_{0};
  std::atomic<uint64_t> previous_wal_{0};  // changed before newest_wal_
  rocksdb::IOStatus wals_refused_;         // set while the database is being opened, by the thread that opens it
};

}  // namespace millrace::storage
