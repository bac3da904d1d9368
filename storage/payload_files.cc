#include "storage/payload_files.h"

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

// One of ours, or of RocksDB's: 000123.log, 000123.payloads.removed.
bool IsNumbered(const std::string& name) { return name.find_first_not_of("0123456789") == name.find('.'); }

}  // namespace

bool SharedFile::Sync(IOStatus* status) {
  std::lock_guard lock(mutex_);
  if (last_sync_.ok() && file_ == nullptr) return false;
  if (last_sync_.ok()) {
    const uint64_t bytes = written();
    last_sync_ = file_->Sync(IOOptions(), kNoDebug);
    if (last_sync_.ok()) synced_.store(bytes, std::memory_order_release);
    failed_ = !last_sync_.ok();
  }
  *status = last_sync_;
  return true;
}

void SharedFile::Fail(const IOStatus& status) {
  std::lock_guard lock(mutex_);
  if (last_sync_.ok()) last_sync_ = status;
  failed_ = true;
}

void SharedFile::Closing() {
  std::lock_guard lock(mutex_);
  file_ = nullptr;
}

PayloadFiles::PayloadFiles(std::string directory, rocksdb::FileSystem& files, uint64_t removal_piece_bytes)
    : directory_(std::move(directory)),
      files_(files),
      remover_(files, removal_piece_bytes),
      open_files_(kOpenFilesMax) {}

void PayloadFiles::Begin(uint64_t wal, std::shared_ptr<SharedFile> writable) {
  std::lock_guard lock(mutex_);
  MILLRACE_CHECK(!by_number_.contains(wal)) << "WAL file " << wal << " is written anew";
  by_number_[wal].writable = std::move(writable);
  being_written_ = wal;
  bytes_being_written_ = 0;
}

void PayloadFiles::Replay(uint64_t wal, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  File& replayed = by_number_[wal];
  if (replayed.writable == nullptr) replayed.bytes = bytes;
  being_replayed_ = wal;
}

void PayloadFiles::Placed(const PayloadPlace& place, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  by_number_.at(place.file).placed_bytes += bytes;
}

std::set<uint64_t> PayloadFiles::Sparse(double part) const {
  std::lock_guard lock(mutex_);
  std::set<uint64_t> sparse;
  for (const auto& [number, file] : by_number_) {
    const double few_bytes = part * static_cast<double>(file.size());
    const bool few = file.placed_bytes > 0 && static_cast<double>(file.placed_bytes) < few_bytes;
    const bool complete = number != being_written_ && number != being_replayed_;
    if (few && complete && file.in_use) sparse.insert(number);
  }
  return sparse;
}

IOStatus PayloadFiles::BeginMoved(uint64_t* number, std::unique_ptr<rocksdb::FSWritableFile>* file,
                                  std::shared_ptr<SharedFile>* shared) {
  std::lock_guard names(names_mutex_);
  if (last_moved_ == 0) {
    std::vector<Found> found;
    std::vector<std::string> removed;
    IOStatus listed = List(&found, kRemovedSuffix, &removed);
    if (!listed.ok()) return listed;
    last_moved_ = kMovedFiles;
    for (const Found& there : found) last_moved_ = std::max(last_moved_, there.number);
  }
  *number = ++last_moved_;
  IOStatus status = files_.NewWritableFile(KeptPath(*number), rocksdb::FileOptions(), file, kNoDebug);
  if (!status.ok()) return status;
  *shared = std::make_shared<SharedFile>(file->get());
  std::lock_guard lock(mutex_);
  by_number_[*number].writable = *shared;
  return status;
}

void PayloadFiles::EndMoved(uint64_t number) {
  std::lock_guard names(names_mutex_);
  {
    std::lock_guard lock(mutex_);
    auto moved = by_number_.find(number);
    MILLRACE_CHECK(moved != by_number_.end() && moved->second.in_use) << KeptPath(number);
    moved->second.Leave();
    if (moved->second.pins > 0) return;
    by_number_.erase(moved);
  }
  DeletePath(number, KeptPath(number)).PermitUncheckedError();  // if it fails the next start tries again
}

