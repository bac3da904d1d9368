// This broker's replica of the metadata group (ARCHITECTURE D5): it follows the log, decides as the controller while it leads, and
// has the broker registered at each start.
//
//     MetadataReplica metadata(options, seams);
//     metadata.Start([](absl::Status status) { … });        // OK: the image has all that was decided before the start
//     if (metadata.is_controller()) metadata.controller().CreateTopic(…);
//
// A broker is registered anew at each start, with a number drawn for that start. When it finds that in its image, it has caught up
// with everything that was decided before; until then its image may be years old, and nobody but this class goes by it.
//
// Lives on the first shard's executor. Ownership: everything in Seams outlives it.
// Errors: a broker that the controller refuses, or whose metadata cannot be read, is told to Start's callback; what goes wrong
// later is told to on_fatal.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "server/cluster_view.h"
#include "server/controller.h"
#include "server/metadata_log.h"
#include "server/peer_service.h"
#include "server/shard.h"

namespace millrace::server {

class MetadataReplica : private MetadataLog::Group {
 public:
  struct Options {
    TopicConfig topic_defaults;
    BrokerInfo self;
    NewCluster cluster;
  };
  struct Seams {
    raft::LogStore& store;
    Shard& shard;
    ClusterView& view;
    const Clock& clock;
    Random& random;
    DiskFloor& disk_floor;
    PeerAsker& peers;
    // Told of every image, before Start's callback of one that is not the newest.
    std::function<void(std::shared_ptr<const MetadataImage>)> on_image;
    // Told, for people, what Start waits for.
    std::function<void(const std::string&)> on_waiting;
    std::function<void(const absl::Status&)> on_fatal;
  };

  MetadataReplica(Options options, Seams seams);
  ~MetadataReplica() override;

  // Reads the log; may block. The store has one: see MakeMetadataLog. `lost_synced`: some of it may be gone that this replica said
  // was there, or a vote (RocksLogStore::lost_synced()); it then abstains until a leader has brought it up to date.
  void Start(bool lost_synced, std::function<void(absl::Status)> caught_up);

  // It asks nobody any more.
  void Stop() { caught_up_ = nullptr; }

  bool is_controller() const { return log_ != nullptr && log_->is_controller(); }
  // Once started.
  Controller& controller() { return *controller_; }
  // As Controller::RegisterBroker, or NOT_LEADER_OR_FOLLOWER with a hint.
  void OnRegister(BrokerInfo broker, RegisterDone done);
  // Of what only the controller may answer.
  ErrorFrame NotControllerError() const;

 private:
  absl::StatusOr<raft::EntryId> Propose(raft::Entry entry) override;
  raft::Round& round() override { return seams_.shard.writer.round(); }
  void SetLogStart(raft::Offset log_start) override { seams_.shard.groups.SetLogStart(*replica_, log_start); }

  void Begin();
  absl::Status Open();
  void OnImage(std::shared_ptr<const MetadataImage> image);
  void OnController(bool is_controller);
  void TryToRegister();
  // As the controller: brokers that came get the log, and vote as long as there are few that do.
  void AdviseMembers();
  void OnRegistered(const ErrorFrame& error);
  void TellWhatItWaitsFor();
  void CatchUp(absl::Status status);

  const Options options_;
  const Seams seams_;
  std::unique_ptr<MetadataLog> log_;
  std::unique_ptr<Controller> controller_;
  MultiRaft::Group* replica_ = nullptr;
  std::function<void(absl::Status)> caught_up_;  // until it was called
  bool registering_ = false;
  std::chrono::nanoseconds started_{};
  std::string waits_for_;  // as logged
  Executor::TimerId timer_ = 0;
  Executor::TimerId advice_ = 0;  // while it is the controller
  std::shared_ptr<MetadataReplica*> self_;
};

}  // namespace millrace::server
