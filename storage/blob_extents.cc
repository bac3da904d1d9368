#include "storage/blob_extents.h"

#include "proto/wire/crc32c.h"
#include "storage/little_endian.h"
#include "storage/wal_format.h"

namespace millrace::storage {
namespace {

constexpr uint64_t kMagic = 0x746e65747865726d;  // "mrextent"
constexpr uint32_t kVersion = 1;
constexpr size_t kSummedBytes = 28;  // of the trailer
constexpr size_t kFooterBytes = 32;  // RocksDB's

}  // namespace

void AppendTo(std::string& out, const BlobExtent& extent) {
  out.resize(out.size() + BlobExtent::kBytes);
  LittleEndianWriter(out.data() + out.size() - BlobExtent::kBytes)
      .Put<uint32_t>(extent.offset)
      .Put<uint32_t>(extent.kept_before)
      .Put<uint32_t>(extent.bytes)
      .Put<uint32_t>(extent.value_offset)
      .Put<uint32_t>(extent.wal);
}

BlobExtent DecodeExtent(const char* bytes) {
  LittleEndianReader in(std::string_view(bytes, BlobExtent::kBytes));
  BlobExtent extent;
  extent.offset = in.Get<uint32_t>();
  extent.kept_before = in.Get<uint32_t>();
  extent.bytes = in.Get<uint32_t>();
  extent.value_offset = in.Get<uint32_t>();
  extent.wal = in.Get<uint32_t>();
  return extent;
}

void AppendEnding(std::string& out, const std::vector<uint64_t>& wals, const BlobTrailer& trailer) {
  const size_t begin = out.size();
  out.resize(begin + trailer.wals_bytes() + BlobTrailer::kBytes);
  LittleEndianWriter writer(out.data() + begin);
  for (uint64_t wal : wals) writer.Put<uint64_t>(wal);
  writer.Put<uint32_t>(trailer.wal_count)
      .Put<uint32_t>(trailer.extent_count)
      .Put<uint64_t>(trailer.kept_bytes)
      .Put<uint64_t>(trailer.file_bytes)
      .Put<uint32_t>(trailer.table_crc);
  writer.Put<uint32_t>(Crc32c(0, std::string_view(out).substr(begin, trailer.wals_bytes() + kSummedBytes)))
      .Put<uint32_t>(kVersion)
      .Put<uint64_t>(kMagic);
}

std::optional<BlobTrailer> DecodeTrailer(std::string_view bytes, uint64_t size) {
  if (bytes.size() != BlobTrailer::kBytes) return std::nullopt;
  LittleEndianReader in(bytes);
  BlobTrailer trailer;
  trailer.wal_count = in.Get<uint32_t>();
  trailer.extent_count = in.Get<uint32_t>();
  trailer.kept_bytes = in.Get<uint64_t>();
  trailer.file_bytes = in.Get<uint64_t>();
  trailer.table_crc = in.Get<uint32_t>();
  in.Get<uint32_t>();  // trailer_crc
  if (in.Get<uint32_t>() != kVersion || in.Get<uint64_t>() != kMagic) return std::nullopt;
  const uint64_t table_bytes = trailer.extents_bytes() + trailer.wals_bytes() + BlobTrailer::kBytes;
  if (table_bytes > size || trailer.kept_bytes != size - table_bytes) return std::nullopt;
  return trailer;
}

std::optional<std::vector<uint64_t>> DecodeWals(std::string_view bytes) {
  const size_t wals_bytes = bytes.size() - BlobTrailer::kBytes;
  const auto crc = LittleEndianReader(bytes.substr(wals_bytes + kSummedBytes)).Get<uint32_t>();
  if (crc != Crc32c(0, bytes.substr(0, wals_bytes + kSummedBytes))) return std::nullopt;
  LittleEndianReader in(bytes);
  std::vector<uint64_t> wals(wals_bytes / sizeof(uint64_t));
  for (uint64_t& wal : wals) wal = in.Get<uint64_t>();
  return wals;
}

bool IsRocksDbFooter(std::string_view bytes) {
  if (bytes.size() < kFooterBytes) return false;
  const std::string_view footer = bytes.substr(bytes.size() - kFooterBytes);
  const std::string_view summed = footer.substr(0, kFooterBytes - sizeof(uint32_t));
  const auto magic = LittleEndianReader(footer).Get<uint32_t>();
  const auto crc = LittleEndianReader(footer.substr(summed.size())).Get<uint32_t>();
  return magic == kRocksDbBlobMagic && UnmaskedCrc(crc) == Crc32c(0, summed);
}

}  // namespace millrace::storage
