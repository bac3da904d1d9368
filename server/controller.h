// Decides changes of the metadata and keeps their log.
//
// Decide, then replay: an operation looks at the image and makes records plus a result; the records are appended to the
// metadata log; when they are durable they are replayed, which is the only thing that changes the image; then the result is
// delivered. One operation at a time, so that each decides on an image that holds all earlier ones.
//
//     controller.CreateTopic({.name = "flights", .partitions = 16}, [](absl::Status / ErrorFrame ...) { ... });
//
// Lives on one executor.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "proto/wire/frames.h"
#include "proto/wire/runtime.h"
#include "raft/log_store.h"
#include "server/disk_floor.h"
#include "server/log_tail.h"
#include "server/log_writer.h"
#include "server/metadata_image.h"

namespace millrace::server {

struct NewTopic {
  std::string name;
  int32_t partitions = 0;          // 0: 1
  int32_t replication_factor = 0;  // 0: the default
  std::map<std::string, std::string> config;
  bool if_not_exists = false;
};

struct CreatedTopic {
  std::shared_ptr<const TopicInfo> topic;
  bool created = false;
};

class Controller {
 public:
  // Told of every new image before the operation that caused it is answered.
  using ImageListener = std::function<void(std::shared_ptr<const MetadataImage>)>;
  using Done = std::function<void(const ErrorFrame&)>;
  using CreateDone = std::function<void(const ErrorFrame&, const CreatedTopic&)>;
  using ProducerIdDone = std::function<void(const ErrorFrame&, int64_t producer_id)>;

  Controller(int32_t broker_id, TopicConfig defaults, raft::LogStore& store, LogWriter& writer, const Clock& clock,
             Random& random, DiskFloor& disk_floor, ImageListener listener);

  // Reads the log and makes it if there is none. Blocks; before serving. What it adds (a new cluster's id) is staged with the writer.
  absl::Status Load();

  void CreateTopic(NewTopic topic, CreateDone done);
  void DeleteTopic(std::string name, Done done);
  void AlterTopic(std::string name, std::map<std::string, std::string> set, std::vector<std::string> unset, Done done);
  void AddPartitions(std::string name, int32_t partitions, Done done);
  void NewProducerId(ProducerIdDone done);

  const std::shared_ptr<const MetadataImage>& image() const { return image_; }
  // Producer ids from here on were never given out. Any thread.
  const std::atomic<int64_t>& producer_ids_end() const { return next_producer_id_; }

  static constexpr int32_t kPartitionsMax = 100'000;  // of a topic

 private:
  struct Decision;
  using Operation = std::function<void(Decision&)>;

  void Enqueue(Operation decide);
  void RunNext();
  void Commit(std::shared_ptr<Decision> decision);
  void StageRecords(const std::string& serialized);
  void DecideCreate(const NewTopic& topic, const CreateDone& done, Decision& decision);
  absl::Status AddPartitionRecords(Decision& decision, uint64_t topic_id, int32_t first, int32_t end,
                                   raft::GroupId next) const;
  const TopicInfo* FindForChange(const std::string& name, ErrorFrame* error) const;

  const int32_t broker_id_;
  raft::LogStore& store_;
  LogWriter& writer_;
  const Clock& clock_;
  Random& random_;
  DiskFloor& disk_floor_;
  ImageListener listener_;
  std::shared_ptr<const MetadataImage> image_;
  LogTail tail_;
  std::deque<Operation> queue_;
  bool busy_ = false;
  std::atomic<int64_t> next_producer_id_ = 0;  // of the block in use: [next_producer_id_, image_->producer_ids_end())
  TopicConfig defaults_;
};

}  // namespace millrace::server
