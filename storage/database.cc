#include "storage/database.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <utility>

#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"
#include "storage/crc32c_override.h"
#include "storage/damage_watch.h"
#include "storage/keys.h"
#include "storage/placing_memtable.h"
#include "storage/read_only_files.h"
#include "storage/rocks_util.h"
#include "storage/wal_file.h"
#include "storage/wal_format.h"

namespace millrace::storage {
namespace {

// With more than three RocksDB slows writes down before it stops them, and a refused write (no_slowdown) puts off the moment at
// which the next one would be taken: tried again too early it would never be. So there is only the stop, which has an end.
constexpr int kMemtables = 3;

// Bits of the digit beside OsCrashKey().
constexpr int kOsCrashed = 1;
constexpr int kLostSynced = 2;

rocksdb::Options RocksOptions(const RocksLogStore::Options& options, rocksdb::Env* env) {
  rocksdb::Options rocks;
  rocks.env = env;
  rocks.create_if_missing = options.create_if_missing;

  // Safety. None of these may change without its reason in README.md.
  rocks.paranoid_checks = true;
  rocks.max_bgerror_resume_count = 0;
  rocks.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  rocks.recycle_log_file_num = 0;
  rocks.manual_wal_flush = false;
  rocks.wal_compression = rocksdb::kNoCompression;
  rocks.wal_bytes_per_sync = 0;
  rocks.avoid_flush_during_recovery = false;
  rocks.atomic_flush = false;
  rocks.allow_2pc = false;
  rocks.inplace_update_support = false;
  rocks.unordered_write = false;
  rocks.enable_pipelined_write = false;
  rocks.allow_concurrent_memtable_write = false;
  rocks.allow_mmap_reads = false;
  rocks.allow_mmap_writes = false;
  rocks.track_and_verify_wals_in_manifest = false;

  rocks.enable_blob_files = false;  // large payloads have places
  rocks.compression = rocksdb::kNoCompression;

  // Writes.
  rocks.write_buffer_size = std::max<size_t>(options.memory_bytes / kMemtables, 1 << 20);
  rocks.max_write_buffer_number = kMemtables;
  rocks.min_write_buffer_number_to_merge = 1;
  rocks.max_background_jobs = 2;
  rocks.max_subcompactions = 1;
  rocks.avoid_unnecessary_blocking_io = true;
  rocks.bytes_per_sync = options.flush_piece_bytes;
  rocks.strict_bytes_per_sync = options.flush_piece_bytes > 0;

  // Keys: few and small. A flush has some hundred of large values; what is compacted rewrites the whole of the first level, since
  // each flush has keys of all logs: README.md, "Compactions cost more than flushes".
  rocks.level0_file_num_compaction_trigger = 20;
  rocks.level0_slowdown_writes_trigger = 60;
  rocks.level0_stop_writes_trigger = 60;  // the same: see kMemtables
  rocks.soft_pending_compaction_bytes_limit = rocks.hard_pending_compaction_bytes_limit;
  rocks.target_file_size_base = 1 << 20;
  rocks.target_file_size_multiplier = 4;  // for those who have many small payloads, in tables that are all open
  rocks.max_bytes_for_level_base = 24 << 20;
  rocks.max_open_files = -1;
  rocksdb::BlockBasedTableOptions table;
  table.block_size = 16 << 10;
  table.block_cache = rocksdb::NewLRUCache(8 << 20);
  rocks.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));

  rocks.stats_dump_period_sec = 0;
  rocks.stats_persist_period_sec = 0;
  rocks.info_log_level = rocksdb::WARN_LEVEL;
  rocks.keep_log_file_num = 4;
  return rocks;
}

enum class Opening { kToWrite, kToRead };

absl::Status OpenError(const std::string& directory, const rocksdb::Status& status, Opening opening) {
  const std::string text = status.ToString();
  if (status.IsCorruption()) {
    const std::string shared =
        absl::StrCat("the store in ", directory, " is damaged: ", text, "; all partitions share this file");
    if (opening == Opening::kToRead)
      return absl::DataLossError(absl::StrCat(shared, ", and without it none can be read"));
    return absl::DataLossError(absl::StrCat(shared, ". Keep a copy of the directory, let `millrace inspect ", directory,
                                            "` tell what is damaged, then restore it from a backup. What is in it is "
                                            "not replicated: with an empty directory all "
                                            "of it would be gone"));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("the store in ", directory, " cannot be opened: ", text, "; mend the cause and start again"));
}

absl::StatusOr<std::string> KernelBootId() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  if (!(file >> id)) {
    return absl::FailedPreconditionError("/proc/sys/kernel/random/boot_id cannot be read; is /proc mounted?");
  }
  return id;
}

}  // namespace

