#include "storage/wal_values.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"
#include "storage/file_system.h"

namespace millrace::storage {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

namespace {

constexpr IODebugContext* kNoDebug = nullptr;

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

void WalValues::Begin(uint64_t wal, std::shared_ptr<WritableWal> writable) {
  std::lock_guard lock(mutex_);
  MILLRACE_CHECK(!wals_.contains(wal)) << "WAL file " << wal << " is written anew";
  wals_[wal].writable = std::move(writable);
}

bool WalValues::Replay(uint64_t wal, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  Wal& replayed = wals_[wal];
  if (replayed.writable != nullptr) return false;
  replayed.bytes = bytes;
  replayed.values.clear();
  return true;
}

void WalValues::Add(uint64_t wal, std::string_view key, const WalValue& value) {
  std::lock_guard lock(mutex_);
  auto found = wals_.find(wal);
  if (found == wals_.end()) return;
  found->second.values.insert_or_assign(std::string(key), value);
}

std::optional<WalValues::Place> WalValues::Take(const std::string& key, uint64_t bytes, uint32_t crc,
                                                std::set<uint64_t>& pinned) {
  std::lock_guard lock(mutex_);
  for (auto wal = wals_.rbegin(); wal != wals_.rend(); ++wal) {
    auto& [number, file] = *wal;
    auto found = file.values.find(key);
    if (found == file.values.end()) continue;
    const WalValue value = found->second;
    if (value.bytes != bytes || value.crc != crc) continue;
    file.values.erase(found);
    file.taken_bytes += value.bytes;
    if (pinned.insert(number).second) ++file.pins;
    return Place{number, value};
  }
  return std::nullopt;
}

bool WalValues::IsWorthKeeping(uint64_t wal) const {
  std::lock_guard lock(mutex_);
  const Wal& file = wals_.at(wal);
  const uint64_t file_bytes = file.writable != nullptr ? file.writable->written() : file.bytes;
  return file.taken_bytes * 2 >= file_bytes;
}

IOStatus WalValues::Sync(uint64_t wal, uint64_t bytes) {
  std::shared_ptr<WritableWal> writable;
  std::string path;
  {
    std::lock_guard lock(mutex_);
    const Wal& file = wals_.at(wal);
    if (file.synced >= bytes) return IOStatus::OK();
    writable = file.writable;
    path = Path(wal, file.rocksdb_uses);
  }
  IOStatus status;
  if (writable != nullptr) {
    if (writable->synced() >= bytes) return status;
    if (writable->Sync(&status)) return status;
  }
  status = SyncReopened(path);
  if (!status.ok()) return status;
  std::lock_guard lock(mutex_);
  Wal& file = wals_.at(wal);
  file.synced = std::max(file.synced, bytes);
  return status;
}

// What an earlier process wrote and perhaps did not sync: its bytes, and its name in the directory.
IOStatus WalValues::SyncReopened(const std::string& path) {
  std::unique_ptr<rocksdb::FSWritableFile> file;
  IOStatus status = files_.ReopenWritableFile(path, rocksdb::FileOptions(), &file, kNoDebug);
  if (status.ok()) status = file->Sync(IOOptions(), kNoDebug);
  if (status.ok()) status = file->Close(IOOptions(), kNoDebug);
  return status.ok() ? SyncDirectory(files_, directory_) : status;
}

void WalValues::Pin(uint64_t wal) {
  std::lock_guard lock(mutex_);
  ++wals_[wal].pins;
}

void WalValues::Unpin(uint64_t wal) {
  {
    std::lock_guard lock(mutex_);
    auto found = wals_.find(wal);
    MILLRACE_CHECK(found != wals_.end() && found->second.pins > 0) << "WAL file " << wal << " was not pinned";
    if (--found->second.pins > 0 || found->second.rocksdb_uses) return;
    wals_.erase(found);
    if (wal <= keep_unpinned_to_) {
      kept_unpinned_.insert(wal);
      return;
    }
  }
  // If it fails the next start tries again.
  DeleteFile(wal, /*rocksdb_uses=*/false).PermitUncheckedError();
}

void WalValues::KeepUnpinned(uint64_t last) {
  std::lock_guard lock(mutex_);
  keep_unpinned_to_ = last;
}

void WalValues::DeleteKeptUnpinned() {
  std::set<uint64_t> kept;
  {
    std::lock_guard lock(mutex_);
    keep_unpinned_to_ = 0;
    kept.swap(kept_unpinned_);
  }
  for (uint64_t wal : kept) DeleteFile(wal, /*rocksdb_uses=*/false).PermitUncheckedError();  // as in Unpin
}

IOStatus WalValues::Delete(uint64_t wal) {
  {
    std::lock_guard lock(mutex_);
    auto found = wals_.find(wal);
    const bool pinned = found != wals_.end() && found->second.pins > 0;
    const bool unknown = !pinned && wal <= keep_unpinned_to_;
    if (pinned || unknown) {
      IOStatus status = files_.RenameFile(Path(wal, true), Path(wal, false), IOOptions(), kNoDebug);
      if (!status.ok()) return status;
    }
    if (pinned) {
      found->second.RocksDbLeft();
      return IOStatus::OK();
    }
    wals_.erase(wal);
    if (unknown) {
      kept_unpinned_.insert(wal);
      return IOStatus::OK();
    }
  }
  return DeleteFile(wal, /*rocksdb_uses=*/true);
}

void WalValues::Wal::RocksDbLeft() {
  if (writable != nullptr) {
    bytes = writable->written();
    synced = std::max(synced, writable->synced());
    writable.reset();
  }
  rocksdb_uses = false;
  values = {};
}

IOStatus WalValues::DeleteUnpinned(const std::vector<uint64_t>& kept) {
  for (uint64_t wal : kept) {
    uint64_t bytes = 0;
    IOStatus status = files_.GetFileSize(Path(wal, false), IOOptions(), &bytes, kNoDebug);
    if (!status.ok()) return status;
    {
      std::lock_guard lock(mutex_);
      auto found = wals_.find(wal);
      if (found != wals_.end()) {
        found->second.rocksdb_uses = false;
        found->second.bytes = found->second.synced = bytes;
        continue;
      }
      if (wal <= keep_unpinned_to_) {
        kept_unpinned_.insert(wal);
        continue;
      }
    }
    status = DeleteFile(wal, /*rocksdb_uses=*/false);
    if (!status.ok()) return status;
  }
  return IOStatus::OK();
}

IOStatus WalValues::DeleteFile(uint64_t wal, bool rocksdb_uses) {
  open_files_.Forget(wal);
  return files_.DeleteFile(Path(wal, rocksdb_uses), IOOptions(), kNoDebug);
}

IOStatus WalValues::Open(uint64_t wal, std::shared_ptr<const OpenFiles::File>* file) {
  std::lock_guard lock(mutex_);  // against a rename between asking for the path and opening it
  auto found = wals_.find(wal);
  const bool rocksdb_uses = found != wals_.end() && found->second.rocksdb_uses;
  return open_files_.Get(wal, Path(wal, rocksdb_uses), file);
}

IOStatus WalValues::Read(uint64_t wal, uint64_t value_offset, uint64_t skip, size_t bytes, char* out) {
  std::shared_ptr<const OpenFiles::File> file;
  IOStatus status = Open(wal, &file);
  if (!status.ok()) return status;
  const uint64_t begin = WalPosition(value_offset, skip);
  char waste[kWalHeaderBytes];  // each header in turn
  std::vector<iovec> pieces;
  pieces.reserve(2 * (bytes / kWalBlockBytes + 2));
  size_t piece = std::min<size_t>(bytes, kWalBlockBytes - begin % kWalBlockBytes);
  for (size_t filled = 0;;) {
    pieces.push_back({out + filled, piece});
    filled += piece;
    if (filled == bytes) break;
    pieces.push_back({waste, kWalHeaderBytes});
    piece = std::min(bytes - filled, kWalBlockBytes - kWalHeaderBytes);
  }
  return file->Read(begin, pieces);
}

std::string WalValues::Path(uint64_t wal, bool rocksdb_uses) const {
  return NumberedFile(directory_, wal, rocksdb_uses ? kWalSuffix : kKeptWalSuffix);
}

}  // namespace millrace::storage
