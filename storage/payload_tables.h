// What the tables (SST files) of a store say of the files in which payloads lie: each lists those it refers to among its
// properties, and how many bytes of each.
//
//     auto tables = std::make_shared<PayloadTables>(payloads, 256 << 10);
//     options.listeners.push_back(tables);
//     options.table_properties_collector_factories.push_back(tables->collectors());
//     options.compaction_filter_factory = tables->rewriter();
//     rocksdb::DB::Open(options, ...);
//     tables->Opened(*db);
//
// A flush also moves payloads whose WAL file is not worth keeping for them (PayloadFiles::Sparse), and a compaction those in files
// that are being evacuated: the entry they belong to gets their new place.
//
// Thread-safe.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include <rocksdb/compaction_filter.h>
#include <rocksdb/db.h>
#include <rocksdb/listener.h>
#include <rocksdb/table_properties.h>

#include "storage/payload_files.h"
#include "storage/payload_mover.h"

namespace millrace::storage {

class PayloadTables : public rocksdb::EventListener {
 public:
  // `payloads` outlives it; piece_bytes: PayloadMover's. payloads_once false: a flush moves all payloads. A compaction that moves
  // some tells `on_rewritten` how many bytes of keys, values and payloads it has done; may be null.
  PayloadTables(PayloadFiles& payloads, size_t piece_bytes, bool payloads_once,
                std::function<void(uint64_t)> on_rewritten)
      : payloads_(payloads),
        piece_bytes_(piece_bytes),
        payloads_once_(payloads_once),
        on_rewritten_(std::move(on_rewritten)) {}

  std::shared_ptr<rocksdb::TablePropertiesCollectorFactory> collectors() const;
  std::shared_ptr<rocksdb::CompactionFilterFactory> rewriter();

  // Pins what the tables there refer to, and takes note of removals in them.
  rocksdb::Status PinAll(rocksdb::DB& db);
  // The same, and removes files that none refers to.
  rocksdb::Status Opened(rocksdb::DB& db);
  // Whether one of the tables there at the start says that entries were removed that another one still has.
  bool have_removals() const { return have_removals_; }

  void OnTableFileCreated(const rocksdb::TableFileCreationInfo& info) override;
  void OnCompactionCompleted(rocksdb::DB* db, const rocksdb::CompactionJobInfo& info) override;

 private:
  class Rewriters;

  PayloadFiles& payloads_;
  const size_t piece_bytes_;
  const bool payloads_once_;
  const std::function<void(uint64_t)> on_rewritten_;
  bool have_removals_ = false;  // set by PinAll
  std::mutex mutex_;
  // A flush ends its filter before it tells of its table, both on one thread: what was moved waits here to be pinned. Guarded by
  // mutex_.
  std::map<std::thread::id, std::shared_ptr<PayloadMover>> moved_by_flush_;
};

}  // namespace millrace::storage