void Database::Layer(const std::string& directory, const std::shared_ptr<rocksdb::FileSystem>& beneath,
                     const RocksLogStore::Options& options) {
  directory_ = directory;
  files_ = std::make_shared<StoreFileSystem>(beneath);
  payload_files_ = std::make_shared<PayloadFileSystem>(directory, files_, options.removal_piece_bytes);
  tables_ = std::make_shared<PayloadTables>(payloads(), options.flush_piece_bytes, options.payloads_once,
                                            [stall = stall_](uint64_t bytes) { stall->Allow(bytes); });
  env_ = rocksdb::NewCompositeEnv(payload_files_);
}

void Database::SetHooks(rocksdb::Options& rocks, WalGuard::OnDamage on_damage) {
  guard_ = std::make_unique<WalGuard>(*files_, directory_, payloads().record(), on_damage);
  rocks.wal_filter = guard_.get();
  rocks.memtable_factory = std::make_shared<PlacingMemtableFactory>(payloads());
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const RocksLogStore::Options& options, StoreHealth& health) {
  absl::StatusOr<std::string> boot_id = options.boot_id.empty() ? KernelBootId() : options.boot_id;
  if (!boot_id.ok()) return boot_id.status();

  std::shared_ptr<rocksdb::FileSystem> beneath = options.file_system;
  if (beneath == nullptr) beneath = std::make_shared<WalFileSystem>(rocksdb::FileSystem::Default());
  std::unique_ptr<Database> database(new Database);
  database->Layer(options.directory, beneath, options);
  absl::StatusOr<StoreDirectory> claimed =
      StoreDirectory::Claim(options.directory, *database->files_, options.create_if_missing);
  if (!claimed.ok()) return claimed.status();
  database->claim_ = *std::move(claimed);

  database->files_->CountFilesOf(options.directory);
  ResetCrc32cCalled();
  rocksdb::Options rocks = RocksOptions(options, database->env_.get());
  database->SetHooks(rocks, WalGuard::OnDamage::kRefuse);
  database->damage_watch_ =
      std::make_shared<DamageWatch>(options.directory, *database->files_, options.name_logs, health);
  rocks.listeners = {database->damage_watch_, database->stall_, database->tables_};
  rocks.table_properties_collector_factories = {database->tables_->collectors(), LogRangeCollectors()};
  rocks.compaction_filter_factory = database->tables_->rewriter();
  database->wal_bytes_max_ = rocks.write_buffer_size;
  rocksdb::DB* db = nullptr;
  rocksdb::Status opened = rocksdb::DB::Open(rocks, options.directory, &db);
  if (!database->guard_->status().ok()) return database->guard_->status();
  database->db_.reset(db);
  database->payloads().record().Forget();
  database->guard_->Done();
  if (opened.ok()) opened = database->tables_->Opened(*db);
  if (!opened.ok()) return OpenError(options.directory, opened, Opening::kToWrite);
  database->damage_watch_->Watch(*db);
  if (!Crc32cCalled()) {
    return absl::InternalError(
        "RocksDB does not use this program's CRC32C: it was linked in a way that its own, four times slower, is in "
        "effect; "
        "link librocksdb.so dynamically, without -Bsymbolic");
  }
  if (absl::Status status = database->MarkInUse(*boot_id); !status.ok()) return status;
  return database;
}

absl::StatusOr<std::unique_ptr<Database>> Database::OpenToRead(const std::string& directory, absl::Status* damage,
                                                               bool* readable) {
  RocksLogStore::Options options;
  options.directory = directory;
  options.create_if_missing = false;
  std::unique_ptr<Database> database(new Database);
  database->Layer(directory, std::make_shared<ReadOnlyFiles>(rocksdb::FileSystem::Default()), options);
  absl::StatusOr<StoreDirectory> claimed = StoreDirectory::ClaimToRead(directory, *database->files_, damage);
  if (!claimed.ok()) return claimed.status();
  database->claim_ = *std::move(claimed);

  rocksdb::Options rocks = RocksOptions(options, database->env_.get());
  database->SetHooks(rocks, WalGuard::OnDamage::kReplayUpToIt);
  *readable = false;
  if (!damage->ok()) return database;
  rocksdb::Status opened = database->payloads().TakeAsTheyAre();
  rocksdb::DB* db = nullptr;
  if (opened.ok()) opened = rocksdb::DB::OpenForReadOnly(rocks, directory, &db);
  database->db_.reset(db);
  if (opened.ok()) opened = database->tables_->PinAll(*db);
  *readable = opened.ok();
  *damage = opened.ok() || !database->guard_->status().ok() ? database->guard_->status()
                                                            : OpenError(directory, opened, Opening::kToRead);
  return database;
}

