#include "storage/payload_tables.h"

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "storage/entry_format.h"
#include "storage/file_system.h"
#include "storage/keys.h"
#include "storage/little_endian.h"
#include "storage/rocks_util.h"

namespace millrace::storage {
namespace {

using rocksdb::CompactionFilter;
using rocksdb::Slice;
using rocksdb::Status;
using rocksdb::TableFileCreationReason;
using rocksdb::UserCollectedProperties;

// The numbers of the WAL files, 8 bytes each, little-endian.
constexpr char kWalsProperty[] = "millrace.wals";

std::optional<PayloadPlace> PlaceIn(const Slice& key, const Slice& value) {
  if (!HasPlace(ToView(value)) || !EntryKey::Parse(ToView(key))) return std::nullopt;
  const absl::StatusOr<PayloadPlace> place = DecodePlace(ToView(value));
  return place.ok() && !place->staged() ? std::optional(*place) : std::nullopt;
}

std::vector<uint64_t> WalsOf(const rocksdb::TableProperties& properties) {
  std::vector<uint64_t> wals;
  const auto& collected = properties.user_collected_properties;
  const auto found = collected.find(kWalsProperty);
  if (found == collected.end()) return wals;
  LittleEndianReader in(found->second);
  for (size_t i = 0; i < found->second.size() / sizeof(uint64_t); ++i) wals.push_back(in.Get<uint64_t>());
  return wals;
}

class WalCollector : public rocksdb::TablePropertiesCollector {
 public:
  const char* Name() const override { return "millrace-wals"; }
  Status AddUserKey(const Slice& key, const Slice& value, rocksdb::EntryType type, rocksdb::SequenceNumber,
                    uint64_t) override {
    if (type != rocksdb::kEntryPut) return Status::OK();
    const std::optional<PayloadPlace> place = PlaceIn(key, value);
    if (place && place->wal != last_) wals_.insert(last_ = place->wal);
    return Status::OK();
  }
  Status Finish(UserCollectedProperties* properties) override {
    std::string bytes(wals_.size() * sizeof(uint64_t), '\0');
    LittleEndianWriter out(bytes.data());
    for (uint64_t wal : wals_) out.Put<uint64_t>(wal);
    if (!wals_.empty()) (*properties)[kWalsProperty] = bytes;
    return Status::OK();
  }
  UserCollectedProperties GetReadableProperties() const override { return {}; }

 private:
  std::set<uint64_t> wals_;
  uint64_t last_ = 0;
};

class WalCollectors : public rocksdb::TablePropertiesCollectorFactory {
 public:
  const char* Name() const override { return "millrace-wals"; }
  rocksdb::TablePropertiesCollector* CreateTablePropertiesCollector(Context) override { return new WalCollector; }
};

class Rewriter : public CompactionFilter {
 public:
  Rewriter(WalPayloads& payloads, std::set<uint64_t> sparse) : payloads_(payloads), sparse_(std::move(sparse)) {}

  const char* Name() const override { return "millrace-rewriter"; }
  Decision FilterV2(int, const Slice& key, ValueType type, const Slice& value, std::string* rewritten,
                    std::string*) const override {
    if (type != ValueType::kValue) return Decision::kKeep;
    const std::optional<PayloadPlace> place = PlaceIn(key, value);
    if (!place || !sparse_.contains(place->wal)) return Decision::kKeep;
    absl::StatusOr<StoredHeader> header = DecodeHeader(ToView(value));
    if (!header.ok()) return Decision::kKeep;
    rewritten->resize(kStoredHeaderBytes + header->payload_bytes);
    const rocksdb::IOStatus status =
        payloads_.Read(*place, header->payload_bytes, rewritten->data() + kStoredHeaderBytes);
    if (!status.ok()) return Decision::kKeep;  // who reads it is told
    header->placed = false;
    EncodeHeader(*header, rewritten->data());
    return Decision::kChangeValue;
  }

 private:
  WalPayloads& payloads_;
  const std::set<uint64_t> sparse_;
};

class Rewriters : public rocksdb::CompactionFilterFactory {
 public:
  explicit Rewriters(WalPayloads& payloads) : payloads_(payloads) {}

  const char* Name() const override { return "millrace-rewriter"; }
  bool ShouldFilterTableFileCreation(TableFileCreationReason reason) const override {
    return reason == TableFileCreationReason::kFlush || reason == TableFileCreationReason::kRecovery;
  }
  std::unique_ptr<CompactionFilter> CreateCompactionFilter(const CompactionFilter::Context&) override {
    std::set<uint64_t> sparse = payloads_.Sparse();
    return sparse.empty() ? nullptr : std::make_unique<Rewriter>(payloads_, std::move(sparse));
  }

 private:
  WalPayloads& payloads_;
};

}  // namespace

std::shared_ptr<rocksdb::TablePropertiesCollectorFactory> PayloadTables::collectors() const {
  return std::make_shared<WalCollectors>();
}

std::shared_ptr<rocksdb::CompactionFilterFactory> PayloadTables::rewriter() const {
  return std::make_shared<Rewriters>(payloads_);
}

rocksdb::Status PayloadTables::Opened(rocksdb::DB& db) {
  rocksdb::TablePropertiesCollection tables;
  rocksdb::Status status = db.GetPropertiesOfAllTables(&tables);
  if (!status.ok()) return status;
  for (const auto& [path, properties] : tables) payloads_.Pin(*FileNumber(path, kSstSuffix), WalsOf(*properties));
  return payloads_.Opened();
}

void PayloadTables::OnTableFileCreated(const rocksdb::TableFileCreationInfo& info) {
  const std::optional<uint64_t> table = FileNumber(info.file_path, kSstSuffix);
  if (info.status.ok() && table) payloads_.Pin(*table, WalsOf(info.table_properties));
}

}  // namespace millrace::storage