IOStatus PayloadFiles::SyncReferenced() {
  std::vector<uint64_t> unsynced;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [number, file] : by_number_) {
      if (!file.in_use || number == being_written_) continue;
      if (file.writable != nullptr && file.writable->settled()) continue;
      if (IsMoved(number) || file.synced < file.size()) unsynced.push_back(number);
    }
  }
  for (uint64_t number : unsynced) {
    IOStatus status = Sync(number);
    if (!status.ok()) return status;
  }
  return IOStatus::OK();
}

IOStatus PayloadFiles::Sync(uint64_t number) {
  std::shared_ptr<SharedFile> writable;
  uint64_t bytes = 0;
  {
    std::lock_guard lock(mutex_);
    auto found = by_number_.find(number);
    if (found == by_number_.end()) return IOStatus::OK();  // deleted meanwhile: another flush was quicker
    writable = found->second.writable;
    bytes = found->second.size();
  }
  IOStatus status;
  if (writable != nullptr && writable->Sync(&status)) return status;
  if (IsMoved(number)) return IOStatus::OK();  // closed meanwhile: by then it was synced
  std::lock_guard names(names_mutex_);         // to reopen a file that has another name by now would make an empty one
  {
    std::lock_guard lock(mutex_);
    auto found = by_number_.find(number);
    if (found == by_number_.end() || !found->second.in_use) return IOStatus::OK();
  }
  status = SyncReopened(NumberedFile(directory_, number, kWalSuffix));
  if (!status.ok()) return status;
  std::lock_guard lock(mutex_);
  by_number_.at(number).synced = bytes;
  return status;
}

// What is closed, or an earlier process wrote: its bytes, and its name in the directory.
IOStatus PayloadFiles::SyncReopened(const std::string& path) {
  std::unique_ptr<rocksdb::FSWritableFile> file;
  IOStatus status = files_.ReopenWritableFile(path, rocksdb::FileOptions(), &file, kNoDebug);
  if (status.ok()) status = file->Sync(IOOptions(), kNoDebug);
  if (status.ok()) status = file->Close(IOOptions(), kNoDebug);
  return status.ok() ? SyncDirectory(files_, directory_) : status;
}

void PayloadFiles::Pin(uint64_t table, const std::vector<PayloadReference>& references, bool counts) {
  std::lock_guard lock(mutex_);
  if (references.empty() || gone_tables_.contains(table)) return;
  const auto [pins, is_new] = pins_of_tables_.emplace(table, Pins{references, false});
  if (!is_new) return;
  for (const PayloadReference& reference : references) ++by_number_[reference.file].pins;
  Count(pins->second, counts);
}

void PayloadFiles::Count(Pins& pins, bool counts) {
  if (pins.counts == counts) return;
  pins.counts = counts;
  for (const PayloadReference& reference : pins.references) {
    File& file = by_number_.at(reference.file);
    file.referenced_bytes += counts ? reference.bytes : -reference.bytes;
  }
}

void PayloadFiles::Replace(const std::vector<uint64_t>& from, const std::vector<uint64_t>& made) {
  std::lock_guard lock(mutex_);
  const auto count = [this](const std::vector<uint64_t>& tables, bool counts) {
    for (uint64_t table : tables) {
      auto pins = pins_of_tables_.find(table);  // some refer to nothing, and some are gone already
      if (pins != pins_of_tables_.end()) Count(pins->second, counts);
    }
  };
  count(from, false);
  count(made, true);  // also one that only moved to another level
}

void PayloadFiles::Unpin(uint64_t table) {
  std::lock_guard names(names_mutex_);
  std::vector<uint64_t> unused;
  {
    std::lock_guard lock(mutex_);
    if (!opened_) gone_tables_.insert(table);
    auto pins = pins_of_tables_.extract(table);
    if (pins.empty()) return;
    Count(pins.mapped(), false);
    for (const PayloadReference& reference : pins.mapped().references) {
      auto found = by_number_.find(reference.file);
      MILLRACE_CHECK(found != by_number_.end() && found->second.pins > 0)
          << "file " << reference.file << " was not pinned";
      File& file = found->second;
      if (--file.pins > 0 || file.in_use || !opened_) continue;
      by_number_.erase(found);
      unused.push_back(reference.file);
    }
  }
  // If it fails the next start tries again.
  for (uint64_t number : unused) DeletePath(number, KeptPath(number)).PermitUncheckedError();
}

