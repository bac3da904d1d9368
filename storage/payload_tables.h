// What the tables (SST files) of a store say of the WAL files they refer to: each lists them among its properties.
//
//     auto tables = std::make_shared<PayloadTables>(payloads);
//     options.listeners.push_back(tables);
//     options.table_properties_collector_factories.push_back(tables->collectors());
//     options.compaction_filter_factory = tables->rewriter();
//     rocksdb::DB::Open(options, ...);
//     tables->Opened(*db);
//
// A flush also writes payloads again whose WAL file is not worth keeping for them (WalPayloads::Sparse): their entries get them
// behind the header, as if they had been small.
//
// Thread-safe.
#pragma once

#include <memory>

#include <rocksdb/compaction_filter.h>
#include <rocksdb/db.h>
#include <rocksdb/listener.h>
#include <rocksdb/table_properties.h>

#include "storage/wal_payloads.h"

namespace millrace::storage {

class PayloadTables : public rocksdb::EventListener {
 public:
  // `payloads` outlives it.
  explicit PayloadTables(WalPayloads& payloads) : payloads_(payloads) {}

  std::shared_ptr<rocksdb::TablePropertiesCollectorFactory> collectors() const;
  std::shared_ptr<rocksdb::CompactionFilterFactory> rewriter() const;

  // Pins what the tables there refer to, and removes WAL files that none does.
  rocksdb::Status Opened(rocksdb::DB& db);

  void OnTableFileCreated(const rocksdb::TableFileCreationInfo& info) override;

 private:
  WalPayloads& payloads_;
};

}  // namespace millrace::storage
