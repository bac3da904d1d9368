// The RocksDB of a store: how it is opened, with which options, under which marks, and closed.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/write_batch.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/file_system.h"
#include "storage/payload_file_system.h"
#include "storage/payload_tables.h"
#include "storage/rocks_log_store.h"
#include "storage/store_directory.h"
#include "storage/store_health.h"
#include "storage/wal_scan.h"
#include "storage/write_stall.h"

namespace millrace::storage {

class DamageWatch;

class Database {
 public:
  // `health` is told of background failures; it outlives the database.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const RocksLogStore::Options& options, StoreHealth& health);
  // To read the store of a process that has ended: nothing is written, and nothing but this may be called: db(), env(), payloads().
  // An error as Claim() says; when damage keeps the database from being opened, or ends its log too early, `damage` tells, and in
  // the former case there is no db().
  static absl::StatusOr<std::unique_ptr<Database>> OpenToRead(const std::string& directory, absl::Status* damage,
                                                              bool* readable);
  ~Database();

  rocksdb::DB& db() { return *db_; }
  rocksdb::Env& env() { return *env_; }
  PayloadFiles& payloads() { return payload_files_->payloads(); }
  const StoreFileSystem& files() const { return *files_; }
  WriteStall& stall() { return *stall_; }
  bool have_removals() const { return tables_->have_removals(); }
  bool opened_clean() const { return opened_clean_; }
  bool os_crashed() const { return os_crashed_; }
  const std::string& cut_log() const { return guard_->cut(); }
  bool lost_synced() const { return lost_synced_; }
  absl::Status ForgetOsCrash();

  // Into the WAL, without a sync, and the memtable. IsIncomplete(): a stall, nothing was written. Any thread.
  rocksdb::Status Write(rocksdb::WriteBatch& batch);

  // Flushes what is in memory, so that the next start has nothing to replay, and leaves the clean mark.
  absl::Status Close();

 private:
  Database() = default;
  // What lies between RocksDB and the files beneath; first of all.
  void Layer(const std::string& directory, const std::shared_ptr<rocksdb::FileSystem>& beneath,
             const RocksLogStore::Options& options);
  void SetHooks(rocksdb::Options& rocks, WalGuard::OnDamage on_damage);
  absl::Status MarkInUse(const std::string& boot_id);
  rocksdb::Status CheckPlace(const rocksdb::WriteBatch& batch);

  std::string directory_;
  StoreDirectory claim_;  // goes last
  std::shared_ptr<StoreFileSystem> files_;
  std::shared_ptr<PayloadFileSystem> payload_files_;  // above files_, what RocksDB sees
  std::shared_ptr<PayloadTables> tables_;
  std::shared_ptr<DamageWatch> damage_watch_;
  std::shared_ptr<WriteStall> stall_ = std::make_shared<WriteStall>();
  std::unique_ptr<rocksdb::Env> env_;
  std::unique_ptr<WalGuard> guard_;
  std::unique_ptr<rocksdb::DB> db_;  // after env_: goes first
  std::mutex write_mutex_;
  uint64_t checked_wal_ = 0;  // guarded by write_mutex_
  uint64_t wal_bytes_max_ = 0;
  bool opened_clean_ = true;
  bool os_crashed_ = false;
  bool lost_synced_ = false;
};

}  // namespace millrace::storage
