#include "storage/blob_writer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "proto/wire/crc32c.h"
#include "storage/little_endian.h"

namespace millrace::storage {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

namespace {

constexpr uint32_t kBlobVersion = 1;
constexpr uint64_t kFileHeaderBytes = 30;
constexpr uint64_t kRecordHeaderBytes = 32;
constexpr size_t kSummedBytes = 24;  // of a record's header
constexpr uint64_t kKeyBytesMax = 1 << 16;
constexpr uint64_t kRest = std::numeric_limits<uint64_t>::max();
constexpr uint64_t kOffsetMax = std::numeric_limits<uint32_t>::max();
// What is kept goes to the file in pieces of about this size.
constexpr size_t kWriteBytes = 256 << 10;

}  // namespace

BlobWriter::BlobWriter(uint64_t number, std::unique_ptr<rocksdb::FSWritableFile> file, WalValues& wals,
                       Finished finished)
    : FSWritableFileOwnerWrapper(std::move(file)), number_(number), wals_(wals), finished_(std::move(finished)) {
  BeginPart(Part::kFileHeader, kFileHeaderBytes);
}

BlobWriter::~BlobWriter() {
  if (ended_ && ended_->ok()) return;
  for (uint64_t wal : pinned_) wals_.Unpin(wal);
}

IOStatus BlobWriter::Append(const Slice& data, const IOOptions& options, IODebugContext* dbg) {
  if (ended_) return IOStatus::Corruption("a blob file is written to after its end");
  Follow(std::string_view(data.data(), data.size()));
  return kept_.size() < kWriteBytes ? IOStatus::OK() : WriteKept(options, dbg);
}

IOStatus BlobWriter::Append(const Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo&,
                            IODebugContext* dbg) {
  return Append(data, options, dbg);
}

void BlobWriter::Follow(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t size = std::min<uint64_t>(bytes.size(), left_);
    if (part_ != Part::kLeftOutValue) {
      kept_.append(bytes.data(), size);
      kept_bytes_ += size;
    }
    if (part_ == Part::kFileHeader || part_ == Part::kRecordHeader || part_ == Part::kKey) {
      current_.append(bytes.data(), size);
    }
    offset_ += size;
    left_ -= size;
    bytes.remove_prefix(size);
    if (left_ == 0) EndPart();
  }
}

void BlobWriter::BeginPart(Part part, uint64_t bytes) {
  part_ = part;
  left_ = bytes;
  current_.clear();
}

void BlobWriter::EndPart() {
  switch (part_) {
    case Part::kFileHeader: {
      LittleEndianReader header(current_);
      const bool known = header.Get<uint32_t>() == kRocksDbBlobMagic && header.Get<uint32_t>() == kBlobVersion;
      return known ? BeginPart(Part::kRecordHeader, kRecordHeaderBytes) : BeginPart(Part::kRest, kRest);
    }
    case Part::kRecordHeader:
      return EndRecordHeader();
    case Part::kKey:
      return BeginValue();
    case Part::kKeptValue:
    case Part::kLeftOutValue:
      return BeginPart(Part::kRecordHeader, kRecordHeaderBytes);
    case Part::kRest:
      return;
  }
}

// The footer is as long as a record's header, and is none by its checksum.
void BlobWriter::EndRecordHeader() {
  LittleEndianReader header(current_);
  const auto key_bytes = header.Get<uint64_t>();
  value_bytes_ = header.Get<uint64_t>();
  header.Get<uint64_t>();  // expiration
  const auto header_crc = header.Get<uint32_t>();
  value_crc_ = UnmaskedCrc(header.Get<uint32_t>());
  const uint32_t crc = Crc32c(0, std::string_view(current_).substr(0, kSummedBytes));
  if (UnmaskedCrc(header_crc) != crc || key_bytes == 0 || key_bytes > kKeyBytesMax || value_bytes_ == 0) {
    return BeginPart(Part::kRest, kRest);
  }
  BeginPart(Part::kKey, key_bytes);
}

void BlobWriter::BeginValue() {
  std::optional<WalValues::Place> place;
  if (value_bytes_ >= kExtentBytesMin && offset_ + value_bytes_ <= kOffsetMax) {
    place = wals_.Take(current_, value_bytes_, value_crc_, pinned_);
  }
  if (!place || place->value.offset > kOffsetMax) return BeginPart(Part::kKeptValue, value_bytes_);
  auto used = std::find(wals_used_.begin(), wals_used_.end(), place->wal);
  if (used == wals_used_.end()) used = wals_used_.insert(used, place->wal);
  extents_.push_back({.offset = static_cast<uint32_t>(offset_),
                      .kept_before = static_cast<uint32_t>(kept_bytes_),
                      .bytes = place->value.bytes,
                      .value_offset = static_cast<uint32_t>(place->value.offset),
                      .wal = static_cast<uint32_t>(used - wals_used_.begin())});
  BeginPart(Part::kLeftOutValue, value_bytes_);
}

