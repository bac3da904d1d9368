#include "storage/blob_reader.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "proto/wire/crc32c.h"

namespace millrace::storage {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

namespace {

constexpr size_t kRunExtents = 64;

IOStatus ReadAt(const OpenFiles::File& file, uint64_t offset, size_t bytes, char* out) {
  std::vector<iovec> pieces = {{out, bytes}};
  return file.Read(offset, pieces);
}

}  // namespace

IOStatus ReadBlobFile(uint64_t number, const std::string& path, uint64_t file_bytes, OpenFiles& files,
                      BlobEnding* ending, std::shared_ptr<const BlobFile>* blob) {
  *ending = BlobEnding::kUnknown;
  if (file_bytes < BlobTrailer::kBytes) return IOStatus::OK();
  std::shared_ptr<const OpenFiles::File> file;
  IOStatus status = files.Get(number, path, &file);
  std::string bytes(BlobTrailer::kBytes, '\0');
  if (status.ok()) status = ReadAt(*file, file_bytes - bytes.size(), bytes.size(), bytes.data());
  if (!status.ok()) return status;
  const std::optional<BlobTrailer> trailer = DecodeTrailer(bytes, file_bytes);
  if (!trailer) {
    if (IsRocksDbFooter(bytes)) *ending = BlobEnding::kRocksDb;
    return status;
  }
  bytes.resize(trailer->wals_bytes() + BlobTrailer::kBytes);
  status = ReadAt(*file, file_bytes - bytes.size(), bytes.size(), bytes.data());
  if (!status.ok()) return status;
  if (std::optional<std::vector<uint64_t>> wals = DecodeWals(bytes)) {
    *ending = BlobEnding::kExtents;
    *blob = std::make_shared<BlobFile>(BlobFile{number, *trailer, *std::move(wals)});
  }
  return status;
}

IOStatus BlobReader::Open(std::shared_ptr<const BlobFile> blob, std::string path, WalValues& wals, OpenFiles& files,
                          std::unique_ptr<rocksdb::FSRandomAccessFile>* reader) {
  std::unique_ptr<BlobReader> opened(new BlobReader(std::move(blob), std::move(path), wals, files));
  IOStatus status = opened->LoadIndex();
  if (status.ok()) *reader = std::move(opened);
  return status;
}

IOStatus BlobReader::LoadIndex() {
  const BlobTrailer& trailer = blob_->trailer;
  std::string table(trailer.extents_bytes(), '\0');
  IOStatus status = ReadFile(trailer.kept_bytes, table.size(), table.data());
  if (!status.ok()) return status;
  if (Crc32c(0, table) != trailer.table_crc) {
    return IOStatus::Corruption(path_, "its table of extents is damaged");
  }
  for (size_t i = 0; i < trailer.extent_count; i += kRunExtents) {
    run_offsets_.push_back(DecodeExtent(table.data() + i * BlobExtent::kBytes).offset);
  }
  return status;
}

IOStatus BlobReader::Read(uint64_t offset, size_t bytes, const IOOptions&, Slice* result, char* scratch,
                          IODebugContext*) const {
  const uint64_t end = std::min<uint64_t>(offset + bytes, blob_->trailer.file_bytes);
  size_t filled = 0;
  while (offset + filled < end) {
    size_t read = 0;
    IOStatus status = ReadPiece(offset + filled, end - offset - filled, scratch + filled, &read);
    if (!status.ok()) return status;
    filled += read;
  }
  *result = Slice(scratch, filled);
  return IOStatus::OK();
}

IOStatus BlobReader::ReadPiece(uint64_t offset, size_t bytes, char* out, size_t* read) const {
  std::shared_ptr<const Extents> extents;
  IOStatus status = RunFor(offset, &extents);
  if (!status.ok()) return status;
  const auto next = std::upper_bound(extents->begin(), extents->end(), offset,
                                     [](uint64_t o, const BlobExtent& extent) { return o < extent.offset; });
  uint64_t kept = offset;
  if (next != extents->begin()) {
    const BlobExtent& extent = *std::prev(next);
    if (offset < extent.end()) {
      *read = std::min<uint64_t>(bytes, extent.end() - offset);
      return ReadExtent(extent, offset - extent.offset, *read, out);
    }
    kept = extent.kept_before + (offset - extent.end());
  }
  *read = next == extents->end() ? bytes : std::min<uint64_t>(bytes, next->offset - offset);
  return ReadFile(kept, *read, out);
}

IOStatus BlobReader::RunFor(uint64_t offset, std::shared_ptr<const Extents>* extents) const {
  const auto after = std::upper_bound(run_offsets_.begin(), run_offsets_.end(), offset);
  const size_t run = after == run_offsets_.begin() ? 0 : after - run_offsets_.begin() - 1;
  {
    std::lock_guard lock(mutex_);
    if (last_extents_ != nullptr && last_run_ == run) {
      *extents = last_extents_;
      return IOStatus::OK();
    }
  }
  const size_t first = run * kRunExtents;
  std::string bytes(std::min(kRunExtents + 1, blob_->trailer.extent_count - first) * BlobExtent::kBytes, '\0');
  IOStatus status = ReadFile(blob_->trailer.kept_bytes + first * BlobExtent::kBytes, bytes.size(), bytes.data());
  if (!status.ok()) return status;
  auto decoded = std::make_shared<Extents>();
  for (size_t at = 0; at < bytes.size(); at += BlobExtent::kBytes) decoded->push_back(DecodeExtent(bytes.data() + at));
  std::lock_guard lock(mutex_);
  last_run_ = run;
  last_extents_ = *extents = std::move(decoded);
  return status;
}

IOStatus BlobReader::ReadFile(uint64_t offset, size_t bytes, char* out) const {
  std::shared_ptr<const OpenFiles::File> file;
  IOStatus status = files_.Get(blob_->number, path_, &file);
  return status.ok() ? ReadAt(*file, offset, bytes, out) : status;
}

IOStatus BlobReader::ReadExtent(const BlobExtent& extent, uint64_t skip, size_t bytes, char* out) const {
  if (extent.wal == BlobExtent::kThisFile) return ReadFile(extent.value_offset + skip, bytes, out);
  if (extent.wal >= blob_->wals.size()) return IOStatus::Corruption(path_, "an extent names no WAL file");
  return wals_.Read(blob_->wals[extent.wal], extent.value_offset, skip, bytes, out);
}

}  // namespace millrace::storage
