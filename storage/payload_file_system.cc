#include "storage/payload_file_system.h"

#include <optional>
#include <utility>

#include "proto/wire/check.h"
#include "storage/file_system.h"

namespace millrace::storage {

using rocksdb::FileOptions;
using rocksdb::FSSequentialFile;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

namespace {

// A WAL file being written.
class WalWriter : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  WalWriter(uint64_t number, std::unique_ptr<FSWritableFile> file, PayloadFiles& payloads)
      : FSWritableFileOwnerWrapper(std::move(file)),
        number_(number),
        payloads_(payloads),
        writable_(std::make_shared<SharedFile>(target())) {
    payloads.Begin(number, writable_);
  }
  ~WalWriter() override { writable_->Closing(); }

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* dbg) override {
    payloads_.record().Appending(number_, writable_->written());
    IOStatus status = target()->Append(data, options, dbg);
    if (!status.ok()) return status;
    writable_->Wrote(data.size());
    payloads_.Wrote(writable_->written());
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
  const uint64_t number_;
  PayloadFiles& payloads_;
  const std::shared_ptr<SharedFile> writable_;
};

// A table being written: a flush makes one of what lies in WAL files that are closed, a compaction of what older tables refer to.
class TableWriter : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  TableWriter(std::unique_ptr<FSWritableFile> file, PayloadFiles& payloads)
      : FSWritableFileOwnerWrapper(std::move(file)), payloads_(payloads) {}

  IOStatus Sync(const IOOptions& options, IODebugContext* dbg) override {
    IOStatus status = payloads_.SyncReferenced();
    return status.ok() ? target()->Sync(options, dbg) : status;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* dbg) override { return Sync(options, dbg); }

 private:
  PayloadFiles& payloads_;
};

}  // namespace

IOStatus PayloadFileSystem::NewWritableFile(const std::string& path, const FileOptions& options,
                                            std::unique_ptr<FSWritableFile>* file, IODebugContext* dbg) {
  IOStatus status = target()->NewWritableFile(path, options, file, dbg);
  if (!status.ok()) return status;
  if (const std::optional<uint64_t> wal = FileNumber(path, kWalSuffix)) {
    *file = std::make_unique<WalWriter>(*wal, std::move(*file), payloads_);
  } else if (FileNumber(path, kSstSuffix)) {
    *file = std::make_unique<TableWriter>(std::move(*file), payloads_);
  }
  return status;
}

IOStatus PayloadFileSystem::NewSequentialFile(const std::string& path, const FileOptions& options,
                                              std::unique_ptr<FSSequentialFile>* file, IODebugContext* dbg) {
  const std::optional<uint64_t> wal = FileNumber(path, kWalSuffix);
  uint64_t bytes = 0;
  IOStatus status = wal ? target()->GetFileSize(path, IOOptions(), &bytes, dbg) : IOStatus::OK();
  if (status.ok()) status = target()->NewSequentialFile(path, options, file, dbg);
  if (status.ok() && wal) payloads_.Replay(*wal, bytes);
  return status;
}

IOStatus PayloadFileSystem::DeleteFile(const std::string& path, const IOOptions& options, IODebugContext* dbg) {
  if (const std::optional<uint64_t> wal = FileNumber(path, kWalSuffix)) return payloads_.Delete(*wal);
  IOStatus status = target()->DeleteFile(path, options, dbg);
  if (const std::optional<uint64_t> table = FileNumber(path, kSstSuffix); table && status.ok()) payloads_.Unpin(*table);
  return status;
}

}  // namespace millrace::storage