IOStatus BlobWriter::WriteKept(const IOOptions& options, IODebugContext* dbg) {
  if (kept_.empty()) return IOStatus::OK();
  IOStatus status = target()->Append(kept_, options, dbg);
  kept_.clear();
  return status;
}

IOStatus BlobWriter::Flush(const IOOptions& options, IODebugContext* dbg) { return target()->Flush(options, dbg); }

IOStatus BlobWriter::Sync(const IOOptions& options, IODebugContext* dbg) {
  // RocksDB syncs a blob file once, after its footer.
  return part_ == Part::kRest ? End(options, dbg) : target()->Sync(options, dbg);
}

IOStatus BlobWriter::Close(const IOOptions& options, IODebugContext* dbg) {
  IOStatus status = End(options, dbg);
  IOStatus closed = target()->Close(options, dbg);
  return status.ok() ? closed : status;
}

IOStatus BlobWriter::End(const IOOptions& options, IODebugContext* dbg) {
  if (!ended_) ended_ = WriteEnd(options, dbg);
  return *ended_;
}

IOStatus BlobWriter::WriteEnd(const IOOptions& options, IODebugContext* dbg) {
  auto blob = std::make_shared<BlobFile>();
  blob->number = number_;
  IOStatus status = MoveValues(&blob->wals, options, dbg);
  // What the extents refer to is on the disk before they are.
  if (status.ok()) status = SyncWals(blob->wals);
  if (status.ok() && !extents_.empty()) blob->trailer = AppendTable(blob->wals);
  if (status.ok()) status = WriteKept(options, dbg);
  if (status.ok()) status = target()->Sync(options, dbg);
  if (!status.ok()) return status;
  for (uint64_t wal : pinned_) {
    if (std::find(blob->wals.begin(), blob->wals.end(), wal) == blob->wals.end()) wals_.Unpin(wal);
  }
  if (!extents_.empty()) finished_(std::move(blob));
  return status;
}

IOStatus BlobWriter::MoveValues(std::vector<uint64_t>* wals, const IOOptions& options, IODebugContext* dbg) {
  std::vector<uint32_t> places(wals_used_.size(), BlobExtent::kThisFile);
  for (size_t i = 0; i < wals_used_.size(); ++i) {
    if (!wals_.IsWorthKeeping(wals_used_[i])) continue;
    places[i] = static_cast<uint32_t>(wals->size());
    wals->push_back(wals_used_[i]);
  }
  for (BlobExtent& extent : extents_) {
    const uint64_t wal = wals_used_[extent.wal];
    extent.wal = places[extent.wal];
    if (extent.wal != BlobExtent::kThisFile) continue;
    kept_.resize(kept_.size() + extent.bytes);
    IOStatus status = wals_.Read(wal, extent.value_offset, 0, extent.bytes, kept_.data() + kept_.size() - extent.bytes);
    extent.value_offset = static_cast<uint32_t>(kept_bytes_);
    kept_bytes_ += extent.bytes;
    if (status.ok() && kept_.size() >= kWriteBytes) status = WriteKept(options, dbg);
    if (!status.ok()) return status;
  }
  return IOStatus::OK();
}

IOStatus BlobWriter::SyncWals(const std::vector<uint64_t>& wals) {
  std::vector<uint64_t> ends(wals.size());
  for (const BlobExtent& extent : extents_) {
    if (extent.wal == BlobExtent::kThisFile) continue;
    uint64_t& end = ends[extent.wal];
    end = std::max(end, WalPosition(extent.value_offset, extent.bytes - 1) + 1);
  }
  for (size_t i = 0; i < wals.size(); ++i) {
    IOStatus status = wals_.Sync(wals[i], ends[i]);
    if (!status.ok()) return status;
  }
  return IOStatus::OK();
}

BlobTrailer BlobWriter::AppendTable(const std::vector<uint64_t>& wals) {
  std::string table;
  for (const BlobExtent& extent : extents_) AppendTo(table, extent);
  const BlobTrailer trailer = {.wal_count = static_cast<uint32_t>(wals.size()),
                               .extent_count = static_cast<uint32_t>(extents_.size()),
                               .kept_bytes = kept_bytes_,
                               .file_bytes = offset_,
                               .table_crc = Crc32c(0, table)};
  kept_.append(table);
  AppendEnding(kept_, wals, trailer);
  return trailer;
}

IOStatus BlobWriter::Fsync(const IOOptions& options, IODebugContext* dbg) { return Sync(options, dbg); }

// By RocksDB's offsets, which are not those of the file. What is kept is little: the sync at the end takes it.
IOStatus BlobWriter::RangeSync(uint64_t, uint64_t, const IOOptions&, IODebugContext*) { return IOStatus::OK(); }

IOStatus BlobWriter::Allocate(uint64_t, uint64_t, const IOOptions&, IODebugContext*) { return IOStatus::OK(); }

uint64_t BlobWriter::GetFileSize(const IOOptions&, IODebugContext*) { return offset_; }

}  // namespace millrace::storage
