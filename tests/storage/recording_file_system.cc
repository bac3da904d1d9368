#include "tests/storage/recording_file_system.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "proto/wire/check.h"
#include "storage/wal_file.h"

namespace millrace::storage {

using rocksdb::DataVerificationInfo;
using rocksdb::DirFsyncOptions;
using rocksdb::FileOptions;
using rocksdb::FSDirectory;
using rocksdb::FSRandomRWFile;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

// A write is recorded once it is done, and a sync covers what was recorded when it began: what the record promises is never
// more than what the disk does.
class RecordingFileSystem::File : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  File(std::unique_ptr<FSWritableFile> target, uint32_t file, FileKind kind, RecordingFileSystem& owner)
      : FSWritableFileOwnerWrapper(std::move(target)), file_(file), kind_(kind), owner_(owner) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* dbg) override {
    return Wrote(std::nullopt, data, target()->Append(data, options, dbg));
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const DataVerificationInfo& info,
                  IODebugContext* dbg) override {
    return Wrote(std::nullopt, data, target()->Append(data, options, info, dbg));
  }
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            IODebugContext* dbg) override {
    return Wrote(offset, data, target()->PositionedAppend(data, offset, options, dbg));
  }
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            const DataVerificationInfo& info, IODebugContext* dbg) override {
    return Wrote(offset, data, target()->PositionedAppend(data, offset, options, info, dbg));
  }
  IOStatus Truncate(uint64_t size, const IOOptions& options, IODebugContext* dbg) override {
    IOStatus status = target()->Truncate(size, options, dbg);
    if (status.ok()) owner_.RecordTruncate(file_, size);
    return status;
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* dbg) override {
    if (owner_.Swallows(kind_)) return IOStatus::OK();
    const size_t begun = owner_.position();
    IOStatus status = target()->Sync(options, dbg);
    if (status.ok()) owner_.RecordSync(file_, begun);
    return status;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* dbg) override { return Sync(options, dbg); }

 private:
  IOStatus Wrote(std::optional<uint64_t> offset, const Slice& data, IOStatus status) {
    if (status.ok()) owner_.RecordWrite(file_, offset, data);
    return status;
  }

  const uint32_t file_;
  const FileKind kind_;
  RecordingFileSystem& owner_;
};

class RecordingFileSystem::Directory : public rocksdb::FSDirectoryWrapper {
 public:
  Directory(std::unique_ptr<FSDirectory> target, std::string name, RecordingFileSystem& owner)
      : FSDirectoryWrapper(std::move(target)), name_(std::move(name)), owner_(owner) {}

  IOStatus Fsync(const IOOptions& options, IODebugContext* dbg) override {
    if (owner_.Swallows(std::nullopt)) return IOStatus::OK();
    const size_t begun = owner_.position();
    IOStatus status = FSDirectoryWrapper::Fsync(options, dbg);
    if (status.ok()) owner_.RecordSyncDirectory(name_, begun);
    return status;
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* dbg, const DirFsyncOptions&) override {
    return Fsync(options, dbg);
  }

 private:
  const std::string name_;
  RecordingFileSystem& owner_;
};

RecordingFileSystem::RecordingFileSystem(std::string directory)
    : rocksdb::FileSystemWrapper(std::make_shared<WalFileSystem>(rocksdb::FileSystem::Default())),
      directory_(std::move(directory)) {
  if (std::filesystem::exists(directory_)) RecordBase();
}

void RecordingFileSystem::RecordBase() {
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
    const std::optional<std::string> name = NameOf(entry.path());
    if (!name) continue;
    std::string bytes;
    MILLRACE_CHECK(rocksdb::ReadFileToString(target(), entry.path(), &bytes).ok()) << entry.path();
    const uint32_t file = RecordNewFile(*name);
    RecordWrite(file, 0, bytes);
    RecordSync(file, position());
  }
  RecordSyncDirectory(".", position());
}

size_t RecordingFileSystem::position() const {
  std::lock_guard lock(mutex_);
  return log_.size();
}

DiskLog RecordingFileSystem::log() const {
  std::lock_guard lock(mutex_);
  return log_;
}

void RecordingFileSystem::SwallowSyncs(std::optional<FileKind> kind, size_t from) {
  std::lock_guard lock(mutex_);
  swallowed_ = {kind, from};
}

bool RecordingFileSystem::Swallows(std::optional<FileKind> kind) const {
  std::lock_guard lock(mutex_);
  return swallowed_ && swallowed_->kind == kind && log_.size() >= swallowed_->from;
}

std::optional<std::string> RecordingFileSystem::NameOf(const std::string& path) const {
  const std::filesystem::path normal = std::filesystem::path(path).lexically_normal();
  if (normal.parent_path() != directory_) return std::nullopt;
  std::string name = normal.filename();
  if (name.starts_with("LOG") || name == "LOCK") return std::nullopt;
  return name;
}

uint32_t RecordingFileSystem::RecordNewFile(const std::string& name) {
  std::lock_guard lock(mutex_);
  const auto file = static_cast<uint32_t>(sizes_.size());
  sizes_.push_back(0);
  names_[name] = file;
  log_.push_back({.kind = DiskOp::Kind::kLink, .file = file, .name = name});
  return file;
}

void RecordingFileSystem::RecordWrite(uint32_t file, std::optional<uint64_t> offset, const Slice& data) {
  std::lock_guard lock(mutex_);
  const uint64_t position = offset.value_or(sizes_[file]);
  sizes_[file] = std::max(sizes_[file], position + data.size());
  log_.push_back({.kind = DiskOp::Kind::kWrite, .file = file, .position = position, .bytes = data.ToString()});
}

