#include "storage/wal_scan.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "proto/wire/crc32c.h"
#include "storage/little_endian.h"
#include "storage/rocks_util.h"
#include "storage/wal_format.h"

namespace millrace::storage {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

namespace {

constexpr IODebugContext* kNoDebug = nullptr;
constexpr uint64_t kAll = std::numeric_limits<uint64_t>::max();

// `log data(1) length(1) 'S' synced(8) newest log(8) the one before(8)`, first thing after the batch's header.
constexpr char kSyncedMark = 'S';
constexpr size_t kMarkBytes = 25;
constexpr size_t kHeadBytes = kBatchHeaderBytes + 2 + kMarkBytes;

struct Record {
  uint64_t offset = 0;
  uint64_t sequence = 0;
  uint64_t count = 0;
  uint64_t bytes = 0;  // of its batch
  // By its mark; all 0 without one.
  uint64_t synced = 0;
  StoreFileSystem::NewestWals wals;
};

// The records of one log file, and the places where there should be one that cannot be read.
class RecordWalker {
 public:
  std::function<void(const Record&)> on_record;
  // `ends`: because the file ends before it does.
  std::function<void(uint64_t offset, bool ends)> on_unreadable;

  // `block` is the next kWalBlockBytes of the file, fewer at its end.
  void Walk(std::string_view block) {
    size_t at = 0;
    while (block.size() - at >= kWalHeaderBytes) {
      const size_t size = Fragment(block.substr(at), offset_ + at);
      if (size == 0) break;  // where the next one begins is not known, but where the next block's first one does
      at += size;
    }
    offset_ += block.size();
  }
  void End() {
    if (in_record_) Unreadable(record_.offset, /*ends=*/true);
    in_record_ = false;
  }

 private:
  // Bytes it takes with its header; 0 if that cannot be told.
  size_t Fragment(std::string_view block, uint64_t offset) {
    const size_t size = WalFragmentBytes(block.data());
    const auto type = static_cast<uint8_t>(block[6]);
    const bool fits = kWalHeaderBytes + size <= block.size();
    const auto crc = LittleEndianReader(block.substr(0, 4)).Get<uint32_t>();
    if (!fits || type < kFull || type > kLast || UnmaskedCrc(crc) != Crc32c(0, block.substr(6, 1 + size))) {
      // No fragment goes beyond its block.
      const bool ends =
          !fits && type >= kFull && type <= kLast && offset % kWalBlockBytes + kWalHeaderBytes + size <= kWalBlockBytes;
      Unreadable(in_record_ ? record_.offset : offset, ends);
      in_record_ = false;
      // The length is most likely right: what comes next, by its own checksum, may say what was synced. Zeros have none.
      return fits && size > 0 ? kWalHeaderBytes + size : 0;
    }
    const bool begins = type == kFull || type == kFirst;
    if (begins == in_record_ && !(lost_ && !begins)) {
      Unreadable(in_record_ ? record_.offset : offset, /*ends=*/false);
    }
    if (begins) {
      record_ = {.offset = offset};
      head_.clear();
      in_record_ = true;
      lost_ = false;
    }
    if (in_record_) {
      record_.bytes += size;
      head_.append(block.substr(kWalHeaderBytes, std::min(size, kHeadBytes - head_.size())));
      if (type == kFull || type == kLast) EndRecord();
    }
    return kWalHeaderBytes + size;
  }

  void EndRecord() {
    in_record_ = false;
    if (head_.size() < kBatchHeaderBytes) return Unreadable(record_.offset, /*ends=*/false);
    LittleEndianReader in(head_);
    record_.sequence = in.Get<uint64_t>();
    record_.count = in.Get<uint32_t>();
    const std::string_view rest = std::string_view(head_).substr(kBatchHeaderBytes);
    if (rest.size() == 2 + kMarkBytes && rest[0] == kLogDataTag && rest[1] == kMarkBytes && rest[2] == kSyncedMark) {
      LittleEndianReader mark(rest.substr(3));
      record_.synced = mark.Get<uint64_t>();
      record_.wals.newest = mark.Get<uint64_t>();
      record_.wals.previous = mark.Get<uint64_t>();
    }
    on_record(record_);
  }

