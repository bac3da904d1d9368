// Stops the store when RocksDB's work in the background fails, and leaves word in the directory when what it met is damage.
//
// All logs share the tables: one flipped byte in a table that a compaction meets makes every later write fail, at this start and
// at each one after it. So the directory is marked (StoreDirectory::MarkDamaged), and the next start says at once what is wrong.
//
// Thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include <rocksdb/db.h>
#include <rocksdb/listener.h>
#include <rocksdb/table_properties.h>

#include "raft/types.h"
#include "storage/store_health.h"

namespace millrace::storage {

// Note for each table which logs have keys in it.
std::shared_ptr<rocksdb::TablePropertiesCollectorFactory> LogRangeCollectors();

class DamageWatch : public rocksdb::EventListener {
 public:
  // What to call the logs of groups first to last; may be null.
  using NameLogs = std::function<std::string(raft::GroupId first, raft::GroupId last)>;

  // `files` and `health` outlive it.
  DamageWatch(std::string directory, rocksdb::FileSystem& files, NameLogs name_logs, StoreHealth& health)
      : directory_(std::move(directory)), files_(files), name_logs_(std::move(name_logs)), health_(health) {}

  // From now on it can tell which logs a table holds.
  void Watch(rocksdb::DB& db) { db_ = &db; }

  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* error) override;

 private:
  // Of the table that an error's text names; empty if it names none.
  std::string LogsIn(const std::string& text) const;

  const std::string directory_;
  rocksdb::FileSystem& files_;
  const NameLogs name_logs_;
  StoreHealth& health_;
  std::atomic<rocksdb::DB*> db_{nullptr};
};

}  // namespace millrace::storage
