#include "storage/blob_extents.h"

#include "proto/wire/crc32c.h"
#include "storage/little_endian.h"

namespace millrace::storage {
namespace {

constexpr uint64_t kMagic = 0x746e65747865726d;  // "mrextent"
constexpr uint32_t kVersion = 1;
constexpr size_t kSummedBytes = 28;  // of the trailer

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

void AppendTo(std::string& out, const BlobTrailer& trailer) {
  const size_t begin = out.size();
  out.resize(begin + BlobTrailer::kBytes);
  LittleEndianWriter writer(out.data() + begin);
  writer.Put<uint32_t>(trailer.wal_count)
      .Put<uint32_t>(trailer.extent_count)
      .Put<uint64_t>(trailer.kept_bytes)
      .Put<uint64_t>(trailer.file_bytes)
      .Put<uint32_t>(trailer.table_crc);
  writer.Put<uint32_t>(Crc32c(0, std::string_view(out).substr(begin, kSummedBytes)))
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
  const auto crc = in.Get<uint32_t>();
  const auto version = in.Get<uint32_t>();
  const auto magic = in.Get<uint64_t>();
  if (magic != kMagic || version != kVersion || crc != Crc32c(0, bytes.substr(0, kSummedBytes))) return std::nullopt;
  if (trailer.kept_bytes + trailer.table_bytes() + BlobTrailer::kBytes != size) return std::nullopt;
  return trailer;
}

}  // namespace millrace::storage
