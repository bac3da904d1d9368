#include "storage/wal_payloads.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"
#include "storage/file_system.h"
#include "storage/wal_format.h"

namespace millrace::storage {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

namespace {

constexpr IODebugContext* kNoDebug = nullptr;
constexpr size_t kOpenFilesMax = 256;

}  // namespace

bool WritableWal::Sync(IOStatus* status) {
  std::lock_guard lock(mutex_);
  if (last_sync_.ok() && file_ == nullptr) return false;
  if (last_sync_.ok()) {
    const uint64_t bytes = written();
    last_sync_ = file_->Sync(IOOptions(), kNoDebug);
    if (last_sync_.ok()) synced_.store(bytes, std::memory_order_release);
  }
  *status = last_sync_;
  return true;
}

void WritableWal::Closing() {
  std::lock_guard lock(mutex_);
  file_ = nullptr;
}

WalPayloads::WalPayloads(std::string directory, rocksdb::FileSystem& files)
    : directory_(std::move(directory)), files_(files), open_files_(kOpenFilesMax) {}

void WalPayloads::Begin(uint64_t wal, std::shared_ptr<WritableWal> writable) {
  std::lock_guard lock(mutex_);
  MILLRACE_CHECK(!wals_.contains(wal)) << "WAL file " << wal << " is written anew";
  wals_[wal].writable = std::move(writable);
  being_written_ = wal;
}

void WalPayloads::Replay(uint64_t wal, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  Wal& replayed = wals_[wal];
  if (replayed.writable == nullptr) replayed.bytes = bytes;
}

uint64_t WalPayloads::bytes_being_written() const {
  std::lock_guard lock(mutex_);
  auto found = wals_.find(being_written_);
  return found == wals_.end() ? 0 : found->second.size();
}

void WalPayloads::Placed(const PayloadPlace& place, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  wals_.at(place.wal).placed_bytes += bytes;
}

std::set<uint64_t> WalPayloads::Sparse() const {
  std::lock_guard lock(mutex_);
  std::set<uint64_t> sparse;
  for (const auto& [number, wal] : wals_) {
    const bool few = wal.placed_bytes > 0 && wal.placed_bytes * 2 < wal.size();
    if (few && wal.rocksdb_uses && number != being_written_) sparse.insert(number);
  }
  return sparse;
}

IOStatus WalPayloads::SyncClosed() {
  std::vector<uint64_t> unsynced;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [number, wal] : wals_) {
      const uint64_t synced = std::max(wal.synced, wal.writable != nullptr ? wal.writable->synced() : 0);
      if (wal.rocksdb_uses && number != being_written_ && synced < wal.size()) unsynced.push_back(number);
    }
  }
  for (uint64_t wal : unsynced) {
    IOStatus status = Sync(wal);
    if (!status.ok()) return status;
  }
  return IOStatus::OK();
}

IOStatus WalPayloads::Sync(uint64_t number) {
  std::shared_ptr<WritableWal> writable;
  uint64_t bytes = 0;
  std::string path;
  {
    std::lock_guard lock(mutex_);
    auto found = wals_.find(number);
    if (found == wals_.end()) return IOStatus::OK();  // deleted meanwhile: another flush was quicker
    writable = found->second.writable;
    bytes = found->second.size();
    path = Path(number, found->second.rocksdb_uses);
  }
  IOStatus status;
  if (writable != nullptr && writable->Sync(&status)) return status;
  status = SyncReopened(path);
  if (!status.ok()) return status;
  std::lock_guard lock(mutex_);
  if (auto found = wals_.find(number); found != wals_.end()) found->second.synced = bytes;
  return status;
}

// What is closed, or an earlier process wrote: its bytes, and its name in the directory.
IOStatus WalPayloads::SyncReopened(const std::string& path) {
  std::unique_ptr<rocksdb::FSWritableFile> file;
  IOStatus status = files_.ReopenWritableFile(path, rocksdb::FileOptions(), &file, kNoDebug);
  if (status.ok()) status = file->Sync(IOOptions(), kNoDebug);
  if (status.ok()) status = file->Close(IOOptions(), kNoDebug);
  return status.ok() ? SyncDirectory(files_, directory_) : status;
}

void WalPayloads::Pin(uint64_t table, const std::vector<uint64_t>& wals) {
  std::lock_guard lock(mutex_);
  if (wals.empty() || !pins_of_tables_.emplace(table, wals).second) return;
  for (uint64_t wal : wals) ++wals_[wal].pins;
}

