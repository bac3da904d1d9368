#include "storage/value_once.h"

#include <optional>
#include <utility>
#include <vector>

#include "proto/wire/check.h"
#include "storage/blob_reader.h"
#include "storage/blob_writer.h"
#include "storage/file_system.h"
#include "storage/wal_value_scanner.h"

namespace millrace::storage {

using rocksdb::FileOptions;
using rocksdb::FSRandomAccessFile;
using rocksdb::FSSequentialFile;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

namespace {

// Two of each: a blob file and its WAL file.
constexpr size_t kOpenFilesMax = 256;
// RocksDB collects up to this much before it writes: less than a large value, so that those pass by the buffer.
constexpr size_t kTableBufferBytes = 4096;

// A WAL file being written.
class WalWriter : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  WalWriter(uint64_t number, std::unique_ptr<FSWritableFile> file, WalValues& wals)
      : FSWritableFileOwnerWrapper(std::move(file)),
        writable_(std::make_shared<WritableWal>(target())),
        scanner_(kExtentBytesMin,
                 [number, &wals](std::string_view key, const WalValue& value) { wals.Add(number, key, value); }) {
    wals.Begin(number, writable_);
  }
  ~WalWriter() override { writable_->Closing(); }

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* dbg) override {
    IOStatus status = target()->Append(data, options, dbg);
    if (!status.ok()) return status;
    writable_->Wrote(data.size());
    scanner_.Scan(std::string_view(data.data(), data.size()));
    return status;
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo&,
                  IODebugContext* dbg) override {
    return Append(data, options, dbg);
  }
  IOStatus Sync(const IOOptions&, IODebugContext*) override {
    IOStatus status;
    MILLRACE_CHECK(writable_->Sync(&status)) << "a WAL file is synced after it was closed";
    return status;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* dbg) override { return Sync(options, dbg); }
  IOStatus Close(const IOOptions& options, IODebugContext* dbg) override {
    writable_->Closing();
    return target()->Close(options, dbg);
  }

 private:
  const std::shared_ptr<WritableWal> writable_;
  WalValueScanner scanner_;
};

// A WAL file being replayed.
class WalReplay : public rocksdb::FSSequentialFileOwnerWrapper {
 public:
  WalReplay(uint64_t number, std::unique_ptr<FSSequentialFile> file, WalValues& wals)
      : FSSequentialFileOwnerWrapper(std::move(file)),
        scanner_(kExtentBytesMin,
                 [number, &wals](std::string_view key, const WalValue& value) { wals.Add(number, key, value); }) {}

  IOStatus Read(size_t bytes, const IOOptions& options, Slice* result, char* scratch, IODebugContext* dbg) override {
    IOStatus status = target()->Read(bytes, options, result, scratch, dbg);
    if (status.ok()) scanner_.Scan(std::string_view(result->data(), result->size()));
    return status;
  }
  IOStatus Skip(uint64_t bytes) override {
    scanner_.Stop();
    return target()->Skip(bytes);
  }

 private:
  WalValueScanner scanner_;
};

}  // namespace

ValueOnceFileSystem::ValueOnceFileSystem(std::string directory, const std::shared_ptr<rocksdb::FileSystem>& beneath,
                                         bool enabled)
    : rocksdb::FileSystemWrapper(beneath),
      directory_(std::move(directory)),
      enabled_(enabled),
      open_files_(kOpenFilesMax),
      wals_(directory_, *beneath, open_files_) {}

IOStatus ValueOnceFileSystem::Load() {
  std::vector<std::string> names;
  IOStatus status = target()->GetChildren(directory_, IOOptions(), &names, nullptr);
  std::vector<uint64_t> kept;
  uint64_t last_wal = 0;
  for (const std::string& name : names) {
    if (!status.ok()) return status;
    if (const std::optional<uint64_t> number = FileNumber(name, kKeptWalSuffix)) kept.push_back(*number);
    if (const std::optional<uint64_t> number = FileNumber(name, kWalSuffix)) last_wal = std::max(last_wal, *number);
    if (const std::optional<uint64_t> number = FileNumber(name, kBlobSuffix)) status = LoadBlob(*number);
  }
  for (uint64_t wal : kept) last_wal = std::max(last_wal, wal);
  if (!unknown_blobs_.empty()) wals_.KeepUnpinned(last_wal);
  return status.ok() ? wals_.DeleteUnpinned(kept) : status;
}

IOStatus ValueOnceFileSystem::LoadBlob(uint64_t number) {
  const std::string path = NumberedFile(directory_, number, kBlobSuffix);
  uint64_t bytes = 0;
  BlobEnding ending = BlobEnding::kUnknown;
  BlobPointer blob;
  IOStatus status = target()->GetFileSize(path, IOOptions(), &bytes, nullptr);
  if (status.ok()) status = ReadBlobFile(number, path, bytes, open_files_, &ending, &blob);
  if (status.ok() && ending == BlobEnding::kUnknown) unknown_blobs_.insert(number);
  if (!status.ok() || blob == nullptr) return status;
  for (uint64_t wal : blob->wals) wals_.Pin(wal);
  AddBlob(std::move(blob));
  return status;
}

