// A file system whose files of one kind fail, or wait, when told to.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include <rocksdb/file_system.h>

#include "storage/file_system.h"
#include "storage/wal_file.h"

namespace millrace::storage {

class FaultyFileSystem : public rocksdb::FileSystemWrapper {
 public:
  FaultyFileSystem() : rocksdb::FileSystemWrapper(std::make_shared<WalFileSystem>(rocksdb::FileSystem::Default())) {}

  // From now on.
  void FailSyncs(FileKind kind) { failing_syncs_ = kind; }
  void FailWrites(FileKind kind) { failing_writes_ = kind; }
  void Mend() { failing_syncs_ = failing_writes_ = kNone; }
  // As Linux does: it tells of lost pages once, and takes them for written from then on.
  void FailNextSync(FileKind kind) { failing_next_sync_ = kind; }
  // Writes wait until Release.
  void HoldWrites(FileKind kind) {
    std::lock_guard lock(mutex_);
    held_writes_ = kind;
  }
  void Release() {
    {
      std::lock_guard lock(mutex_);
      held_writes_ = kNone;
    }
    released_.notify_all();
  }

  const char* Name() const override { return "faulty"; }
  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* dbg) override {
    rocksdb::IOStatus status = target()->NewWritableFile(path, options, file, dbg);
    if (status.ok()) *file = std::make_unique<File>(std::move(*file), KindOfFile(path), *this);
    return status;
  }

 private:
  static constexpr FileKind kNone = static_cast<FileKind>(kFileKinds);

  class File : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    File(std::unique_ptr<rocksdb::FSWritableFile> file, FileKind kind, FaultyFileSystem& owner)
        : FSWritableFileOwnerWrapper(std::move(file)), kind_(kind), owner_(owner) {}

    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* dbg) override {
      if (!owner_.MayWrite(kind_)) return rocksdb::IOStatus::NoSpace("no space left on the test's device");
      return target()->Append(data, options, dbg);
    }
    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                             const rocksdb::DataVerificationInfo& info, rocksdb::IODebugContext* dbg) override {
      if (!owner_.MayWrite(kind_)) return rocksdb::IOStatus::NoSpace("no space left on the test's device");
      return target()->Append(data, options, info, dbg);
    }
    rocksdb::IOStatus Sync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg) override {
      FileKind next = kind_;
      if (owner_.failing_syncs_ == kind_ || owner_.failing_next_sync_.compare_exchange_strong(next, kNone)) {
        return rocksdb::IOStatus::IOError("the test's device lost a page");
      }
      return target()->Sync(options, dbg);
    }
    rocksdb::IOStatus Fsync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg) override {
      return Sync(options, dbg);
    }

   private:
    const FileKind kind_;
    FaultyFileSystem& owner_;
  };

  // Waits while writes are held.
  bool MayWrite(FileKind kind) {
    std::unique_lock lock(mutex_);
    released_.wait(lock, [&] { return held_writes_ != kind; });
    return failing_writes_ != kind;
  }

  std::mutex mutex_;
  std::condition_variable released_;
  FileKind held_writes_ = kNone;  // guarded by mutex_
  std::atomic<FileKind> failing_syncs_{kNone};
  std::atomic<FileKind> failing_next_sync_{kNone};
  std::atomic<FileKind> failing_writes_{kNone};
};

}  // namespace millrace::storage
