// Takes a broker into its cluster: asks, writes and logs as formation.h says, and answers others for as long as it lives.
//
//     ClusterEntry entry(formation_options, seams);
//     AddIntroduceService(secret, executor, [&](const Introduction& asker) { return entry.OnIntroduced(asker); }, services);
//     entry.Start([](absl::StatusOr<Identity> member) { … });     // when it is a member, or must not become one
//
// Lives on one executor. Ownership: everything in Seams outlives it. Errors: kFailedPrecondition when it is refused, or what
// writing the identity or making the metadata log says.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/wire/runtime.h"
#include "server/formation.h"
#include "server/peer_service.h"

namespace millrace::server {

class ClusterEntry {
 public:
  using Done = std::function<void(absl::StatusOr<Identity>)>;

  struct Seams {
    Executor& executor;
    const Clock& clock;
    PeerAsker& peers;
    BrokerInfo self;  // to be registered with, if it joins
    // Puts it on the disk; may block.
    std::function<absl::Status(const Identity&)> write;
    // Makes the member's metadata log, on the disk when it returns; may block. May be repeated.
    std::function<absl::Status(const Identity&)> make_metadata_log;
    // Told, for people, what it waits for.
    std::function<void(const std::string&)> on_waiting;
  };

  ClusterEntry(Formation::Options options, Seams seams);
  ~ClusterEntry();
  ClusterEntry(const ClusterEntry&) = delete;

  void Start(Done done);
  // What this broker says of itself to one that introduced itself.
  Introduction OnIntroduced(const Introduction& asker);
  // Whether a disk is one of the cluster's, once that is known.
  void SetCounts(std::function<bool(raft::ReplicaId)> counts) { counts_ = std::move(counts); }

 private:
  void Advance();
  void Ask(const Formation::Ask& ask);
  void Pledge(const Identity& identity);
  void Decide(const Formation::Decision& decision);
  // Asks the brokers that --join names, in turn, until the controller has taken this one in.
  void Join();
  void AskToJoin(const std::string& address);
  void Register(const std::string& address, const Introduction& member);
  void OnRegistered(const std::string& address, const Introduction& member, const ErrorFrame& error,
                    raft::BrokerId number);
  void JoinLater(const std::string& why);
  // Of a member that is started with --join again: whether they are of its cluster. If none answers, it is taken to be so.
  void AskWhetherJoined(const Identity& member);
  void OnWhetherJoined(const std::string& address, const Identity& member, const absl::StatusOr<Introduction>& answer);
  absl::Status Enter(const Formation::Member& member);
  void Finish(absl::StatusOr<Identity> result);

  const Seams seams_;
  Formation formation_;
  std::function<bool(raft::ReplicaId)> counts_;
  Done done_;                     // until it was called
  std::vector<std::string> via_;  // --join
  size_t next_via_ = 0;
  size_t via_silent_ = 0;     // of AskWhetherJoined
  std::string join_trouble_;  // logged last
  Executor::TimerId timer_ = 0;
  std::shared_ptr<ClusterEntry*> self_;  // answers that come later find out through this whether it still exists
};

}  // namespace millrace::server
