// A file system that records what is done to one directory (flat, as a store's is) while it does it. RocksDB's info log and
// lock file, which carry nothing, stay out of the record.
//
//     auto files = std::make_shared<RecordingFileSystem>(directory);   // what is in there already counts as synced
//     options.file_system = files;
//     ... use the store, destroy it ...
//     BuildImage(files->log(), image, another_directory);
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <rocksdb/file_system.h>

#include "storage/file_system.h"
#include "tests/storage/disk_log.h"

namespace millrace::storage {

class RecordingFileSystem : public rocksdb::FileSystemWrapper {
 public:
  explicit RecordingFileSystem(std::string directory);

  // A mistake to be found: from position `from` on, syncs of these files, or of directories, do nothing but report success.
  void SwallowSyncs(std::optional<FileKind> kind, size_t from = 0);

  // Operations recorded so far: what is done later has this position or a higher one.
  size_t position() const;
  DiskLog log() const;

  const char* Name() const override { return "recording"; }
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
  rocksdb::IOStatus NewRandomRWFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSRandomRWFile>* file,
                                    rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus NewDirectory(const std::string& path, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* directory,
                                 rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus LinkFile(const std::string& path, const std::string& new_path, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus Truncate(const std::string& path, size_t size, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* dbg) override;

 private:
  class File;
  class Directory;

  bool Swallows(std::optional<FileKind> kind) const;
  // Within the directory; nothing if it lies elsewhere or is not recorded.
  std::optional<std::string> NameOf(const std::string& path) const;
  void Wrap(const std::string& path, bool emptied, std::unique_ptr<rocksdb::FSWritableFile>* file);
  void RecordBase();
  uint32_t RecordNewFile(const std::string& name);
  void RecordWrite(uint32_t file, std::optional<uint64_t> offset, const rocksdb::Slice& data);
  void RecordTruncate(uint32_t file, uint64_t size);
  void RecordSync(uint32_t file, size_t begun);
  void RecordSyncDirectory(const std::string& name, size_t begun);

  struct Swallowed {
    std::optional<FileKind> kind;  // nothing: directories
    size_t from;
  };

  const std::string directory_;

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  DiskLog log_;
  std::map<std::string, uint32_t> names_;
  std::vector<uint64_t> sizes_;  // of files
  std::optional<Swallowed> swallowed_;
};

}  // namespace millrace::storage
