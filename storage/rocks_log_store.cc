#include "storage/rocks_log_store.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <utility>

#include <rocksdb/db.h>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"
#include "storage/database.h"
#include "storage/keys.h"
#include "storage/log_editor.h"
#include "storage/log_image.h"
#include "storage/log_reader.h"
#include "storage/open_log.h"
#include "storage/rocks_util.h"
#include "storage/round.h"
#include "storage/space_reclaimer.h"
#include "storage/store_health.h"
#include "storage/sync_thread.h"
#include "storage/tail_cache.h"
#include "storage/wal_scan.h"

namespace millrace::storage {

using raft::Entry;
using raft::GroupId;
using raft::LogIndex;
using raft::LogState;
using raft::Offset;

namespace {

absl::Status NoLog(GroupId group) { return absl::NotFoundError(absl::StrCat("no open log of group ", group.value())); }

absl::Status NotInLog(std::string_view what, int64_t asked, int64_t first, int64_t last) {
  return absl::OutOfRangeError(absl::StrCat(absl::string_view(what.data(), what.size()), " ", asked,
                                            " is not in the log, which has ", first, " to ", last));
}

}  // namespace

class RocksLogStore::Impl {
 public:
  explicit Impl(Options options)
      : options_(std::move(options)), health_(options_.on_fatal), cache_(options_.cache_bytes) {}

  absl::Status OpenDatabase() {
    absl::StatusOr<std::unique_ptr<Database>> database = Database::Open(options_, health_);
    if (!database.ok()) return database.status();
    database_ = *std::move(database);
    reader_.emplace(database_->db(), database_->payloads());
    synced_sequence_ = database_->db().GetLatestSequenceNumber();  // opening ends with a sync
    syncs_.emplace([this] { return SyncWal(); }, options_.on_sync_thread);
    absl::StatusOr<std::vector<std::string>> removed_groups = reader_->RemovedGroupsKeys();
    if (!removed_groups.ok()) return removed_groups.status();
    reclaimer_.emplace(database_->db(), database_->payloads(), database_->stall(),
                       SpaceReclaimer::Options{.delay = options_.reclaim_delay,
                                               .dead_bytes_max = options_.dead_bytes_max,
                                               .removed_before = database_->have_removals(),
                                               .removed_groups = *std::move(removed_groups),
                                               .forget = [this](const auto& keys) { return Forget(keys); },
                                               .space_is_short = options_.space_is_short});
    return absl::OkStatus();
  }

  absl::Status Close() {
    syncs_.reset();
    reclaimer_.reset();
    if (!health_.ok()) return health_.status();
    return database_->Close();
  }

  absl::Status SyncWal() {
    if (!health_.ok()) return health_.status();
    const uint64_t sequence = database_->db().GetLatestSequenceNumber();
    const rocksdb::Status status = database_->db().SyncWAL();
    if (!status.ok()) return Fail("syncing", status);
    synced_sequence_.store(sequence, std::memory_order_release);
    sync_count_.fetch_add(1, std::memory_order_relaxed);
    return absl::OkStatus();
  }

  absl::Status Fail(std::string_view doing, const rocksdb::Status& status) {
    return health_.Fail(absl::InternalError(absl::StrCat(
        absl::string_view(doing.data(), doing.size()), " the store in ", options_.directory,
        " failed: ", status.ToString(),
        "; what reached the disk is unknown, so the broker must stop: mend the cause and start it again")));
  }

  std::shared_ptr<OpenLog> Find(GroupId group) {
    std::lock_guard lock(logs_mutex_);
    auto found = logs_.find(group);
    return found == logs_.end() ? nullptr : found->second;
  }

  std::shared_ptr<OpenLog> FindOpened(GroupId group) {
    std::shared_ptr<OpenLog> log = Find(group);
    MILLRACE_CHECK(log != nullptr) << "group " << group << " is not open";
    return log;
  }

