// The metadata as the state machine of its Raft group: every broker replays the log into an image, the group's leader appends to it.
//
//     MakeMetadataLog(store, members);                                    // once, when the broker comes into a cluster
//     auto log = MetadataLog::Load(store, options);                       // at each start
//     auto driver = GroupDriver::Open(config, {.group = kMetadataGroup, .self = self, .applied = (*log)->applied()}, seams);
//     (*log)->Attach(&group);
//     ...
//     (*log)->Propose(records, done);                                     // on the controller
//
// An image and a log that begins behind it are as good as the whole log. So after some thousand entries the image is saved beside
// the log as a snapshot, in pieces, and the log's start moves to its end; both go down in one atomic write, or the snapshot
// before. A broker that lacks entries which are gone gets the image instead.
//
// Threads: the one that drives the group; the image that it hands out may be read by any. Ownership: the store and Group outlive it.
// Errors: what cannot be replayed (a newer release's records, damage) stops it for good: the image stays as it was, and on_fatal
// is told once, with what to do.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/wire/runtime.h"
#include "raft/log_store.h"
#include "raft/membership.h"
#include "server/metadata_image.h"
#include "server/metadata_proposer.h"
#include "server/metadata_snapshot.h"
#include "server/multi_raft.h"

namespace millrace::server {

// Makes the group's log; written, not synced. `members`: the founders, if this replica is one of them, else nobody: whoever joins later
// is a member when it hears of it. May be repeated after a crash, as long as nothing has used the log (kFailedPrecondition); or
// the store is stalled.
absl::Status MakeMetadataLog(raft::LogStore& store, const raft::ReplicaSet& members);

class MetadataLog : public GroupMachine, public MetadataProposer {
 public:
  // The replica that it stands on, as whoever drives it offers it.
  class Group {
   public:
    virtual ~Group() = default;
    // As Core::Propose. Calls nothing of the log before it returns.
    virtual absl::StatusOr<raft::EntryId> Propose(raft::Entry entry) = 0;
    // Where to stage what is kept beside the log.
    virtual raft::Round& round() = 0;
    // As GroupDriver::SetLogStart: in the round above, or later.
    virtual void SetLogStart(raft::Offset log_start) = 0;
  };

  struct Options {
    TopicConfig defaults;  // of topics
    int64_t entries_per_snapshot = 10'000;
    // Told of every new image, before proposals in it are answered. May be null, as the others.
    std::function<void(std::shared_ptr<const MetadataImage>)> on_image;
    std::function<void(const raft::RoleChange&)> on_role_change;
    // This broker is the controller from now on (it leads, and has applied all that earlier ones have decided), or is no more.
    std::function<void(bool is_controller)> on_controller;
    std::function<void(const absl::Status&)> on_fatal;
  };

  // What is saved beside the log; opens it, may block. kNotFound: there is no such log. kDataLoss: damaged. kUnimplemented: a
  // newer release's.
  static absl::StatusOr<std::unique_ptr<MetadataLog>> Load(raft::LogStore& store, const Clock& clock, Options options);

  // Before anything is applied.
  void Attach(Group* group) { group_ = group; }

  // Every entry up to here is in the image: GroupDriver::Options::applied.
  raft::LogIndex applied() const { return image_->version(); }
  // Who leads the group, as far as this replica knows: the controller's broker.
  raft::ReplicaId leader() const { return leader_; }
  bool is_controller() const { return is_controller_; }
  const absl::Status& status() const { return status_; }

  const std::shared_ptr<const MetadataImage>& image() const override { return image_; }
  void Propose(const millrace::internal::v1::MetadataRecords& records, Done done) override;

  void Apply(const std::vector<raft::Entry>& entries) override;
  absl::Status ApplyDamaged(raft::LogIndex index, const absl::Status& damage) override;
  std::optional<Snapshot> MakeSnapshot() override;
  absl::Status Install(const raft::InstallSnapshot& snapshot, raft::Round& round) override;
  void OnTruncated(raft::LogIndex first_removed) override;
  void OnRoleChange(const raft::RoleChange& change) override;
  void OnReadAnswered(uint64_t, bool) override {}
  void OnNotice(const raft::Notice& notice) override;
  void OnProgress() override {}

 private:
  struct Pending {
    raft::EntryId id;
    Done done;
  };

  MetadataLog(const Clock& clock, Options options, MetadataSnapshot saved, size_t saved_pieces);

  void MaybeSave();
  void Save(raft::Round& round);
  void Publish(std::shared_ptr<const MetadataImage> image);
  void AnswerApplied();
  void FailPending(raft::LogIndex first);
  void SetController(bool is_controller);
  void Fail(absl::Status status);

  const Clock& clock_;
  const Options options_;
  Group* group_ = nullptr;

  std::shared_ptr<const MetadataImage> image_;
  raft::Offset end_offset_;       // of the entry image_->version()
  raft::LogIndex saved_version_;  // of the snapshot beside the log
  size_t saved_pieces_ = 0;       // that snapshot's

  raft::ReplicaId leader_;
  std::optional<raft::Term> leading_;  // in this term, here
  bool is_controller_ = false;
  std::deque<Pending> pending_;  // appended in the term leading_, and not applied
  absl::Status status_;
};

}  // namespace millrace::server
