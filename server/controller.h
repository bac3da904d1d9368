// Decides changes of the metadata, on the broker that is the controller.
//
// Decide, then replay: an operation looks at the image and makes records plus a result; the records go into the metadata log
// (metadata_proposer.h), and when they are replayed, which is the only thing that changes the image, the result is delivered.
// One operation at a time, so that each decides on an image that holds all earlier ones.
//
//     controller.Begin({.cluster_id = id, .founders = founders}, done);        // each time that this broker becomes the controller
//     controller.CreateTopic({.name = "flights", .partitions = 16}, [](const ErrorFrame& error, const CreatedTopic& created) {});
//
// Lives on one executor. Errors: what the log could not take is NOT_LEADER_OR_FOLLOWER, LEADER_NOT_AVAILABLE or NOT_ENOUGH_REPLICAS
// (nothing has happened), or REQUEST_TIMED_OUT (it may have).
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
#include "server/disk_floor.h"
#include "server/metadata_image.h"
#include "server/metadata_proposer.h"

namespace millrace::server {

struct NewTopic {
  std::string name;
  int32_t partitions = 0;          // 0: 1
  int32_t replication_factor = 0;  // 0: the default
  std::map<std::string, std::string> config;
  bool if_not_exists = false;
  bool internal = false;  // one of the cluster's own, whose names clients cannot give
};

struct CreatedTopic {
  std::shared_ptr<const TopicInfo> topic;
  bool created = false;
};

// A producer with a name, which fences whoever had that before: see InitProducerRequest in proto/millrace/v1/broker.proto.
struct NewNamedProducer {
  std::string name;
  uint64_t session = 0;
  int64_t id = 0;  // what it has; 0: nothing yet
  int32_t epoch = 0;
};

// What the first controller of a cluster writes before anything else.
struct NewCluster {
  std::string cluster_id;
  raft::ReplicaSet founders;
};

class Controller {
 public:
  using Done = std::function<void(const ErrorFrame&)>;
  using CreateDone = std::function<void(const ErrorFrame&, const CreatedTopic&)>;
  using RegisterDone = std::function<void(const ErrorFrame&, raft::BrokerId)>;
  using ProducerIdDone = std::function<void(const ErrorFrame&, int64_t producer_id)>;
  using NamedProducerDone = std::function<void(const ErrorFrame&, int64_t producer_id, int32_t producer_epoch)>;

  struct Options {
    TopicConfig defaults;
    // Of the brokers in the image: those that get replicas of new partitions. Null: all.
    std::function<bool(raft::ReplicaId)> is_alive;
  };

  // `disk_floor`: of this broker, where the metadata is stored.
  Controller(Options options, MetadataProposer& metadata, Random& random, DiskFloor& disk_floor);

  // This broker has become the controller. What other operations there are comes after.
  void Begin(const NewCluster& cluster, Done done);

  // A broker with its present properties; what is known already changes nothing. Without a number (kNoBrokerId) it gets one above all
  // that are in use. A number that is another disk's is refused: see formation.h.
  void RegisterBroker(BrokerInfo broker, RegisterDone done);

  void CreateTopic(NewTopic topic, CreateDone done);
  void DeleteTopic(std::string name, Done done);
  void AlterTopic(std::string name, std::map<std::string, std::string> set, std::vector<std::string> unset, Done done);
  void AddPartitions(std::string name, int32_t partitions, Done done);
  void NewProducerId(ProducerIdDone done);
  void InitNamedProducer(NewNamedProducer producer, NamedProducerDone done);

  // Producer ids from here on were never given out. Any thread.
  const std::atomic<int64_t>& producer_ids_end() const { return next_producer_id_; }

  static constexpr int32_t kPartitionsMax = 100'000;  // of a topic
  static constexpr size_t kProducerNamesMax = 10'000;
  static constexpr size_t kProducerNameBytesMax = 255;

 private:
  struct Decision;
  using Operation = std::function<void(Decision&)>;

  const MetadataImage& image() const { return *metadata_.image(); }
  void Enqueue(Operation decide);
  void RunNext();
  void Commit(std::shared_ptr<Decision> decision);

  void DecideRegister(BrokerInfo broker, Decision& decision) const;
  raft::BrokerId NextBrokerId() const;
  void DecideCreate(const NewTopic& topic, Decision& decision);
  void DecideAlter(const std::string& name, const std::map<std::string, std::string>& set,
                   const std::vector<std::string>& unset, Decision& decision) const;
  void DecideAddPartitions(const std::string& name, int32_t partitions, Decision& decision);
  struct PartitionsOf;
  void AddPartitionRecords(const PartitionsOf& partitions, Decision& decision);
  void ReserveProducerId(Decision& decision);
  void DecideNamedProducer(const NewNamedProducer& producer, Decision& decision);
  void ForgetOldestName(Decision& decision) const;
  const TopicInfo* FindForChange(const std::string& name, Decision& decision) const;

  const Options options_;
  MetadataProposer& metadata_;
  Random& random_;
  DiskFloor& disk_floor_;
  std::deque<Operation> queue_;
  bool busy_ = false;                          // one is being committed
  bool running_ = false;                       // RunNext is
  std::atomic<int64_t> next_producer_id_ = 0;  // of the block in use, which ends at image().producer_ids_end()
};

}  // namespace millrace::server