absl::Status Database::MarkInUse(const std::string& boot_id) {
  absl::StatusOr<std::optional<std::string>> last_boot_id = GetValue(*db_, BootIdKey());
  if (!last_boot_id.ok()) return last_boot_id.status();
  absl::StatusOr<std::optional<std::string>> clean = GetValue(*db_, CleanMarkKey());
  if (!clean.ok()) return clean.status();
  const bool is_new = !last_boot_id->has_value();
  opened_clean_ = is_new || clean->has_value();
  absl::StatusOr<std::optional<std::string>> os_crash = GetValue(*db_, OsCrashKey());
  if (!os_crash.ok()) return os_crash.status();
  const int known = os_crash->has_value() && !(*os_crash)->empty() ? (**os_crash)[0] : 0;
  os_crashed_ = (known & kOsCrashed) != 0 || (!opened_clean_ && **last_boot_id != boot_id);
  const bool process_was_killed = guard_->cut_short() && !os_crashed_;
  lost_synced_ = (known & kLostSynced) != 0 || (!guard_->cut().empty() && !process_was_killed);

  rocksdb::WriteBatch batch;
  batch.Put(BootIdKey(), boot_id);
  batch.Delete(CleanMarkKey());
  // Stays until somebody has acted on it: the new boot id alone would hide the crash from the start after this one.
  if (os_crashed_ || lost_synced_) {
    const int now = (os_crashed_ ? kOsCrashed : 0) | (lost_synced_ ? kLostSynced : 0);
    batch.Put(OsCrashKey(), std::string(1, static_cast<char>('0' | now)));
  }
  rocksdb::WriteOptions options;
  options.sync = true;
  const rocksdb::Status written = db_->Write(options, &batch);
  return written.ok() ? absl::OkStatus() : OpenError(directory_, written, Opening::kToWrite);
}

rocksdb::Status Database::Write(rocksdb::WriteBatch& batch) {
  // One at a time: RocksDB would append batches of several threads as one record, and no place in it would be where it was put.
  std::lock_guard lock(write_mutex_);
  payloads().record().Expect();
  rocksdb::WriteOptions options;
  options.no_slowdown = true;
  rocksdb::Status status = db_->Write(options, &batch);
  if (status.ok() && batch.GetDataSize() >= kPlacedBytesMin) status = CheckPlace(batch);
  payloads().record().Forget();
  if (!status.ok() || payloads().bytes_being_written() < wal_bytes_max_) return status;
  // RocksDB goes by the size of the memtable, in which payloads are not.
  rocksdb::FlushOptions flush;
  flush.wait = false;
  flush.allow_write_stall = true;
  const rocksdb::Status flushed = db_->Flush(flush);
  if (flushed.ok() || flushed.IsTryAgain()) return status;  // writes were stopped meanwhile: the next one tries again
  // Whatever it says, the batch was written: nobody may take it for refused.
  return rocksdb::Status::Aborted("beginning a flush", flushed.ToString());
}

// Once for each WAL file: were its format another one than we know, no payload could be read again.
rocksdb::Status Database::CheckPlace(const rocksdb::WriteBatch& batch) {
  const std::optional<PayloadPlace> place = payloads().record().PlaceOf(kBatchHeaderBytes);
  MILLRACE_CHECK(place.has_value());
  if (place->file == checked_wal_) return rocksdb::Status::OK();
  checked_wal_ = place->file;
  const std::string_view written = std::string_view(batch.Data()).substr(kBatchHeaderBytes, 4 * kWalBlockBytes);
  std::string read(written.size(), '\0');
  rocksdb::Status status = payloads().Read(*place, read.size(), read.data());
  if (status.ok() && read != written) {
    status = rocksdb::Status::Corruption(absl::StrCat(NumberedFile(directory_, place->file, kWalSuffix),
                                                      " does not hold at offset ", place->offset,
                                                      " what was just written there: this program relies on the log of "
                                                      "RocksDB 7.8.3; start it with that librocksdb, and "
                                                      "check the disk"));
  }
  return status;
}

absl::Status Database::ForgetOsCrash() {
  if (!os_crashed_ && !lost_synced_) return absl::OkStatus();
  rocksdb::WriteBatch batch;
  batch.Delete(OsCrashKey());
  const rocksdb::Status status = Write(batch);
  if (status.ok()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("writing to the store in ", directory_, " failed: ", status.ToString()));
}

absl::Status Database::Close() {
  rocksdb::WriteOptions options;
  options.sync = true;
  rocksdb::Status status = db_->Put(options, CleanMarkKey(), "1");
  if (status.ok()) status = db_->Flush(rocksdb::FlushOptions());
  if (status.ok()) status = db_->Close();
  if (status.ok()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("the store in ", directory_, " did not close: ", status.ToString(),
                                          "; what was acked is safe, the next start will take longer"));
}

Database::~Database() = default;

}  // namespace millrace::storage