  absl::StatusOr<std::shared_ptr<OpenLog>> FindForRead(GroupId group) {
    if (!health_.ok()) return health_.status();
    std::shared_ptr<OpenLog> log = Find(group);
    if (log == nullptr) return NoLog(group);
    return log;
  }

  // Every batch of this file begins so; the database's own marks (database.cc) say nothing of what is synced.
  void BeginBatch(rocksdb::WriteBatch& batch) {
    PutSyncedMark(batch, synced_sequence_.load(std::memory_order_acquire), database_->files().newest_wals());
  }

  absl::Status WriteBatch(rocksdb::WriteBatch& batch) {
    const rocksdb::Status status = database_->Write(batch);
    if (status.ok()) return absl::OkStatus();
    if (!status.IsIncomplete()) return Fail("writing to", status);
    if (!health_.ok()) return health_.status();
    return raft::StalledError();
  }

  absl::Status Create(GroupId group, const raft::SegmentLimits& limits);
  absl::Status Remove(std::vector<GroupId> groups);
  absl::StatusOr<LogState> OpenGroup(GroupId group);
  absl::Status Write(RocksRound& round);
  void WhenWritable(std::function<void()> retry);
  absl::StatusOr<std::vector<Entry>> Read(GroupId group, Offset from, Offset end, size_t bytes_max);
  absl::StatusOr<std::vector<Entry>> ReadEntries(GroupId group, LogIndex first, LogIndex last, size_t bytes_max);
  absl::StatusOr<raft::Term> TermAt(GroupId group, LogIndex index);
  absl::StatusOr<raft::EntryHeader> HeaderAt(GroupId group, LogIndex index);
  absl::StatusOr<raft::EntryHeader> HeaderFor(GroupId group, Offset offset);
  absl::StatusOr<Offset> OffsetForTime(GroupId group, int64_t timestamp);
  StoreStats Stats();

  // Set at construction.
  const Options options_;
  StoreHealth health_;

  TailCache cache_;
  std::unique_ptr<Database> database_;
  std::optional<LogReader> reader_;

  // Not a shared_mutex: glibc lets readers in a loop keep a writer out for ever.
  std::mutex logs_mutex_;
  std::unordered_map<GroupId, std::shared_ptr<OpenLog>> logs_;  // guarded by logs_mutex_

  std::atomic<uint64_t> round_count_{0};
  std::atomic<uint64_t> entry_bytes_{0};
  std::atomic<uint64_t> sync_count_{0};
  std::atomic<uint64_t> synced_sequence_{0};  // RocksDB's, of what is known to be on the disk
  std::atomic<uint64_t> read_only_logs_{0};

  // Last: their threads use the others.
  std::optional<SyncThread> syncs_;
  std::optional<SpaceReclaimer> reclaimer_;

