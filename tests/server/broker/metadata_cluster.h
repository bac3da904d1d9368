// Brokers in memory with one replica each of the metadata group: logs, drivers and disks, and a network that loses what the test says.
//
//     MetadataCluster cluster(3, {.entries_per_snapshot = 10});
//     MetadataCluster::Node& controller = cluster.AwaitController();
//     controller.log->Propose(records, done);
//     cluster.Settle();
//
// One thread; equal calls do equal things. Images of one version are held against each other as they come.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "raft/group_driver.h"
#include "server/metadata_log.h"
#include "tests/support/fake_log_store.h"
#include "tests/support/sim_executor.h"

namespace millrace::server {

class MetadataCluster {
 public:
  struct Options {
    int64_t entries_per_snapshot = 10'000;
    int64_t segment_bytes = 500;  // of the log: what is behind a snapshot goes a segment at a time
    uint64_t seed = 1;
  };

  struct Node : raft::Transport, raft::EntryReader, MetadataLog::Group {
    raft::ReplicaId id;
    FakeLogStore disk;
    std::unique_ptr<MetadataLog> log;  // unset: not running
    std::unique_ptr<raft::SeededRandom> random;
    std::optional<raft::GroupDriver::Seams> seams;
    std::unique_ptr<raft::GroupDriver> driver;
    std::unique_ptr<raft::Round> next_round;
    raft::RoundSeq written;
    raft::RoundSeq sync_asked;
    std::vector<std::pair<raft::RoundSeq, absl::Status>> synced;
    std::vector<raft::Message> sent;
    std::vector<raft::EntryRead> reads;
    bool cut_off = false;
    int installs = 0;
    std::vector<bool> controller;  // what on_controller said
    absl::Status fatal;

    bool running() const { return driver != nullptr; }
    const MetadataImage& image() const { return *log->image(); }
    raft::LogState state() { return disk.State(kMetadataGroup); }

    void Send(raft::GroupId, raft::Message message) override { sent.push_back(std::move(message)); }
    void Read(raft::GroupId, const raft::EntryRead& read) override { reads.push_back(read); }
    absl::StatusOr<raft::EntryId> Propose(raft::Entry entry) override {
      return driver->core().Propose(std::move(entry));
    }
    raft::Round& round() override { return *next_round; }
    void SetLogStart(raft::Offset log_start) override { driver->SetLogStart(log_start); }
  };

  MetadataCluster(int brokers, const Options& options);

  Node& node(int broker) { return *nodes_[broker - 1]; }
  int size() const { return static_cast<int>(nodes_.size()); }

  // Everybody's loop turns once, and what was sent is delivered. Syncs complete where `completes` says so. Whether anything
  // happened.
  bool Pass(const std::function<bool(int broker)>& completes);
  void Settle();
  void Tick(int ticks = 1);
  // Ticks until a broker that is not cut off is the controller.
  Node& AwaitController();
  // The broker dies; of what it wrote and did not sync the disk keeps the first so many writes.
  void Crash(Node& node, size_t writes_kept);
  absl::Status Start(Node& node);

  // All run and have settled: the same image on each.
  void ExpectEqualImages();

 private:
  bool Turn(Node& node, bool completes);
  bool Deliver();
  void CheckImage(const Node& node, const std::shared_ptr<const MetadataImage>& image);

  const Options options_;
  const raft::Config config_;
  SimExecutor executor_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<raft::Message> under_way_;
  std::map<raft::LogIndex, std::shared_ptr<const MetadataImage>> images_;
};

}  // namespace millrace::server
