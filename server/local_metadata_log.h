// The metadata log of a cluster of one broker: no elections, what is on the disk is decided.
//
//     LocalMetadataLog log(defaults, store, writer, clock, on_image);
//     absl::Status status = log.Load();
//     log.Propose(records, done);
//
// Threads: the executor's that the writer lives on. Ownership: all that it is given outlives it.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "proto/wire/runtime.h"
#include "raft/log_store.h"
#include "server/log_tail.h"
#include "server/log_writer.h"
#include "server/metadata_proposer.h"

namespace millrace::server {

class LocalMetadataLog : public MetadataProposer {
 public:
  // Told of every new image, before the proposal that caused it is answered.
  using ImageListener = std::function<void(std::shared_ptr<const MetadataImage>)>;

  LocalMetadataLog(const TopicConfig& defaults, raft::LogStore& store, LogWriter& writer, const Clock& clock,
                   ImageListener listener);

  // Reads the log, makes it if there is none, and tells the image. Blocks; before anything else. kDataLoss: damaged.
  absl::Status Load();

  const std::shared_ptr<const MetadataImage>& image() const override { return image_; }
  // Always OK: a store that fails ends the process.
  void Propose(const millrace::internal::v1::MetadataRecords& records, Done done) override;

 private:
  absl::Status Replay(const raft::Entry& entry);

  raft::LogStore& store_;
  LogWriter& writer_;
  const Clock& clock_;
  const ImageListener listener_;
  std::shared_ptr<const MetadataImage> image_;
  LogTail tail_;
};

}  // namespace millrace::server
