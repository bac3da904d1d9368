#include "storage/wal_payloads.h"

#include <algorithm>
#include <optional>
#include <utility>

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
  bytes_being_written_ = 0;
}

void WalPayloads::Replay(uint64_t wal, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  Wal& replayed = wals_[wal];
  if (replayed.writable == nullptr) replayed.bytes = bytes;
  being_replayed_ = wal;
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
    const bool complete = number != being_written_ && number != being_replayed_;
    if (few && complete && wal.rocksdb_uses) sparse.insert(number);
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
  {
    std::lock_guard lock(mutex_);
    auto found = wals_.find(number);
    if (found == wals_.end()) return IOStatus::OK();  // deleted meanwhile: another flush was quicker
    writable = found->second.writable;
    bytes = found->second.size();
  }
  IOStatus status;
  if (writable != nullptr && writable->Sync(&status)) return status;
  std::lock_guard names(names_mutex_);  // to reopen a file that has another name by now would make an empty one
  {
    std::lock_guard lock(mutex_);
    auto found = wals_.find(number);
    if (found == wals_.end() || !found->second.rocksdb_uses) return IOStatus::OK();
  }
  status = SyncReopened(NumberedFile(directory_, number, kWalSuffix));
  if (!status.ok()) return status;
  std::lock_guard lock(mutex_);
  wals_.at(number).synced = bytes;
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
  if (wals.empty() || gone_tables_.contains(table) || !pins_of_tables_.emplace(table, wals).second) return;
  for (uint64_t wal : wals) ++wals_[wal].pins;
}

void WalPayloads::Unpin(uint64_t table) {
  std::lock_guard names(names_mutex_);
  std::vector<uint64_t> unused;
  {
    std::lock_guard lock(mutex_);
    if (!opened_) gone_tables_.insert(table);
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
  for (uint64_t wal : unused) DeleteFile(wal, kKeptWalSuffix).PermitUncheckedError();
}

IOStatus WalPayloads::Delete(uint64_t number) {
  std::lock_guard names(names_mutex_);
  const std::string kept = NumberedFile(directory_, number, kKeptWalSuffix);
  const bool has_left =
      files_.FileExists(kept, IOOptions(), kNoDebug).ok();  // a stray of that name must not replace it
  bool stays = false;
  {
    std::lock_guard lock(mutex_);
    stays = !has_left && (!opened_ || wals_[number].pins > 0);
    if (!stays && !has_left) wals_.erase(number);
  }
  if (!stays) return DeleteFile(number, kWalSuffix);
  IOStatus status = files_.RenameFile(NumberedFile(directory_, number, kWalSuffix), kept, IOOptions(), kNoDebug);
  if (!status.ok()) return status;
  {
    std::lock_guard lock(mutex_);
    Wal& wal = wals_[number];
    wal.RocksDbLeft();
    stays = wal.pins > 0 || !opened_;  // the last table may have gone meanwhile
    if (!stays) wals_.erase(number);
  }
  return stays ? status : DeleteFile(number, kKeptWalSuffix);
}

void WalPayloads::Wal::RocksDbLeft() {
  bytes = size();
  writable.reset();
  rocksdb_uses = false;
}

IOStatus WalPayloads::Opened() {
  {
    std::lock_guard lock(mutex_);
    gone_tables_.clear();
    opened_ = true;  // from here on no file stays that none refers to: RocksDB deletes in the background, too
  }
  std::lock_guard names_lock(names_mutex_);
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
    const IOStatus deleted = DeleteFile(wal, kKeptWalSuffix);
    if (status.ok() && !deleted.IsPathNotFound()) status = deleted;  // a compaction may have been quicker
  }
  return status;
}

IOStatus WalPayloads::DeleteFile(uint64_t wal, std::string_view suffix) {
  open_files_.Forget(wal);
  return files_.DeleteFile(NumberedFile(directory_, wal, suffix), IOOptions(), kNoDebug);
}

IOStatus WalPayloads::Open(uint64_t number, std::shared_ptr<const OpenFiles::File>* file) {
  *file = open_files_.Find(number);
  if (*file != nullptr) return IOStatus::OK();
  std::lock_guard names(names_mutex_);
  return open_files_.Get(number, PathOf(number), file);
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
  status = file->Read(place.offset, pieces);
  if (status.ok()) return status;
  const std::string path = PathOf(place.wal);
  return status.IsCorruption() ? IOStatus::Corruption(path, status.getState())
                               : IOStatus::IOError(path, status.getState());
}

std::string WalPayloads::PathOf(uint64_t number) const {
  std::lock_guard lock(mutex_);
  auto wal = wals_.find(number);
  const bool rocksdb_uses = wal != wals_.end() && wal->second.rocksdb_uses;
  return NumberedFile(directory_, number, rocksdb_uses ? kWalSuffix : kKeptWalSuffix);
}

}  // namespace millrace::storage
