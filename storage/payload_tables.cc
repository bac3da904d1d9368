#include "storage/payload_tables.h"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "storage/entry_format.h"
#include "storage/file_system.h"
#include "storage/keys.h"
#include "storage/little_endian.h"
#include "storage/rocks_util.h"

namespace millrace::storage {
namespace {

// Of a WAL file, what has to be payloads for it to be kept for them. No file is payloads only: records have headers.
constexpr double kSparsePart = 0.8;
constexpr double kEveryFile = 1;

using rocksdb::CompactionFilter;
using rocksdb::Slice;
using rocksdb::Status;
using rocksdb::TableFileCreationReason;
using rocksdb::UserCollectedProperties;

// For each file: its number (8 bytes, little-endian), and how many bytes in it are referred to (8).
constexpr char kFilesProperty[] = "millrace.payloads";
constexpr size_t kReferenceBytes = 16;
// What a WAL file has around a payload lives and dies with it: key, value, the batch's own bytes where an entry has one to itself. Were
// that taken for dead, a file of small entries would be so from the beginning.
constexpr uint64_t kAroundPayloadBytes = 180;

std::optional<PayloadPlace> PlaceIn(const Slice& key, const Slice& value) {
  if (!HasPlace(ToView(value)) || !EntryKey::Parse(ToView(key))) return std::nullopt;
  const absl::StatusOr<PayloadPlace> place = DecodePlace(ToView(value));
  return place.ok() && !place->staged() ? std::optional(*place) : std::nullopt;
}

std::vector<PayloadReference> ReferencesOf(const rocksdb::TableProperties& properties) {
  std::vector<PayloadReference> references;
  const auto& collected = properties.user_collected_properties;
  const auto found = collected.find(kFilesProperty);
  if (found == collected.end()) return references;
  LittleEndianReader in(found->second);
  for (size_t i = 0; i < found->second.size() / kReferenceBytes; ++i) {
    const auto file = in.Get<uint64_t>();
    references.push_back({file, in.Get<uint64_t>()});
  }
  return references;
}

class ReferenceCollector : public rocksdb::TablePropertiesCollector {
 public:
  const char* Name() const override { return "millrace-payloads"; }
  Status AddUserKey(const Slice& key, const Slice& value, rocksdb::EntryType type, rocksdb::SequenceNumber,
                    uint64_t) override {
    if (type != rocksdb::kEntryPut) return Status::OK();
    const std::optional<PayloadPlace> place = PlaceIn(key, value);
    // A damaged header keeps its file, too.
    if (place) {
      bytes_by_file_[place->file] +=
          PayloadBytesUnchecked(ToView(value)) + (IsMoved(place->file) ? 0 : kAroundPayloadBytes);
    }
    return Status::OK();
  }
  Status Finish(UserCollectedProperties* properties) override {
    std::string bytes(bytes_by_file_.size() * kReferenceBytes, '\0');
    LittleEndianWriter out(bytes.data());
    for (const auto& [file, referenced] : bytes_by_file_) out.Put<uint64_t>(file).Put<uint64_t>(referenced);
    if (!bytes.empty()) (*properties)[kFilesProperty] = bytes;
    return Status::OK();
  }
  UserCollectedProperties GetReadableProperties() const override { return {}; }

 private:
  std::map<uint64_t, uint64_t> bytes_by_file_;
};

class ReferenceCollectors : public rocksdb::TablePropertiesCollectorFactory {
 public:
  const char* Name() const override { return "millrace-payloads"; }
  rocksdb::TablePropertiesCollector* CreateTablePropertiesCollector(Context) override { return new ReferenceCollector; }
};

// Gives entries whose payloads lie in one of `files` another place.
class Rewriter : public CompactionFilter {
 public:
  Rewriter(std::set<uint64_t> files, PayloadFiles& payloads, std::shared_ptr<PayloadMover> mover,
           std::function<void(uint64_t)> on_rewritten)
      : files_(std::move(files)),
        payloads_(payloads),
        mover_(std::move(mover)),
        on_rewritten_(std::move(on_rewritten)) {}