void WalPayloads::Unpin(uint64_t table) {
  std::vector<uint64_t> unused;
  {
    std::lock_guard lock(mutex_);
    auto pins = pins_of_tables_.extract(table);
    if (pins.empty()) return;
    for (uint64_t number : pins.mapped()) {
      auto wal = wals_.find(number);
      MILLRACE_CHECK(wal != wals_.end() && wal->second.pins > 0) << "WAL file " << number << " was not pinned";
      if (--wal->second.pins > 0 || wal->second.rocksdb_uses || !opened_) continue;
      wals_.erase(wal);
      unused.push_back(number);
    }
  }
  // If it fails the next start tries again.
  for (uint64_t wal : unused) DeleteFile(wal, /*rocksdb_uses=*/false).PermitUncheckedError();
}

IOStatus WalPayloads::Delete(uint64_t number) {
  {
    std::lock_guard lock(mutex_);
    Wal& wal = wals_[number];
    if (wal.pins > 0 || !opened_) {
      IOStatus status = files_.RenameFile(Path(number, true), Path(number, false), IOOptions(), kNoDebug);
      if (status.ok()) wal.RocksDbLeft();
      return status;
    }
    wals_.erase(number);
  }
  return DeleteFile(number, /*rocksdb_uses=*/true);
}

void WalPayloads::Wal::RocksDbLeft() {
  bytes = size();
  writable.reset();
  rocksdb_uses = false;
}

IOStatus WalPayloads::Opened() {
  {
    std::lock_guard lock(mutex_);
    opened_ = true;  // from here on no file stays that none refers to: RocksDB deletes in the background, too
  }
  std::vector<std::string> names;
  IOStatus status = files_.GetChildren(directory_, IOOptions(), &names, kNoDebug);
  std::vector<uint64_t> unused;
  {
    std::lock_guard lock(mutex_);
    for (const std::string& name : names) {
      const std::optional<uint64_t> number = FileNumber(name, kKeptWalSuffix);
      if (!number) continue;
      auto wal = wals_.find(*number);
      if (wal != wals_.end() && wal->second.pins > 0) {
        wal->second.rocksdb_uses = false;
        continue;
      }
      if (wal != wals_.end()) wals_.erase(wal);
      unused.push_back(*number);
    }
  }
  for (uint64_t wal : unused) {
    const IOStatus deleted = DeleteFile(wal, /*rocksdb_uses=*/false);
    if (status.ok() && !deleted.IsPathNotFound()) status = deleted;  // a compaction may have been quicker
  }
  return status;
}

IOStatus WalPayloads::DeleteFile(uint64_t wal, bool rocksdb_uses) {
  open_files_.Forget(wal);
  return files_.DeleteFile(Path(wal, rocksdb_uses), IOOptions(), kNoDebug);
}

IOStatus WalPayloads::Open(uint64_t number, std::shared_ptr<const OpenFiles::File>* file) {
  std::lock_guard lock(mutex_);  // against a rename between asking for the path and opening it
  auto wal = wals_.find(number);
  const bool rocksdb_uses = wal != wals_.end() && wal->second.rocksdb_uses;
  return open_files_.Get(number, Path(number, rocksdb_uses), file);
}

IOStatus WalPayloads::Read(const PayloadPlace& place, size_t bytes, char* out) {
  std::shared_ptr<const OpenFiles::File> file;
  IOStatus status = Open(place.wal, &file);
  if (!status.ok()) return status;
  char waste[kWalHeaderBytes];  // each header in turn
  std::vector<iovec> pieces;
  pieces.reserve(2 * (bytes / kWalBlockBytes + 2));
  size_t piece = std::min<size_t>(bytes, kWalBlockBytes - place.offset % kWalBlockBytes);
  for (size_t filled = 0;;) {
    pieces.push_back({out + filled, piece});
    filled += piece;
    if (filled == bytes) break;
    pieces.push_back({waste, kWalHeaderBytes});
    piece = std::min(bytes - filled, kWalBlockBytes - kWalHeaderBytes);
  }
  return file->Read(place.offset, pieces);
}

std::string WalPayloads::Path(uint64_t wal, bool rocksdb_uses) const {
  return NumberedFile(directory_, wal, rocksdb_uses ? kWalSuffix : kKeptWalSuffix);
}

}  // namespace millrace::storage