void RecordingFileSystem::RecordTruncate(uint32_t file, uint64_t size) {
  std::lock_guard lock(mutex_);
  sizes_[file] = size;
  log_.push_back({.kind = DiskOp::Kind::kTruncate, .file = file, .position = size});
}

void RecordingFileSystem::RecordSync(uint32_t file, size_t begun) {
  std::lock_guard lock(mutex_);
  log_.push_back({.kind = DiskOp::Kind::kSync, .file = file, .position = begun});
}

void RecordingFileSystem::RecordSyncDirectory(const std::string& name, size_t begun) {
  std::lock_guard lock(mutex_);
  log_.push_back({.kind = DiskOp::Kind::kSyncDirectory, .name = name, .position = begun});
}

void RecordingFileSystem::Wrap(const std::string& path, bool emptied, std::unique_ptr<FSWritableFile>* file) {
  const std::optional<std::string> name = NameOf(path);
  if (!name) return;
  std::optional<uint32_t> number;
  {
    std::lock_guard lock(mutex_);
    if (auto existing = names_.find(*name); existing != names_.end()) number = existing->second;
  }
  if (!number) {
    number = RecordNewFile(*name);
  } else if (emptied) {
    RecordTruncate(*number, 0);
  }
  *file = std::make_unique<File>(std::move(*file), *number, KindOfFile(path), *this);
}

IOStatus RecordingFileSystem::NewWritableFile(const std::string& path, const FileOptions& options,
                                              std::unique_ptr<FSWritableFile>* file, IODebugContext* dbg) {
  IOStatus status = target()->NewWritableFile(path, options, file, dbg);
  if (status.ok()) Wrap(path, /*emptied=*/true, file);
  return status;
}

IOStatus RecordingFileSystem::ReopenWritableFile(const std::string& path, const FileOptions& options,
                                                 std::unique_ptr<FSWritableFile>* file, IODebugContext* dbg) {
  IOStatus status = target()->ReopenWritableFile(path, options, file, dbg);
  if (status.ok()) Wrap(path, /*emptied=*/false, file);
  return status;
}

IOStatus RecordingFileSystem::ReuseWritableFile(const std::string& path, const std::string& old_path,
                                                const FileOptions& options, std::unique_ptr<FSWritableFile>* file,
                                                IODebugContext* dbg) {
  MILLRACE_CHECK(!NameOf(path)) << path << ": the reuse of " << old_path << " is not recorded";
  return target()->ReuseWritableFile(path, old_path, options, file, dbg);
}

IOStatus RecordingFileSystem::NewRandomRWFile(const std::string& path, const FileOptions& options,
                                              std::unique_ptr<FSRandomRWFile>* file, IODebugContext* dbg) {
  MILLRACE_CHECK(!NameOf(path)) << path << ": writes through such a file are not recorded";
  return target()->NewRandomRWFile(path, options, file, dbg);
}

IOStatus RecordingFileSystem::NewDirectory(const std::string& path, const IOOptions& options,
                                           std::unique_ptr<FSDirectory>* directory, IODebugContext* dbg) {
  IOStatus status = target()->NewDirectory(path, options, directory, dbg);
  if (!status.ok()) return status;
  const bool is_ours = std::filesystem::path(path + "/").lexically_normal() == directory_ + "/";
  *directory = std::make_unique<Directory>(std::move(*directory), is_ours ? "." : path, *this);
  return status;
}

IOStatus RecordingFileSystem::DeleteFile(const std::string& path, const IOOptions& options, IODebugContext* dbg) {
  IOStatus status = target()->DeleteFile(path, options, dbg);
  const std::optional<std::string> name = NameOf(path);
  if (!status.ok() || !name) return status;
  std::lock_guard lock(mutex_);
  MILLRACE_CHECK_EQ(names_.erase(*name), 1u) << path;
  log_.push_back({.kind = DiskOp::Kind::kDelete, .name = *name});
  return status;
}

IOStatus RecordingFileSystem::RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                                         IODebugContext* dbg) {
  IOStatus status = target()->RenameFile(from, to, options, dbg);
  const std::optional<std::string> name = NameOf(from);
  const std::optional<std::string> new_name = NameOf(to);
  if (!status.ok() || (!name && !new_name)) return status;
  MILLRACE_CHECK(name && new_name) << from << " to " << to << ": only one of them is recorded";
  std::lock_guard lock(mutex_);
  auto moved = names_.extract(*name);
  MILLRACE_CHECK(!moved.empty()) << from;
  names_[*new_name] = moved.mapped();
  log_.push_back({.kind = DiskOp::Kind::kRename, .name = *name, .new_name = *new_name});
  return status;
}

IOStatus RecordingFileSystem::LinkFile(const std::string& path, const std::string& new_path, const IOOptions& options,
                                       IODebugContext* dbg) {
  IOStatus status = target()->LinkFile(path, new_path, options, dbg);
  const std::optional<std::string> name = NameOf(path);
  const std::optional<std::string> new_name = NameOf(new_path);
  if (!status.ok() || !new_name) return status;
  MILLRACE_CHECK(name) << path << " is not recorded";
  std::lock_guard lock(mutex_);
  const uint32_t file = names_.at(*name);
  names_[*new_name] = file;
  log_.push_back({.kind = DiskOp::Kind::kLink, .file = file, .name = *new_name});
  return status;
}

IOStatus RecordingFileSystem::Truncate(const std::string& path, size_t size, const IOOptions& options,
                                       IODebugContext* dbg) {
  IOStatus status = target()->Truncate(path, size, options, dbg);
  const std::optional<std::string> name = NameOf(path);
  if (!status.ok() || !name) return status;
  std::unique_lock lock(mutex_);
  const uint32_t file = names_.at(*name);
  lock.unlock();
  RecordTruncate(file, size);
  return status;
}

}  // namespace millrace::storage