  void Unreadable(uint64_t offset, bool ends) {
    lost_ = true;
    on_unreadable(offset, ends);
  }

  uint64_t offset_ = 0;  // of the block
  bool in_record_ = false;
  bool lost_ = false;  // since the last readable record: fragments without a beginning are part of what was lost
  Record record_;
  std::string head_;
};

class Scan {
  struct Spot {
    std::string path;
    uint64_t offset;
    bool ends = false;  // as RecordWalker has it
  };

 public:
  Scan(rocksdb::FileSystem& files, std::string directory, uint64_t first_wal)
      : files_(files), directory_(std::move(directory)), first_wal_(first_wal) {}

  IOStatus File(uint64_t wal) {
    path_ = NumberedFile(directory_, wal, kWalSuffix);
    std::vector<Record> records;
    std::optional<Spot> unreadable;  // behind how many records, and where
    size_t readable = 0;
    RecordWalker walker;
    walker.on_record = [&](const Record& record) { records.push_back(record); };
    walker.on_unreadable = [&](uint64_t offset, bool ends) {
      if (unreadable) {
        unreadable->ends = false;  // it is not the last thing there is
        return;
      }
      unreadable = {path_, offset, ends};
      readable = records.size();
    };
    IOStatus status = Walk(walker);
    if (!status.ok()) return status;
    // A smaller one: the batch waited for the end of a stall while newer files were made.
    if (const uint64_t before = FileBefore(wal, records); before >= first_wal_ && before > last_file_) {
      Lose({NumberedFile(directory_, before, kWalSuffix), 0});
    }
    for (size_t i = 0; i < records.size(); ++i) {
      if (unreadable && i == readable) Lose(*unreadable);
      OnRecord(wal, records[i]);
    }
    if (unreadable) Lose(*unreadable);
    if (!records.empty()) last_file_ = wal;
    return status;
  }

  Replayable Verdict() {
    Replayable replayable{.last = kAll, .large_records = std::move(large_records_)};
    if (!lost_) return replayable;
    replayable.last = last_.value_or(0);
    // What was lost begins after the last record before it, or, if there is none, ends before the first one after it.
    const bool promised = last_ ? synced_ > *last_ : found_again_ && synced_ + 1 >= *found_again_;
    if (!promised) {
      replayable.cut = absl::StrCat(lost_->path, ", offset ", lost_->offset);
      replayable.cut_short = lost_->ends && !found_again_;
      return replayable;
    }
    replayable.damage = absl::DataLossError(absl::StrCat(
        "the write-ahead log is damaged: ", lost_->path, " cannot be read at offset ", lost_->offset,
        ", and later records say that it was on the disk (up to number ", synced_,
        "); acknowledged records of any partition may lie in it and cannot be read back, so nothing was opened or "
        "changed. Keep a copy of the directory, check the disk, let `millrace inspect ",
        directory_, "` tell what of each partition can be read, and restore the file or the directory from a backup"));
    return replayable;
  }

 private:
  IOStatus Walk(RecordWalker& walker) {
    std::unique_ptr<rocksdb::FSSequentialFile> file;
    IOStatus status = files_.NewSequentialFile(path_, rocksdb::FileOptions(), &file, kNoDebug);
    if (!status.ok()) return status;
    file->InvalidateCache(0, 0).PermitUncheckedError();
    std::string scratch(kWalBlockBytes, '\0');
    for (Slice block(scratch); block.size() == kWalBlockBytes;) {
      status = file->Read(kWalBlockBytes, IOOptions(), &block, scratch.data(), kNoDebug);
      if (!status.ok()) return status;
      walker.Walk(ToView(block));
    }
    walker.End();
    return status;
  }

  // A batch may land in a later file than the newest one when it was begun, and none may say more than it knew.
  static uint64_t FileBefore(uint64_t wal, const std::vector<Record>& records) {
    uint64_t before = 0;
    for (const Record& record : records) {
      for (uint64_t known : {record.wals.newest, record.wals.previous}) {
        if (known < wal) before = std::max(before, known);
      }
    }
    return before;
  }