IOStatus PayloadFiles::Delete(uint64_t wal) {
  std::lock_guard names(names_mutex_);
  const std::string path = NumberedFile(directory_, wal, kWalSuffix);
  // A stray of that name must not replace it.
  const bool has_left = files_.FileExists(KeptPath(wal), IOOptions(), kNoDebug).ok();
  bool stays = false;
  {
    std::lock_guard lock(mutex_);
    stays = !has_left && (!opened_ || by_number_[wal].pins > 0);
    if (!stays && !has_left) by_number_.erase(wal);
  }
  if (!stays) return DeletePath(wal, path);
  IOStatus status = files_.RenameFile(path, KeptPath(wal), IOOptions(), kNoDebug);
  if (!status.ok()) return status;
  {
    std::lock_guard lock(mutex_);
    File& file = by_number_[wal];
    file.Leave();
    stays = file.pins > 0 || !opened_;  // the last table may have gone meanwhile
    if (!stays) by_number_.erase(wal);
  }
  return stays ? status : DeletePath(wal, KeptPath(wal));
}

void PayloadFiles::File::Leave() {
  bytes = size();
  writable.reset();
  in_use = false;
}

IOStatus PayloadFiles::List(std::vector<Found>* found, std::string_view suffix, std::vector<std::string>* others) {
  std::vector<std::string> names;
  IOStatus status = files_.GetChildren(directory_, IOOptions(), &names, kNoDebug);
  for (const std::string& name : names) {
    const std::optional<uint64_t> wal = FileNumber(name, kKeptWalSuffix);
    const std::optional<uint64_t> moved = FileNumber(name, kMovedSuffix);
    if (name.ends_with(suffix) && IsNumbered(name)) others->push_back(directory_ + "/" + name);
    if (!wal && !moved) continue;
    Found there = {.number = wal ? *wal : kMovedFiles + *moved, .bytes = 0};
    // One that is deleted at this moment has no size.
    files_.GetFileSize(directory_ + "/" + name, IOOptions(), &there.bytes, kNoDebug).PermitUncheckedError();
    found->push_back(there);
  }
  return status;
}

IOStatus PayloadFiles::Opened() {
  {
    std::lock_guard lock(mutex_);
    gone_tables_.clear();
    opened_ = true;  // from here on no file stays that none refers to: RocksDB deletes in the background, too
  }
  std::lock_guard names_lock(names_mutex_);
  std::vector<Found> found;
  std::vector<std::string> removed;
  IOStatus status = List(&found, kRemovedSuffix, &removed);
  for (const std::string& path : removed) remover_.Resume(path);  // what an earlier process did not finish
  std::vector<uint64_t> unused;
  {
    std::lock_guard lock(mutex_);
    for (const Found& there : found) {
      File& file = by_number_[there.number];
      if (IsMoved(there.number) && file.writable != nullptr) continue;  // a compaction moves payloads into it already
      if (file.in_use && file.writable == nullptr) file.bytes = there.bytes;
      if (file.in_use) file.Leave();
      if (file.pins > 0) continue;
      by_number_.erase(there.number);
      unused.push_back(there.number);
    }
  }
  for (uint64_t number : unused) {
    const IOStatus deleted = DeletePath(number, KeptPath(number));
    if (status.ok() && !deleted.IsPathNotFound()) status = deleted;  // a compaction may have been quicker
  }
  return status;
}

IOStatus PayloadFiles::TakeAsTheyAre() {
  std::vector<Found> found;
  std::vector<std::string> logs;
  IOStatus status = List(&found, kWalSuffix, &logs);
  for (const std::string& path : logs) Replay(*FileNumber(path, kWalSuffix), 0);
  std::lock_guard lock(mutex_);
  for (const Found& there : found) {
    File& file = by_number_[there.number];
    file.bytes = there.bytes;
    file.in_use = false;
  }
  return status;
}

PayloadFiles::Space PayloadFiles::space() const {
  std::lock_guard lock(mutex_);
  Space space;
  for (const auto& [number, file] : by_number_) {
    if (file.going()) continue;
    const uint64_t live = file.in_use ? file.size() : file.live();
    space.live += live;
    space.dead += file.size() - live;
    if (file.stuck) space.stuck += file.size() - live;
  }
  return space;
}

uint64_t PayloadFiles::ReferencedBytes(uint64_t number) const {
  std::lock_guard lock(mutex_);
  auto file = by_number_.find(number);
  return file == by_number_.end() ? 0 : file->second.referenced_bytes;
}

