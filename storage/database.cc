#include "storage/database.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <utility>

#include <rocksdb/listener.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "storage/crc32c_override.h"
#include "storage/keys.h"
#include "storage/rocks_util.h"

namespace millrace::storage {
namespace {

// Raised when an older release could not read what this one writes.
constexpr int kFormatVersion = 1;

// Smaller values stay beside their keys: a blob of their own would cost more than it spares compaction.
constexpr uint64_t kBlobBytesMin = 1024;
constexpr int kMemtables = 4;

class FailureListener : public rocksdb::EventListener {
 public:
  FailureListener(std::string directory, StoreHealth& health) : directory_(std::move(directory)), health_(health) {}

  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* error) override {
    health_
        .Fail(absl::InternalError(absl::StrCat(
            "background work of the store in ", directory_, " failed: ", error->ToString(),
            "; what reached the disk is unknown, so the broker must stop: mend the cause and start it again")))
        .IgnoreError();  // the handler was told
  }

 private:
  const std::string directory_;
  StoreHealth& health_;
};

rocksdb::Options RocksOptions(const RocksLogStore::Options& options, rocksdb::Env* env, StoreHealth& health) {
  rocksdb::Options rocks;
  rocks.env = env;
  rocks.create_if_missing = options.create_if_missing;
  rocks.listeners.push_back(std::make_shared<FailureListener>(options.directory, health));

  // Safety. None of these may change without its reason in README.md.
  rocks.paranoid_checks = true;
  rocks.max_bgerror_resume_count = 0;
  rocks.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  rocks.recycle_log_file_num = 0;
  rocks.manual_wal_flush = false;
  rocks.wal_compression = rocksdb::kNoCompression;
  rocks.wal_bytes_per_sync = 0;
  rocks.unordered_write = false;
  rocks.allow_mmap_reads = false;
  rocks.allow_mmap_writes = false;
  rocks.track_and_verify_wals_in_manifest = false;

  // Values in blob files: compaction moves keys only, and nothing live is rewritten.
  rocks.enable_blob_files = true;
  rocks.min_blob_size = kBlobBytesMin;
  rocks.blob_file_size = 256 << 20;
  rocks.enable_blob_garbage_collection = false;
  rocks.compression = rocksdb::kNoCompression;
  rocks.blob_compression_type = rocksdb::kNoCompression;

  // Writes.
  rocks.write_buffer_size = std::max<size_t>(options.memory_bytes / kMemtables, 1 << 20);
  rocks.max_write_buffer_number = kMemtables;
  rocks.min_write_buffer_number_to_merge = 1;
  // With one memtable left RocksDB slows writes down rather than stop them later: at its own 16 MB/s a write of 1 MiB waits
  // 64 ms, at this rate 1 ms.
  rocks.delayed_write_rate = uint64_t{1} << 30;
  rocks.allow_concurrent_memtable_write = false;
  rocks.enable_pipelined_write = false;
  rocks.max_background_jobs = 2;
  rocks.max_subcompactions = 1;
  rocks.avoid_unnecessary_blocking_io = true;
  rocks.bytes_per_sync = options.flush_piece_bytes;
  rocks.strict_bytes_per_sync = options.flush_piece_bytes > 0;

  // Keys: few and small.
  rocks.level0_file_num_compaction_trigger = 4;
  rocks.level0_slowdown_writes_trigger = 40;
  rocks.level0_stop_writes_trigger = 60;
  rocks.target_file_size_base = 4 << 20;
  rocks.max_bytes_for_level_base = 16 << 20;
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

absl::Status PrepareDirectory(const std::string& directory, bool create_if_missing) {
  if (directory.empty()) return absl::InvalidArgumentError("no directory was named for the store");
  struct stat info;
  if (stat(directory.c_str(), &info) != 0) {
    if (errno != ENOENT || !create_if_missing) {
      return absl::NotFoundError(absl::StrCat("the store's directory ", directory, " cannot be used: ", strerror(errno),
                                              "; check the path, or make the directory"));
    }
    if (mkdir(directory.c_str(), 0700) != 0) {
      return absl::FailedPreconditionError(absl::StrCat("the store's directory ", directory,
                                                        " cannot be made: ", strerror(errno),
                                                        "; make it, owned by the user that runs the broker"));
    }
    return absl::OkStatus();
  }
  if (!S_ISDIR(info.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat(directory, " is not a directory; choose another path for the store"));
  }
  if (access(directory.c_str(), R_OK | W_OK | X_OK) != 0) {
    return absl::FailedPreconditionError(absl::StrCat("the store's directory ", directory, " cannot be written to: ",
                                                      strerror(errno), "; give it to the user that runs the broker"));
  }
  return absl::OkStatus();
}

// Who holds RocksDB's lock file, if it is another process.
std::optional<pid_t> LockHolder(const std::string& directory) {
  const int fd = open(absl::StrCat(directory, "/LOCK").c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0, .l_pid = 0};
  const int result = fcntl(fd, F_GETLK, &lock);
  close(fd);
  if (result != 0 || lock.l_type == F_UNLCK) return std::nullopt;
  return lock.l_pid;
}

absl::Status OpenError(const std::string& directory, const rocksdb::Status& status) {
  const std::string text = status.ToString();
  // Closing any descriptor of the lock file gives up this process's own lock: look for the holder only if it is not us.
  if (absl::StrContains(text, "lock hold by current process")) {
    return absl::FailedPreconditionError(absl::StrCat("the store in ", directory, " is already open in this process"));
  }
  if (status.IsIOError() && absl::StrContains(text, "/LOCK")) {
    std::optional<pid_t> holder = LockHolder(directory);
    return absl::FailedPreconditionError(absl::StrCat("the store in ", directory, " is in use by ",
                                                      holder ? absl::StrCat("process ", *holder) : "another process",
                                                      "; stop that broker, or choose another data directory"));
  }
  if (status.IsCorruption()) {
    return absl::DataLossError(
        absl::StrCat("the store in ", directory, " is damaged: ", text,
                     "; restore the directory, or start with an empty one and let replicas refill it"));
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

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const RocksLogStore::Options& options, StoreHealth& health) {
  if (absl::Status status = PrepareDirectory(options.directory, options.create_if_missing); !status.ok()) return status;
  absl::StatusOr<std::string> boot_id = options.boot_id.empty() ? KernelBootId() : options.boot_id;
  if (!boot_id.ok()) return boot_id.status();

  std::unique_ptr<Database> database(new Database);
  database->directory_ = options.directory;
  database->files_ = std::make_shared<StoreFileSystem>(options.file_system != nullptr ? options.file_system
                                                                                      : rocksdb::FileSystem::Default());
  database->env_ = rocksdb::NewCompositeEnv(database->files_);

  ResetCrc32cCalled();
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened =
      rocksdb::DB::Open(RocksOptions(options, database->env_.get(), health), options.directory, &db);
  if (!opened.ok()) return OpenError(options.directory, opened);
  database->db_.reset(db);
  if (!Crc32cCalled()) {
    return absl::InternalError(
        "RocksDB does not use this program's CRC32C: it was linked in a way that its own, four times slower, is in "
        "effect; "
        "link librocksdb.so dynamically, without -Bsymbolic");
  }
  if (absl::Status status = database->CheckFormat(); !status.ok()) return status;
  if (absl::Status status = database->MarkInUse(*boot_id); !status.ok()) return status;
  return database;
}

absl::Status Database::CheckFormat() {
  absl::StatusOr<std::optional<std::string>> stored = GetValue(*db_, FormatVersionKey());
  if (!stored.ok()) return stored.status();
  if (!stored->has_value()) return absl::OkStatus();
  int version = 0;
  if (absl::SimpleAtoi(**stored, &version) && version <= kFormatVersion) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("the store in ", directory_, " has format ", **stored,
                                                    ", written by a newer release; this one knows formats up to ",
                                                    kFormatVersion,
                                                    ": start the newer release on it. Nothing was changed"));
}

absl::Status Database::MarkInUse(const std::string& boot_id) {
  absl::StatusOr<std::optional<std::string>> last_boot_id = GetValue(*db_, BootIdKey());
  if (!last_boot_id.ok()) return last_boot_id.status();
  absl::StatusOr<std::optional<std::string>> clean = GetValue(*db_, CleanMarkKey());
  if (!clean.ok()) return clean.status();
  const bool is_new = !last_boot_id->has_value();
  opened_clean_ = is_new || clean->has_value();
  os_crashed_ = !opened_clean_ && **last_boot_id != boot_id;

  rocksdb::WriteBatch batch;
  batch.Put(FormatVersionKey(), std::to_string(kFormatVersion));
  batch.Put(BootIdKey(), boot_id);
  batch.Delete(CleanMarkKey());
  rocksdb::WriteOptions options;
  options.sync = true;
  const rocksdb::Status written = db_->Write(options, &batch);
  return written.ok() ? absl::OkStatus() : OpenError(directory_, written);
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