  void OnRecord(uint64_t wal, const Record& record) {
    synced_ = std::max(synced_, record.synced);
    if (last_ && record.sequence != *last_ + 1) Lose({path_, record.offset});  // records are missing before it
    if (lost_) {
      if (!found_again_) found_again_ = record.sequence;
      return;
    }
    last_ = record.sequence + record.count - 1;
    if (record.bytes < kPlacedBytesMin) return;
    large_records_.push_back({record.sequence, {wal, WalRecordBegin(record.offset)}});
  }
  // Only what was lost first counts; whether anything is behind it matters, too.
  void Lose(Spot spot) {
    const bool is_last = !lost_ || (lost_->path == spot.path && lost_->offset == spot.offset);
    if (!lost_) lost_ = std::move(spot);
    lost_->ends &= is_last;
  }

  rocksdb::FileSystem& files_;
  const std::string directory_;
  const uint64_t first_wal_;
  std::string path_;
  uint64_t last_file_ = 0;               // that had a record
  std::optional<uint64_t> last_;         // sequence number, before anything was lost
  std::optional<uint64_t> found_again_;  // the first one after that
  std::optional<Spot> lost_;
  uint64_t synced_ = 0;
  std::vector<Replayable::LargeRecord> large_records_;
};

}  // namespace

void PutSyncedMark(rocksdb::WriteBatch& batch, uint64_t sequence, const StoreFileSystem::NewestWals& wals) {
  char mark[kMarkBytes] = {kSyncedMark};
  LittleEndianWriter(mark + 1).Put<uint64_t>(sequence).Put<uint64_t>(wals.newest).Put<uint64_t>(wals.previous);
  batch.PutLogData(Slice(mark, sizeof(mark)));
}

absl::StatusOr<Replayable> ScanWal(rocksdb::FileSystem& files, const std::string& directory, uint64_t first_wal) {
  std::vector<std::string> names;
  IOStatus status = files.GetChildren(directory, IOOptions(), &names, kNoDebug);
  std::vector<uint64_t> wals;
  for (const std::string& name : names) {
    const std::optional<uint64_t> wal = FileNumber(name, kWalSuffix);
    if (wal && *wal >= first_wal) wals.push_back(*wal);
  }
  std::sort(wals.begin(), wals.end());
  Scan scan(files, directory, first_wal);
  for (size_t i = 0; status.ok() && i < wals.size(); ++i) status = scan.File(wals[i]);
  if (!status.ok()) return ReadError("the write-ahead log", status);
  return scan.Verdict();
}

void WalGuard::ColumnFamilyLogNumberMap(const std::map<uint32_t, uint64_t>& first_wals,
                                        const std::map<std::string, uint32_t>&) {
  uint64_t first_wal = kAll;
  for (const auto& [family, wal] : first_wals) first_wal = std::min(first_wal, wal);
  absl::StatusOr<Replayable> replayable = ScanWal(files_, directory_, first_wal);
  status_ = replayable.ok() ? replayable->damage : replayable.status();
  if (status_.ok()) {
    cut_ = replayable->cut;
    cut_short_ = replayable->cut_short;
  }
  const bool replays = replayable.ok() && (status_.ok() || on_damage_ == OnDamage::kReplayUpToIt);
  if (replays) replayable_ = *std::move(replayable);
  if (!replays) files_.RefuseWals(IOStatus::Corruption(std::string(status_.message())));
}

rocksdb::WalFilter::WalProcessingOption WalGuard::LogRecordFound(unsigned long long wal,  // NOLINT(google-runtime-int)
                                                                 const std::string&, const rocksdb::WriteBatch& batch,
                                                                 rocksdb::WriteBatch*, bool*) {
  const auto sequence = LittleEndianReader(batch.Data()).Get<uint64_t>();
  if (sequence > replayable_.last) return WalProcessingOption::kStopReplay;
  const auto& large = replayable_.large_records;
  const auto found = std::lower_bound(large.begin(), large.end(), sequence,
                                      [](const auto& record, uint64_t wanted) { return record.sequence < wanted; });
  record_.Forget();
  if (found != large.end() && found->sequence == sequence && found->first_byte.file == wal) {
    record_.Replaying(found->first_byte);
  }
  return WalProcessingOption::kContinueProcessing;
}

}  // namespace millrace::storage