void ValueOnceFileSystem::AddBlob(BlobPointer blob) {
  std::lock_guard lock(mutex_);
  blobs_[blob->number] = std::move(blob);
}

ValueOnceFileSystem::BlobPointer ValueOnceFileSystem::FindBlob(const std::string& path) const {
  const std::optional<uint64_t> number = FileNumber(path, kBlobSuffix);
  if (!number) return nullptr;
  std::lock_guard lock(mutex_);
  auto found = blobs_.find(*number);
  return found == blobs_.end() ? nullptr : found->second;
}

void ValueOnceFileSystem::RemoveBlob(uint64_t number) {
  open_files_.Forget(number);
  BlobPointer blob;
  bool none_left_unknown = false;
  {
    std::lock_guard lock(mutex_);
    none_left_unknown = unknown_blobs_.erase(number) > 0 && unknown_blobs_.empty();
    if (auto found = blobs_.extract(number)) blob = std::move(found.mapped());
  }
  if (none_left_unknown) wals_.DeleteKeptUnpinned();
  if (blob == nullptr) return;
  for (uint64_t wal : blob->wals) wals_.Unpin(wal);
}

IOStatus ValueOnceFileSystem::NewWritableFile(const std::string& path, const FileOptions& options,
                                              std::unique_ptr<FSWritableFile>* file, IODebugContext* dbg) {
  IOStatus status = target()->NewWritableFile(path, options, file, dbg);
  if (!status.ok()) return status;
  if (const std::optional<uint64_t> blob = FileNumber(path, kBlobSuffix)) {
    RemoveBlob(*blob);  // of a process that ended before RocksDB knew of it
    if (enabled_) {
      *file = std::make_unique<BlobWriter>(*blob, std::move(*file), wals_,
                                           [this](BlobPointer written) { AddBlob(std::move(written)); });
    }
  } else if (const std::optional<uint64_t> wal = FileNumber(path, kWalSuffix); wal && enabled_) {
    *file = std::make_unique<WalWriter>(*wal, std::move(*file), wals_);
  }
  return status;
}

IOStatus ValueOnceFileSystem::NewSequentialFile(const std::string& path, const FileOptions& options,
                                                std::unique_ptr<FSSequentialFile>* file, IODebugContext* dbg) {
  IOStatus status = target()->NewSequentialFile(path, options, file, dbg);
  const std::optional<uint64_t> wal = FileNumber(path, kWalSuffix);
  if (!status.ok() || !wal || !enabled_) return status;
  uint64_t bytes = 0;
  status = target()->GetFileSize(path, IOOptions(), &bytes, dbg);
  if (status.ok() && wals_.Replay(*wal, bytes)) *file = std::make_unique<WalReplay>(*wal, std::move(*file), wals_);
  return status;
}

IOStatus ValueOnceFileSystem::NewRandomAccessFile(const std::string& path, const FileOptions& options,
                                                  std::unique_ptr<FSRandomAccessFile>* file, IODebugContext* dbg) {
  if (BlobPointer blob = FindBlob(path)) return BlobReader::Open(std::move(blob), path, wals_, open_files_, file);
  return target()->NewRandomAccessFile(path, options, file, dbg);
}

IOStatus ValueOnceFileSystem::GetFileSize(const std::string& path, const IOOptions& options, uint64_t* bytes,
                                          IODebugContext* dbg) {
  if (BlobPointer blob = FindBlob(path)) {
    *bytes = blob->trailer.file_bytes;
    return IOStatus::OK();
  }
  return target()->GetFileSize(path, options, bytes, dbg);
}

IOStatus ValueOnceFileSystem::DeleteFile(const std::string& path, const IOOptions& options, IODebugContext* dbg) {
  if (const std::optional<uint64_t> wal = FileNumber(path, kWalSuffix)) return wals_.Delete(*wal);
  IOStatus status = target()->DeleteFile(path, options, dbg);
  if (const std::optional<uint64_t> blob = FileNumber(path, kBlobSuffix); blob && status.ok()) RemoveBlob(*blob);
  return status;
}

FileOptions ValueOnceFileSystem::OptimizeForCompactionTableWrite(const FileOptions& options,
                                                                 const rocksdb::ImmutableDBOptions& db_options) const {
  FileOptions optimized = target()->OptimizeForCompactionTableWrite(options, db_options);
  if (enabled_) optimized.writable_file_max_buffer_size = kTableBufferBytes;
  return optimized;
}

}  // namespace millrace::storage