  const char* Name() const override { return "millrace-rewriter"; }
  Decision FilterV2(int, const Slice& key, ValueType type, const Slice& value, std::string* rewritten,
                    std::string*) const override {
    if (on_rewritten_ != nullptr) on_rewritten_(key.size() + value.size());
    if (type != ValueType::kValue) return Decision::kKeep;
    const std::optional<PayloadPlace> place = PlaceIn(key, value);
    if (!place || !files_.contains(place->file)) return Decision::kKeep;
    const absl::StatusOr<StoredHeader> header = DecodeHeader(ToView(value));
    if (!header.ok()) {
      payloads_.Unreadable(place->file);
      return Decision::kKeep;
    }
    const std::optional<PayloadPlace> moved = mover_->Move(*place, header->payload_bytes);
    if (!moved) return Decision::kKeep;
    if (on_rewritten_ != nullptr) on_rewritten_(header->payload_bytes);
    rewritten->assign(value.data(), value.size());
    EncodePlace(*moved, rewritten->data() + kStoredHeaderBytes);
    return Decision::kChangeValue;
  }

 private:
  const std::set<uint64_t> files_;
  PayloadFiles& payloads_;
  const std::shared_ptr<PayloadMover> mover_;
  const std::function<void(uint64_t)> on_rewritten_;
};

}  // namespace

class PayloadTables::Rewriters : public rocksdb::CompactionFilterFactory {
 public:
  explicit Rewriters(PayloadTables& tables) : tables_(tables) {}

  const char* Name() const override { return "millrace-rewriter"; }
  bool ShouldFilterTableFileCreation(TableFileCreationReason) const override { return true; }
  std::unique_ptr<CompactionFilter> CreateCompactionFilter(const CompactionFilter::Context& context) override {
    const bool compacts = context.reason == TableFileCreationReason::kCompaction;
    std::set<uint64_t> files = compacts ? tables_.payloads_.evacuated()
                                        : tables_.payloads_.Sparse(tables_.payloads_once_ ? kSparsePart : kEveryFile);
    if (files.empty()) return nullptr;
    auto mover = std::make_shared<PayloadMover>(tables_.payloads_, tables_.piece_bytes_);
    if (!compacts) {
      std::lock_guard lock(tables_.mutex_);
      tables_.moved_by_flush_[std::this_thread::get_id()] = mover;
    }
    return std::make_unique<Rewriter>(std::move(files), tables_.payloads_, std::move(mover),
                                      compacts ? tables_.on_rewritten_ : nullptr);
  }

 private:
  PayloadTables& tables_;
};

std::shared_ptr<rocksdb::TablePropertiesCollectorFactory> PayloadTables::collectors() const {
  return std::make_shared<ReferenceCollectors>();
}

std::shared_ptr<rocksdb::CompactionFilterFactory> PayloadTables::rewriter() {
  return std::make_shared<Rewriters>(*this);
}

rocksdb::Status PayloadTables::Opened(rocksdb::DB& db) {
  rocksdb::Status status = PinAll(db);
  return status.ok() ? payloads_.Opened() : status;
}

rocksdb::Status PayloadTables::PinAll(rocksdb::DB& db) {
  rocksdb::TablePropertiesCollection tables;
  rocksdb::Status status = db.GetPropertiesOfAllTables(&tables);
  if (!status.ok()) return status;
  for (const auto& [path, properties] : tables) {
    have_removals_ = have_removals_ || properties->num_range_deletions > 0;
    payloads_.Pin(*FileNumber(path, kSstSuffix), ReferencesOf(*properties));
  }
  return status;
}

void PayloadTables::OnTableFileCreated(const rocksdb::TableFileCreationInfo& info) {
  const std::optional<uint64_t> table = FileNumber(info.file_path, kSstSuffix);
  const bool compacts = info.reason == rocksdb::TableFileCreationReason::kCompaction;
  if (info.status.ok() && table) payloads_.Pin(*table, ReferencesOf(info.table_properties), !compacts);
  std::unique_lock lock(mutex_);
  const auto moved = moved_by_flush_.extract(std::this_thread::get_id());
  lock.unlock();  // it ends outside
}

void PayloadTables::OnCompactionCompleted(rocksdb::DB*, const rocksdb::CompactionJobInfo& info) {
  if (!info.status.ok()) return;  // what it made goes
  const auto numbers = [](const std::vector<std::string>& paths) {
    std::vector<uint64_t> tables;
    for (const std::string& path : paths) tables.push_back(*FileNumber(path, kSstSuffix));
    return tables;
  };
  payloads_.Replace(numbers(info.input_files), numbers(info.output_files));
}

}  // namespace millrace::storage