 private:
  bool Forget(const std::vector<std::string>& removed_groups_keys);
  void StageRemoval(GroupId first, GroupId last, rocksdb::WriteBatch& batch);
  // Of a removed log: what is in memory.
  void Forget(GroupId group);
  // The log a change is for, with an editor; nullptr if it was removed since the change was staged.
  OpenLog* BeginEdit(GroupId group, std::vector<std::shared_ptr<OpenLog>>& edited);
  absl::Status Apply(RocksRound::Change& change, OpenLog& log, rocksdb::WriteBatch& batch);
  // Brings all that is staged into the round's batch.
  absl::Status Build(RocksRound& round);
  void Publish(OpenLog& log);
  template <typename Answer>
  auto Ask(GroupId group, Answer answer) -> decltype(answer(std::declval<OpenLog&>(), LogImage()));
};

absl::Status RocksLogStore::Impl::Create(GroupId group, const raft::SegmentLimits& limits) {
  if (!health_.ok()) return health_.status();
  absl::StatusOr<std::optional<std::string>> exists = GetValue(database_->db(), GroupKey(group));
  if (!exists.ok()) return exists.status();
  if (exists->has_value()) return absl::AlreadyExistsError(absl::StrCat("group ", group.value(), " has a log"));
  rocksdb::WriteBatch batch;
  BeginBatch(batch);
  batch.Put(GroupKey(group), Encode(limits));
  return WriteBatch(batch);
}

// Neighbours share their ranges: RocksDB sorts all ranges of a memtable anew at the first read after each that came, so a
// thousand of them, one at a time, would take seconds.
absl::Status RocksLogStore::Impl::Remove(std::vector<GroupId> groups) {
  if (!health_.ok()) return health_.status();
  std::sort(groups.begin(), groups.end());
  rocksdb::WriteBatch batch;
  BeginBatch(batch);
  for (auto first = groups.begin(); first != groups.end();) {
    auto last = first;
    while (last + 1 != groups.end() && *(last + 1) <= *last + 1) ++last;
    StageRemoval(*first, *last, batch);
    first = last + 1;
  }
  // Before the write: who then misses an entry has to know why.
  const auto set_removed = [&](bool removed) {
    for (GroupId group : groups) {
      if (std::shared_ptr<OpenLog> log = Find(group)) log->removed = removed;
    }
  };
  set_removed(true);
  absl::Status status = WriteBatch(batch);
  if (raft::IsStalled(status)) {
    set_removed(false);
    return status;
  }
  for (GroupId group : groups) Forget(group);
  if (!status.ok()) return status;
  reclaimer_->RemovedLogs(groups);
  return status;
}

bool RocksLogStore::Impl::Forget(const std::vector<std::string>& removed_groups_keys) {
  if (!health_.ok()) return false;
  rocksdb::WriteBatch batch;
  BeginBatch(batch);
  for (const std::string& key : removed_groups_keys) batch.Delete(key);
  return WriteBatch(batch).ok();
}

// first and last inclusive.
void RocksLogStore::Impl::StageRemoval(GroupId first, GroupId last, rocksdb::WriteBatch& batch) {
  batch.Put(RemovedGroupsKey(first, last, database_->db().GetLatestSequenceNumber()), "");
  batch.DeleteRange(GroupKey(first), GroupKey(last + 1));
  batch.DeleteRange(EntriesFrom(first, LogIndex(0)).begin, EntriesFrom(last, LogIndex(0)).end);
  batch.DeleteRange(BesideEntries(first).begin, BesideEntries(last).end);
}

void RocksLogStore::Impl::Forget(GroupId group) {
  std::shared_ptr<OpenLog> log;
  {
    std::lock_guard lock(logs_mutex_);
    auto found = logs_.find(group);
    if (found == logs_.end()) return;
    log = std::move(found->second);
    logs_.erase(found);
  }
  if (log->state().read_only) --read_only_logs_;
  cache_.TruncateSuffix(*log->tail, LogIndex(0));
}

absl::StatusOr<LogState> RocksLogStore::Impl::OpenGroup(GroupId group) {
  if (!health_.ok()) return health_.status();
  if (std::shared_ptr<OpenLog> log = Find(group)) return log->state();
  absl::StatusOr<LogImage> image = reader_->Load(group);
  if (!image.ok()) return image.status();
  auto log = std::make_shared<OpenLog>(group, *std::move(image));
  std::lock_guard lock(logs_mutex_);
  const auto [opened, is_new] = logs_.emplace(group, std::move(log));
  const LogState state = opened->second->state();
  if (is_new && state.read_only) ++read_only_logs_;
  return state;
}

OpenLog* RocksLogStore::Impl::BeginEdit(GroupId group, std::vector<std::shared_ptr<OpenLog>>& edited) {
  if (!edited.empty() && edited.back()->group == group) return edited.back().get();
  std::shared_ptr<OpenLog> log = Find(group);
  if (log == nullptr) {
    absl::StatusOr<std::optional<std::string>> exists = GetValue(database_->db(), GroupKey(group));
    MILLRACE_CHECK(!exists.ok() || !exists->has_value()) << "group " << group << " is written to before Open()";
    return nullptr;
  }
  if (!log->editor) {
    log->editor.emplace(group, log->image(), *reader_);
    edited.push_back(log);
  }
  return log.get();
}

absl::Status RocksLogStore::Impl::Apply(RocksRound::Change& change, OpenLog& log, rocksdb::WriteBatch& batch) {
  LogEditor& editor = *log.editor;
  if (auto* entry = std::get_if<Entry>(&change.what)) {
    editor.Append(std::move(*entry), batch);
    return absl::OkStatus();
  }
  if (auto* truncate = std::get_if<RocksRound::Truncate>(&change.what)) {
    return editor.TruncateSuffix(truncate->first_removed, batch);
  }
  if (auto* begin = std::get_if<raft::LogBegin>(&change.what)) {
    editor.Reset(*begin, batch);
    return absl::OkStatus();
  }
  if (auto* state = std::get_if<raft::TermAndVote>(&change.what)) {
    editor.SetTermAndVote(*state, batch);
    return absl::OkStatus();
  }
  if (auto* log_start = std::get_if<Offset>(&change.what)) return editor.SetLogStart(*log_start, batch);
  const auto& value = std::get<RocksRound::ValueChange>(change.what);
  const std::string key = ValueKey(change.group, value.key);
  value.value ? batch.Put(key, *value.value) : batch.Delete(key);
  return absl::OkStatus();
}

absl::Status RocksLogStore::Impl::Build(RocksRound& round) {
  if (round.batch().Count() == 0) BeginBatch(round.batch());
  for (RocksRound::Change& change : round.changes()) {
    OpenLog* log = BeginEdit(change.group, round.edited());
    if (log == nullptr) continue;
    if (absl::Status status = Apply(change, *log, round.batch()); !status.ok()) return status;
  }
  round.changes().clear();
  for (const std::shared_ptr<OpenLog>& log : round.edited()) {
    if (log->removed) StageRemoval(log->group, log->group, round.batch());  // during a stall
  }
  return absl::OkStatus();
}

absl::Status RocksLogStore::Impl::Write(RocksRound& round) {
  if (!health_.ok()) return health_.status();
  absl::Status status = Build(round);
  if (status.ok()) {
    for (const std::shared_ptr<OpenLog>& log : round.edited()) log->cuts_begun = log->editor->image().cuts;
    status = round.bytes() == 0 || database_->stall().MayWrite() ? WriteBatch(round.batch()) : raft::StalledError();
  } else {
    status = health_.Fail(status);
  }
  if (raft::IsStalled(status)) {
    for (const std::shared_ptr<OpenLog>& log : round.edited()) log->cuts_begun = log->image().cuts;
    return status;
  }
  database_->stall().Wrote(round.bytes());
  round_count_.fetch_add(1, std::memory_order_relaxed);
  entry_bytes_.fetch_add(round.bytes(), std::memory_order_relaxed);
  for (const std::shared_ptr<OpenLog>& log : round.edited()) {
    if (status.ok()) log->removed ? reclaimer_->RemovedLogs({log->group}) : Publish(*log);
    log->editor.reset();
  }
  round.Clear();
  return status;
}

void RocksLogStore::Impl::WhenWritable(std::function<void()> retry) {
  database_->stall().WhenOver(database_->db(), std::move(retry));
  if (!health_.ok()) database_->stall().Wake();
}

void RocksLogStore::Impl::Publish(OpenLog& log) {
  LogEditor& editor = *log.editor;
  editor.image().CheckInvariants();
  if (editor.first_removed()) cache_.TruncateSuffix(*log.tail, *editor.first_removed());
  if (editor.bytes_removed()) reclaimer_->Removed(log.group, *editor.bytes_removed(), editor.table_bytes_removed());
  log.Publish(std::move(editor.image()));
  cache_.Append(log.tail, editor.appended());
}

// Answers from one image of the log, and again from a newer one if entries were or are being removed under it.
template <typename Answer>
auto RocksLogStore::Impl::Ask(GroupId group, Answer answer) -> decltype(answer(std::declval<OpenLog&>(), LogImage())) {
  absl::StatusOr<std::shared_ptr<OpenLog>> found = FindForRead(group);
  if (!found.ok()) return found.status();
  OpenLog& log = **found;
  while (true) {
    const LogImage image = log.image();
    auto answered = answer(log, image);
    if (answered.ok() || absl::IsOutOfRange(answered.status())) return answered;
    if (log.removed) return NoLog(group);
    if (!health_.ok()) return health_.status();
    if (log.cuts_begun != image.cuts) {
      std::this_thread::yield();
      continue;
    }
    if (absl::IsNotFound(answered.status())) return absl::DataLossError(answered.status().message());
    return answered;
  }
}

absl::StatusOr<std::vector<Entry>> RocksLogStore::Impl::Read(GroupId group, Offset from, Offset end, size_t bytes_max) {
  return Ask(group, [&](OpenLog& log, const LogImage& image) -> absl::StatusOr<std::vector<Entry>> {
    if (from < image.start.offset || from > image.last.end_offset) {
      return NotInLog("offset", from.value(), image.start.offset.value(), image.last.end_offset.value());
    }
    const ReadLimits limits = {
        .last = image.last.index, .end = std::min(end, image.last.end_offset), .bytes_max = bytes_max, .from = from};
    if (from >= limits.end) return std::vector<Entry>();
    absl::StatusOr<std::vector<Entry>> entries = absl::NotFoundError("no hint");
    const std::optional<LogIndex> hint = log.HintFor(from);
    if (hint && *hint >= image.first_index() && *hint <= image.last.index)
      entries = reader_->Read(group, *hint, limits);
    if (absl::IsNotFound(entries.status())) {
      absl::StatusOr<LogIndex> first = reader_->Find(group, image, from);
      entries = first.ok() ? reader_->Read(group, *first, limits) : first.status();
    }
    if (entries.ok() && !entries->empty()) {
      log.AddHint(entries->back().header.end_offset(), entries->back().header.index + 1);
    }
    return entries;
  });
}

absl::StatusOr<std::vector<Entry>> RocksLogStore::Impl::ReadEntries(GroupId group, LogIndex first, LogIndex last,
                                                                    size_t bytes_max) {
  return Ask(group, [&](OpenLog&, const LogImage& image) -> absl::StatusOr<std::vector<Entry>> {
    if (first < image.first_index() || first > image.last.index + 1) {
      return NotInLog("entry", first.value(), image.first_index().value(), image.last.index.value());
    }
    const ReadLimits limits = {
        .last = std::min(last, image.last.index), .end = image.last.end_offset, .bytes_max = bytes_max};
    if (first > limits.last) return std::vector<Entry>();
    return reader_->Read(group, first, limits);
  });
}

absl::StatusOr<raft::Term> RocksLogStore::Impl::TermAt(GroupId group, LogIndex index) {
  return Ask(group, [&](OpenLog&, const LogImage& image) -> absl::StatusOr<raft::Term> {
    if (index == image.start.before.index) return image.start.before.term;
    if (index < image.first_index() || index > image.last.index) {
      return NotInLog("entry", index.value(), image.first_index().value(), image.last.index.value());
    }
    const SegmentMeta& segment = image.SegmentOf(index);
    if (index == segment.last.index || segment.before.term == segment.last.term) return segment.last.term;
    absl::StatusOr<StoredHeader> header = reader_->HeaderAt(group, index);
    if (!header.ok()) return header.status();
    return header->entry.term;
  });
}

absl::StatusOr<raft::EntryHeader> RocksLogStore::Impl::HeaderAt(GroupId group, LogIndex index) {
  return Ask(group, [&](OpenLog&, const LogImage& image) -> absl::StatusOr<raft::EntryHeader> {
    if (index < image.first_index() || index > image.last.index) {
      return NotInLog("entry", index.value(), image.first_index().value(), image.last.index.value());
    }
    absl::StatusOr<StoredHeader> header = reader_->HeaderAt(group, index);
    if (!header.ok()) return header.status();
    return header->entry;
  });
}

absl::StatusOr<raft::EntryHeader> RocksLogStore::Impl::HeaderFor(GroupId group, Offset offset) {
  return Ask(group, [&](OpenLog&, const LogImage& image) -> absl::StatusOr<raft::EntryHeader> {
    if (offset < image.start.offset || offset >= image.last.end_offset) {
      return NotInLog("offset", offset.value(), image.start.offset.value(), image.last.end_offset.value());
    }
    absl::StatusOr<LogIndex> index = reader_->Find(group, image, offset);
    if (!index.ok()) return index.status();
    absl::StatusOr<StoredHeader> header = reader_->HeaderAt(group, *index);
    if (!header.ok()) return header.status();
    return header->entry;
  });
}

absl::StatusOr<Offset> RocksLogStore::Impl::OffsetForTime(GroupId group, int64_t timestamp) {
  return Ask(group, [&](OpenLog&, const LogImage& image) { return reader_->OffsetForTime(group, image, timestamp); });
}

StoreStats RocksLogStore::Impl::Stats() {
  rocksdb::DB& db = database_->db();
  const auto property = [&db](const std::string& name) {
    uint64_t value = 0;
    db.GetIntProperty(name, &value);
    return value;
  };
  const StoreFileSystem& files = database_->files();
  const auto written = [&files](FileKind kind) { return files.written(kind).bytes.load(); };
  StoreStats stats = {.rounds = round_count_.load(),
                      .entry_bytes = entry_bytes_.load(),
                      .syncs = sync_count_.load(),
                      .cached_bytes = cache_.bytes(),
                      .memtable_bytes = property(rocksdb::DB::Properties::kSizeAllMemTables),
                      .wal_bytes_written = written(FileKind::kWal),
                      .moved_bytes_written = written(FileKind::kMoved),
                      .sst_bytes_written = written(FileKind::kSst),
                      .wal_file_bytes = files.held(FileKind::kWal).bytes.load(),
                      .kept_wal_files = files.held(FileKind::kKeptWal).files.load(),
                      .kept_wal_bytes = files.held(FileKind::kKeptWal).bytes.load(),
                      .moved_files = files.held(FileKind::kMoved).files.load(),
                      .moved_file_bytes = files.held(FileKind::kMoved).bytes.load(),
                      .sst_files = files.held(FileKind::kSst).files.load(),
                      .sst_file_bytes = property(rocksdb::DB::Properties::kTotalSstFilesSize),
                      .read_only_logs = read_only_logs_.load(),
                      .dead_bytes = database_->payloads().space().dead,
                      .reclaims = reclaimer_->runs(),
                      .evacuations = reclaimer_->evacuations()};
  for (size_t kind = 0; kind < kFileKinds; ++kind) {
    stats.file_syncs += files.written(static_cast<FileKind>(kind)).syncs.load();
  }
  return stats;
}

RocksLogStore::RocksLogStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RocksLogStore::~RocksLogStore() = default;

absl::StatusOr<std::unique_ptr<RocksLogStore>> RocksLogStore::Open(Options options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  if (absl::Status status = impl->OpenDatabase(); !status.ok()) return status;
  return std::unique_ptr<RocksLogStore>(new RocksLogStore(std::move(impl)));
}

absl::Status RocksLogStore::Close() { return impl_->Close(); }
bool RocksLogStore::opened_clean() const { return impl_->database_->opened_clean(); }
bool RocksLogStore::os_crashed() const { return impl_->database_->os_crashed(); }
std::string RocksLogStore::cut_log() const { return impl_->database_->cut_log(); }
bool RocksLogStore::lost_synced() const { return impl_->database_->lost_synced(); }
absl::Status RocksLogStore::ForgetOsCrash() { return impl_->database_->ForgetOsCrash(); }
StoreStats RocksLogStore::Stats() const { return impl_->Stats(); }

absl::Status RocksLogStore::Create(GroupId group, const raft::SegmentLimits& limits) {
  return impl_->Create(group, limits);
}
absl::Status RocksLogStore::Remove(const std::vector<GroupId>& groups) { return impl_->Remove(groups); }

absl::StatusOr<std::vector<GroupId>> RocksLogStore::List() {
  if (!impl_->health_.ok()) return impl_->health_.status();
  return impl_->reader_->Groups();
}

absl::StatusOr<LogState> RocksLogStore::Open(GroupId group) { return impl_->OpenGroup(group); }

LogState RocksLogStore::State(GroupId group) { return impl_->FindOpened(group)->state(); }

std::vector<raft::SegmentInfo> RocksLogStore::Segments(GroupId group) {
  const LogImage image = impl_->FindOpened(group)->image();
  std::vector<raft::SegmentInfo> infos;
  const auto add = [&infos](const SegmentMeta& segment) {
    infos.push_back({segment.first_index(), segment.last.end_offset, segment.last.append_time, segment.bytes()});
  };
  for (const SegmentMeta& segment : *image.sealed) add(segment);
  if (image.active) add(*image.active);
  return infos;
}

void RocksLogStore::SetLimits(GroupId group, const raft::SegmentLimits& limits) {
  impl_->FindOpened(group)->SetLimits(limits);
}

std::unique_ptr<raft::Round> RocksLogStore::NewRound() { return std::make_unique<RocksRound>(); }
absl::Status RocksLogStore::Write(raft::Round& round) { return impl_->Write(static_cast<RocksRound&>(round)); }
void RocksLogStore::WhenWritable(std::function<void()> retry) { impl_->WhenWritable(std::move(retry)); }
void RocksLogStore::Sync(std::function<void(absl::Status)> done) { impl_->syncs_->Request(std::move(done)); }

bool RocksLogStore::ReadCached(GroupId group, Offset from, Offset end, size_t bytes_max, std::vector<Entry>* entries) {
  std::shared_ptr<OpenLog> log = impl_->Find(group);
  if (log == nullptr || !impl_->health_.ok()) return false;
  const LogState state = log->state();
  if (from < state.log_start || from > state.log_end) return false;
  if (from >= std::min(end, state.log_end)) {
    entries->clear();
    return true;
  }
  return log->tail->Read(from, end, bytes_max, entries);
}

bool RocksLogStore::ReadCachedEntries(GroupId group, LogIndex first, LogIndex last, size_t bytes_max,
                                      std::vector<Entry>* entries) {
  std::shared_ptr<OpenLog> log = impl_->Find(group);
  if (log == nullptr || !impl_->health_.ok()) return false;
  const LogState state = log->state();
  return first >= state.first_index &&
         log->tail->ReadEntries(first, std::min(last, state.last_index), bytes_max, entries);
}

absl::StatusOr<std::vector<Entry>> RocksLogStore::Read(GroupId group, Offset from, Offset end, size_t bytes_max) {
  return impl_->Read(group, from, end, bytes_max);
}

absl::StatusOr<std::vector<Entry>> RocksLogStore::ReadEntries(GroupId group, LogIndex first, LogIndex last,
                                                              size_t bytes_max) {
  return impl_->ReadEntries(group, first, last, bytes_max);
}

absl::StatusOr<raft::Term> RocksLogStore::TermAt(GroupId group, LogIndex index) { return impl_->TermAt(group, index); }

absl::StatusOr<raft::EntryHeader> RocksLogStore::HeaderAt(GroupId group, LogIndex index) {
  return impl_->HeaderAt(group, index);
}

absl::StatusOr<raft::EntryHeader> RocksLogStore::HeaderFor(GroupId group, Offset offset) {
  return impl_->HeaderFor(group, offset);
}

absl::StatusOr<Offset> RocksLogStore::OffsetForTime(GroupId group, int64_t timestamp) {
  return impl_->OffsetForTime(group, timestamp);
}

absl::StatusOr<std::vector<std::pair<std::string, std::string>>> RocksLogStore::Values(GroupId group) {
  absl::StatusOr<std::shared_ptr<OpenLog>> log = impl_->FindForRead(group);
  if (!log.ok()) return log.status();
  return impl_->reader_->Values(group);
}

}  // namespace millrace::storage
