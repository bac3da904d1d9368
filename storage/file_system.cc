#include "storage/file_system.h"

#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace millrace::storage {
namespace {

using rocksdb::DataVerificationInfo;
using rocksdb::FileOptions;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

class CountedFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  CountedFile(std::unique_ptr<FSWritableFile> file, StoreFileSystem::Written& written, StoreFileSystem::Held& held)
      : FSWritableFileOwnerWrapper(std::move(file)), written_(written), held_(held) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* dbg) override {
    return Count(data, target()->Append(data, options, dbg));
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const DataVerificationInfo& info,
                  IODebugContext* dbg) override {
    return Count(data, target()->Append(data, options, info, dbg));
  }
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            IODebugContext* dbg) override {
    return Count(data, target()->PositionedAppend(data, offset, options, dbg));
  }
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            const DataVerificationInfo& info, IODebugContext* dbg) override {
    return Count(data, target()->PositionedAppend(data, offset, options, info, dbg));
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* dbg) override {
    written_.syncs.fetch_add(1, std::memory_order_relaxed);
    return target()->Sync(options, dbg);
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* dbg) override {
    written_.syncs.fetch_add(1, std::memory_order_relaxed);
    return target()->Fsync(options, dbg);
  }

 private:
  IOStatus Count(const Slice& data, IOStatus status) {
    if (status.ok()) {
      written_.bytes.fetch_add(data.size(), std::memory_order_relaxed);
      held_.bytes.fetch_add(data.size(), std::memory_order_relaxed);
    }
    return status;
  }

  StoreFileSystem::Written& written_;
  StoreFileSystem::Held& held_;
};

}  // namespace

FileKind KindOfFile(std::string_view path) {
  const std::string_view name = path.substr(path.rfind('/') + 1);
  if (name.ends_with(kWalSuffix)) return FileKind::kWal;
  if (name.ends_with(kKeptWalSuffix)) return FileKind::kKeptWal;
  if (name.ends_with(kMovedSuffix)) return FileKind::kMoved;
  if (name.ends_with(kSstSuffix)) return FileKind::kSst;
  if (name.starts_with("MANIFEST-")) return FileKind::kManifest;
  return FileKind::kOther;
}

std::string NumberedFile(const std::string& directory, uint64_t number, std::string_view suffix) {
  return absl::StrCat(directory, "/", absl::Dec(number, absl::kZeroPad6),
                      absl::string_view(suffix.data(), suffix.size()));
}

std::optional<uint64_t> FileNumber(std::string_view path, std::string_view suffix) {
  std::string_view name = path.substr(path.rfind('/') + 1);
  if (!name.ends_with(suffix)) return std::nullopt;
  name.remove_suffix(suffix.size());
  uint64_t number = 0;
  if (!absl::SimpleAtoi(absl::string_view(name.data(), name.size()), &number)) return std::nullopt;
  return number;
}

StoreFileSystem::NewestWals StoreFileSystem::newest_wals() const {
  const uint64_t newest = newest_wal_.load(std::memory_order_acquire);
  return {newest, previous_wal_.load(std::memory_order_acquire)};
}

void StoreFileSystem::Wrap(const std::string& path, std::unique_ptr<FSWritableFile>* file) {
  const size_t kind = static_cast<size_t>(KindOfFile(path));
  *file = std::make_unique<CountedFile>(std::move(*file), written_[kind], held_[kind]);
}

uint64_t StoreFileSystem::SizeOf(const std::string& path) {
  uint64_t size = 0;
  return target()->GetFileSize(path, IOOptions(), &size, nullptr).ok() ? size : 0;
}

void StoreFileSystem::CountFilesOf(const std::string& directory) {
  std::vector<std::string> names;
  if (!target()->GetChildren(directory, IOOptions(), &names, nullptr).ok()) return;
  for (const std::string& name : names) {
    Held& held = held_[static_cast<size_t>(KindOfFile(name))];
    ++held.files;
    held.bytes += SizeOf(directory + "/" + name);
  }
}

IOStatus StoreFileSystem::RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                                     IODebugContext* dbg) {
  const size_t name = to.rfind('/') + 1;
  if (std::string_view(to).substr(name) == "CURRENT") {
    IOStatus synced = SyncDirectory(*target(), to.substr(0, name));
    if (!synced.ok()) return synced;
  }
  const uint64_t size = SizeOf(from);
  IOStatus status = target()->RenameFile(from, to, options, dbg);
  if (status.ok()) {
    Held& left = held_[static_cast<size_t>(KindOfFile(from))];
    --left.files;
    left.bytes -= size;
    Held& joined = held_[static_cast<size_t>(KindOfFile(to))];
    ++joined.files;
    joined.bytes += size;
  }
  return status;
}

IOStatus StoreFileSystem::DeleteFile(const std::string& path, const IOOptions& options, IODebugContext* dbg) {
  const uint64_t size = SizeOf(path);
  IOStatus status = target()->DeleteFile(path, options, dbg);
  if (status.ok()) {
    Held& held = held_[static_cast<size_t>(KindOfFile(path))];
    --held.files;
    held.bytes -= size;
  }
  return status;
}

IOStatus StoreFileSystem::Truncate(const std::string& path, size_t size, const IOOptions& options,
                                   IODebugContext* dbg) {
  const uint64_t before = SizeOf(path);
  IOStatus status = target()->Truncate(path, size, options, dbg);
  if (status.ok()) held_[static_cast<size_t>(KindOfFile(path))].bytes -= before - size;
  return status;
}

IOStatus StoreFileSystem::NewSequentialFile(const std::string& path, const FileOptions& options,
                                            std::unique_ptr<rocksdb::FSSequentialFile>* file, IODebugContext* dbg) {
  if (!wals_refused_.ok() && KindOfFile(path) == FileKind::kWal) return wals_refused_;
  return target()->NewSequentialFile(path, options, file, dbg);
}

IOStatus StoreFileSystem::NewWritableFile(const std::string& path, const FileOptions& options,
                                          std::unique_ptr<FSWritableFile>* file, IODebugContext* dbg) {
  IOStatus status = target()->NewWritableFile(path, options, file, dbg);
  if (status.ok()) {
    ++held_[static_cast<size_t>(KindOfFile(path))].files;
    if (const std::optional<uint64_t> wal = FileNumber(path, kWalSuffix)) {
      previous_wal_.store(newest_wal_.load(), std::memory_order_release);
      newest_wal_.store(*wal, std::memory_order_release);
    }
    Wrap(path, file);
  }
  return status;
}

IOStatus StoreFileSystem::ReopenWritableFile(const std::string& path, const FileOptions& options,
                                             std::unique_ptr<FSWritableFile>* file, IODebugContext* dbg) {
  IOStatus status = target()->ReopenWritableFile(path, options, file, dbg);
  if (status.ok()) Wrap(path, file);
  return status;
}

IOStatus StoreFileSystem::ReuseWritableFile(const std::string& path, const std::string& old_path,
                                            const FileOptions& options, std::unique_ptr<FSWritableFile>* file,
                                            IODebugContext* dbg) {
  IOStatus status = target()->ReuseWritableFile(path, old_path, options, file, dbg);
  if (status.ok()) Wrap(path, file);
  return status;
}

IOStatus SyncDirectory(rocksdb::FileSystem& files, const std::string& path) {
  std::unique_ptr<rocksdb::FSDirectory> directory;
  IOStatus status = files.NewDirectory(path, IOOptions(), &directory, nullptr);
  return status.ok() ? directory->Fsync(IOOptions(), nullptr) : status;
}

}  // namespace millrace::storage
