// An image of the metadata as bytes: beside the log, so that the entries that led to it can go, and to brokers that lack them.
//
//     absl::Cord bytes = EncodeSnapshot({image, end_offset});
//     absl::StatusOr<MetadataSnapshot> back = DecodeSnapshot(bytes, topic_defaults);    // *back->image == *image
//
// Pure functions.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "raft/types.h"
#include "server/metadata_image.h"

namespace millrace::server {

struct MetadataSnapshot {
  std::shared_ptr<const MetadataImage> image;
  raft::Offset end_offset;  // of the entry image->version()
};

// Little-endian: a version byte (1), the image's version (8), end_offset (8), then records that make the image out of an empty one,
// some hundred at a time, as a length (4) and a MetadataRecords, then the crc32c (4) of all that.
absl::Cord EncodeSnapshot(const MetadataSnapshot& snapshot);
// Takes any bytes. kDataLoss: damaged. kUnimplemented: a newer release wrote it.
absl::StatusOr<MetadataSnapshot> DecodeSnapshot(const absl::Cord& bytes, const TopicConfig& defaults);

}  // namespace millrace::server
