// A file system whose files of one kind fail, or wait, when told to.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
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
  // Of one file, at any place of it; a file that is read from its beginning on, as a log, is not meant.
  void FailReads(const std::string& path) {
    std::lock_guard lock(mutex_);
    unreadable_ = path;
  }
  // As Linux does: it tells of lost pages once, and takes them for written from then on. Who reads the file still finds them in
  // the page cache, until that is dropped: then there is what was synced before, and zeros.
  void FailNextSync(FileKind kind) { failing_next_sync_ = kind; }
  // Writes wait until Release.
  void HoldWrites(FileKind kind) {
    std::lock_guard lock(mutex_);
    held_writes_ = kind;
  }
  // Until one does.
  void AwaitHeldWrite() {
    std::unique_lock lock(mutex_);
    waiting_changed_.wait(lock, [&] { return waiting_ > 0; });
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
    if (status.ok()) *file = std::make_unique<File>(path, std::move(*file), KindOfFile(path), *this);
    return status;
  }
  rocksdb::IOStatus NewRandomAccessFile(const std::string& path, const rocksdb::FileOptions& options,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
                                        rocksdb::IODebugContext* dbg) override {
    rocksdb::IOStatus status = target()->NewRandomAccessFile(path, options, file, dbg);
    if (status.ok()) *file = std::make_unique<RandomReading>(path, std::move(*file), *this);
    return status;
  }
  rocksdb::IOStatus NewSequentialFile(const std::string& path, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSSequentialFile>* file,
                                      rocksdb::IODebugContext* dbg) override {
    rocksdb::IOStatus status = target()->NewSequentialFile(path, options, file, dbg);
    if (status.ok()) *file = std::make_unique<Reading>(path, std::move(*file), *this);
    return status;
  }

 private:
  static constexpr FileKind kNone = static_cast<FileKind>(kFileKinds);

  class File : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    File(std::string path, std::unique_ptr<rocksdb::FSWritableFile> file, FileKind kind, FaultyFileSystem& owner)
        : FSWritableFileOwnerWrapper(std::move(file)), path_(std::move(path)), kind_(kind), owner_(owner) {}

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
      const bool lost = owner_.failing_next_sync_.compare_exchange_strong(next, kNone);
      if (lost) owner_.Lose(path_, synced_);
      if (lost || owner_.failing_syncs_ == kind_) return rocksdb::IOStatus::IOError("the test's device lost a page");
      const uint64_t size = target()->GetFileSize(options, dbg);
      rocksdb::IOStatus status = target()->Sync(options, dbg);
      if (status.ok()) synced_ = size;
      return status;
    }
    rocksdb::IOStatus Fsync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg) override {
      return Sync(options, dbg);
    }

   private:
    const std::string path_;
    const FileKind kind_;
    FaultyFileSystem& owner_;
    uint64_t synced_ = 0;
  };

  class Reading : public rocksdb::FSSequentialFileOwnerWrapper {
   public:
    Reading(std::string path, std::unique_ptr<rocksdb::FSSequentialFile> file, FaultyFileSystem& owner)
        : FSSequentialFileOwnerWrapper(std::move(file)), path_(std::move(path)), owner_(owner) {}

    rocksdb::IOStatus Read(size_t bytes, const rocksdb::IOOptions& options, rocksdb::Slice* result, char* scratch,
                           rocksdb::IODebugContext* dbg) override {
      rocksdb::IOStatus status = target()->Read(bytes, options, result, scratch, dbg);
      if (!status.ok()) return status;
      const uint64_t begin = std::exchange(offset_, offset_ + result->size());
      const uint64_t kept = owner_.OnDisk(path_);
      if (offset_ <= kept) return status;
      std::string read(result->data(), result->size());
      const uint64_t lost_from = kept > begin ? kept - begin : 0;
      std::fill(read.begin() + static_cast<ptrdiff_t>(lost_from), read.end(), '\0');
      std::copy(read.begin(), read.end(), scratch);
      *result = rocksdb::Slice(scratch, read.size());
      return status;
    }
    rocksdb::IOStatus InvalidateCache(size_t offset, size_t bytes) override {
      owner_.DropCache(path_);
      return target()->InvalidateCache(offset, bytes);
    }

   private:
    const std::string path_;
    FaultyFileSystem& owner_;
    uint64_t offset_ = 0;
  };

  class RandomReading : public rocksdb::FSRandomAccessFileOwnerWrapper {
   public:
    RandomReading(std::string path, std::unique_ptr<rocksdb::FSRandomAccessFile> file, FaultyFileSystem& owner)
        : FSRandomAccessFileOwnerWrapper(std::move(file)), path_(std::move(path)), owner_(owner) {}

    rocksdb::IOStatus Read(uint64_t offset, size_t bytes, const rocksdb::IOOptions& options, rocksdb::Slice* result,
                           char* scratch, rocksdb::IODebugContext* dbg) const override {
      // The system refuses this offset, and RocksDB tells of it as of a bad sector, but for the last words.
      if (!owner_.MayRead(path_)) offset = UINT64_MAX / 2 + 1;
      return target()->Read(offset, bytes, options, result, scratch, dbg);
    }

   private:
    const std::string path_;
    FaultyFileSystem& owner_;
  };

  struct Lost {
    uint64_t behind = 0;
    bool cached = true;
  };
  void Lose(const std::string& path, uint64_t behind) {
    std::lock_guard lock(mutex_);
    lost_[path] = {behind, true};
  }
  void DropCache(const std::string& path) {
    std::lock_guard lock(mutex_);
    if (auto lost = lost_.find(path); lost != lost_.end()) lost->second.cached = false;
  }
  // How far a reader finds what was written.
  uint64_t OnDisk(const std::string& path) {
    std::lock_guard lock(mutex_);
    auto lost = lost_.find(path);
    return lost == lost_.end() || lost->second.cached ? UINT64_MAX : lost->second.behind;
  }

  bool MayRead(const std::string& path) {
    std::lock_guard lock(mutex_);
    return unreadable_ != path;
  }
  // Waits while writes are held.
  bool MayWrite(FileKind kind) {
    std::unique_lock lock(mutex_);
    if (held_writes_ == kind) {
      ++waiting_;
      waiting_changed_.notify_all();
      released_.wait(lock, [&] { return held_writes_ != kind; });
      --waiting_;
    }
    return failing_writes_ != kind;
  }

  std::mutex mutex_;
  std::condition_variable released_;
  std::condition_variable waiting_changed_;
  int waiting_ = 0;                   // guarded by mutex_
  FileKind held_writes_ = kNone;      // guarded by mutex_
  std::map<std::string, Lost> lost_;  // guarded by mutex_
  std::string unreadable_;            // guarded by mutex_
  std::atomic<FileKind> failing_syncs_{kNone};
  std::atomic<FileKind> failing_next_sync_{kNone};
  std::atomic<FileKind> failing_writes_{kNone};
};

}  // namespace millrace::storage