bool PayloadFiles::BeginEvacuation(uint64_t dead_max, uint64_t live_max, double dead_part_min) {
  std::lock_guard lock(mutex_);
  MILLRACE_CHECK(evacuated_.empty());
  struct Candidate {
    uint64_t number;
    uint64_t live;
    uint64_t dead;
  };
  std::vector<Candidate> candidates;
  uint64_t dead = 0;
  for (const auto& [number, file] : by_number_) {
    if (file.in_use || file.stuck || file.going() || file.live() == file.size()) continue;
    const Candidate candidate = {number, file.live(), file.size() - file.live()};
    dead += candidate.dead;
    const double dead_part = static_cast<double>(candidate.dead) / static_cast<double>(file.size());
    if (dead_part >= dead_part_min) candidates.push_back(candidate);
  }
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return a.live * (b.live + b.dead) < b.live * (a.live + a.dead);
  });
  uint64_t live = 0;
  for (const Candidate& file : candidates) {
    live += file.live;
    if (dead <= dead_max || live > live_max) break;
    dead -= file.dead;
    evacuated_.insert(file.number);
  }
  return !evacuated_.empty();
}

std::set<uint64_t> PayloadFiles::evacuated() const {
  std::lock_guard lock(mutex_);
  return evacuated_;
}

void PayloadFiles::Unreadable(uint64_t number) {
  std::lock_guard lock(mutex_);
  if (auto file = by_number_.find(number); file != by_number_.end()) file->second.stuck = true;
}

void PayloadFiles::EndEvacuation() {
  std::lock_guard lock(mutex_);
  evacuated_.clear();
}

bool PayloadFiles::IsBeingWritten(uint64_t number) const {
  std::lock_guard lock(mutex_);
  return number == being_written_;
}

IOStatus PayloadFiles::DeletePath(uint64_t number, const std::string& path) {
  open_files_.Forget(number);
  return remover_.Remove(path);
}

IOStatus PayloadFiles::Open(uint64_t number, std::shared_ptr<const OpenFiles::File>* file) {
  *file = open_files_.Find(number);
  if (*file != nullptr) return IOStatus::OK();
  // Who writes reads the log's first record back, and must not wait while files are renamed and deleted. The log has its name until
  // RocksDB has written the next one for a while.
  if (IsBeingWritten(number) && open_files_.Get(number, NumberedFile(directory_, number, kWalSuffix), file).ok()) {
    return IOStatus::OK();
  }
  std::lock_guard names(names_mutex_);
  return open_files_.Get(number, PathOf(number), file);
}

IOStatus PayloadFiles::Read(const PayloadPlace& place, size_t bytes, char* out) {
  std::shared_ptr<const OpenFiles::File> file;
  IOStatus status = Open(place.file, &file);
  if (!status.ok()) return status;
  char waste[kWalHeaderBytes];  // each header in turn
  std::vector<iovec> pieces;
  if (IsMoved(place.file)) {
    pieces = {{out, bytes}};
  } else {
    pieces.reserve(2 * (bytes / kWalBlockBytes + 2));
    size_t piece = std::min<size_t>(bytes, kWalBlockBytes - place.offset % kWalBlockBytes);
    for (size_t filled = 0;;) {
      pieces.push_back({out + filled, piece});
      filled += piece;
      if (filled == bytes) break;
      pieces.push_back({waste, kWalHeaderBytes});
      piece = std::min(bytes - filled, kWalBlockBytes - kWalHeaderBytes);
    }
  }
  status = file->Read(place.offset, pieces);
  if (status.ok()) return status;
  const std::string path = PathOf(place.file);
  return status.IsCorruption() ? IOStatus::Corruption(path, status.getState())
                               : IOStatus::IOError(path, status.getState());
}

std::string PayloadFiles::KeptPath(uint64_t number) const {
  return IsMoved(number) ? NumberedFile(directory_, number - kMovedFiles, kMovedSuffix)
                         : NumberedFile(directory_, number, kKeptWalSuffix);
}

std::string PayloadFiles::PathOf(uint64_t number) const {
  std::lock_guard lock(mutex_);
  auto file = by_number_.find(number);
  const bool is_log = !IsMoved(number) && file != by_number_.end() && file->second.in_use;
  return is_log ? NumberedFile(directory_, number, kWalSuffix) : KeptPath(number);
}

}  // namespace millrace::storage
