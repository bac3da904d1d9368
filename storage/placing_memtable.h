// The memtable that completes the place of each payload. A batch says only where in itself a payload lies; which WAL file it went
// to, and where in it, is known when the batch has been appended to the log, which is right before it is put into the memtable.
//
//     options.memtable_factory = std::make_shared<PlacingMemtableFactory>(payloads);
// The memtable is RocksDB's skip list. Why here: README.md, "Where a place comes from".
#pragma once

#include <rocksdb/memtablerep.h>

#include "storage/payload_files.h"

namespace millrace::storage {

class PlacingMemtableFactory : public rocksdb::MemTableRepFactory {
 public:
  // `payloads` outlives it.
  explicit PlacingMemtableFactory(PayloadFiles& payloads) : payloads_(payloads) {}

  const char* Name() const override { return "millrace-placing"; }
  bool CanHandleDuplicatedKey() const override { return true; }
  using rocksdb::MemTableRepFactory::CreateMemTableRep;
  rocksdb::MemTableRep* CreateMemTableRep(const rocksdb::MemTableRep::KeyComparator& comparator,
                                          rocksdb::Allocator* allocator, const rocksdb::SliceTransform* prefix,
                                          rocksdb::Logger* logger) override;

 private:
  PayloadFiles& payloads_;
  rocksdb::SkipListFactory skip_list_;
};

}  // namespace millrace::storage
