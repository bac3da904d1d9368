#include "storage/placing_memtable.h"

#include <memory>
#include <optional>
#include <string_view>
#include <unordered_set>

#include "proto/wire/check.h"
#include "proto/wire/varint.h"
#include "storage/entry_format.h"
#include "storage/keys.h"
#include "storage/wal_format.h"

namespace millrace::storage {
namespace {

using rocksdb::KeyHandle;
using rocksdb::MemTableRep;

constexpr size_t kInternalBytes = 8;  // sequence number and tag, behind the key

class PlacingMemtable : public MemTableRep {
 public:
  PlacingMemtable(rocksdb::Allocator* allocator, MemTableRep* skip_list, PayloadFiles& payloads)
      : MemTableRep(allocator), skip_list_(skip_list), payloads_(payloads) {}

  KeyHandle Allocate(size_t bytes, char** buffer) override {
    const KeyHandle handle = skip_list_->Allocate(bytes, buffer);
    entry_ = {*buffer, bytes};
    return handle;
  }
  void Insert(KeyHandle handle) override {
    CompletePlace();
    skip_list_->Insert(handle);
  }
  bool InsertKey(KeyHandle handle) override {
    CompletePlace();
    return skip_list_->InsertKey(handle);
  }

  bool Contains(const char* key) const override { return skip_list_->Contains(key); }
  void MarkReadOnly() override { skip_list_->MarkReadOnly(); }
  void MarkFlushed() override { skip_list_->MarkFlushed(); }
  void Get(const rocksdb::LookupKey& key, void* args, bool (*callback)(void*, const char*)) override {
    skip_list_->Get(key, args, callback);
  }
  uint64_t ApproximateNumEntries(const rocksdb::Slice& begin, const rocksdb::Slice& end) override {
    return skip_list_->ApproximateNumEntries(begin, end);
  }
  void UniqueRandomSample(uint64_t entries, uint64_t samples, std::unordered_set<const char*>* sample) override {
    skip_list_->UniqueRandomSample(entries, samples, sample);
  }
  size_t ApproximateMemoryUsage() override { return skip_list_->ApproximateMemoryUsage(); }
  Iterator* GetIterator(rocksdb::Arena* arena) override { return skip_list_->GetIterator(arena); }
  Iterator* GetDynamicPrefixIterator(rocksdb::Arena* arena) override {
    return skip_list_->GetDynamicPrefixIterator(arena);
  }
  bool IsMergeOperatorSupported() const override { return skip_list_->IsMergeOperatorSupported(); }
  bool IsSnapshotSupported() const override { return skip_list_->IsSnapshotSupported(); }

 private:
  // MemTable::Add made it: `length key sequence|tag(8) length value`.
  void CompletePlace() {
    const char* const end = entry_.data() + entry_.size();
    uint64_t bytes = 0;
    const char* p = internal::ReadVarint(entry_.data(), end, bytes);
    const std::string_view key(p, bytes - kInternalBytes);
    const auto tag = static_cast<uint8_t>(p[key.size()]);  // the lowest byte of the number, which is little-endian
    if (tag != kPutTag || !EntryKey::Parse(key)) return;
    p = internal::ReadVarint(p + bytes, end, bytes);
    const std::string_view value(p, bytes);
    if (!HasPlace(value)) return;
    const absl::StatusOr<PayloadPlace> staged = DecodePlace(value);
    if (!staged.ok() || !staged->staged()) return;  // damaged: who reads it is told; or complete
    const std::optional<PayloadPlace> place = payloads_.record().PlaceOf(staged->offset);
    // The scan of a WAL and RocksDB's replay disagree: with the WAL file the payload would go for good.
    MILLRACE_CHECK(place.has_value()) << "where a replayed payload lies was not found";
    EncodePlace(*place, const_cast<char*>(value.data()) + kStoredHeaderBytes);
    payloads_.Placed(*place, DecodeHeader(value).value_or(StoredHeader()).payload_bytes);
  }

  const std::unique_ptr<MemTableRep> skip_list_;
  PayloadFiles& payloads_;
  std::string_view entry_;  // the one that is about to be inserted
};

}  // namespace

MemTableRep* PlacingMemtableFactory::CreateMemTableRep(const MemTableRep::KeyComparator& comparator,
                                                       rocksdb::Allocator* allocator,
                                                       const rocksdb::SliceTransform* prefix, rocksdb::Logger* logger) {
  return new PlacingMemtable(allocator, skip_list_.CreateMemTableRep(comparator, allocator, prefix, logger), payloads_);
}

}  // namespace millrace::storage
