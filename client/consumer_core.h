// The I/O half of a consumer: everything that happens on the executor. The application's half is ConsumerReader.
//
// Finds out what an assignment means, subscribes each partition on the Fetch stream of its leader, passes what arrives
// into the queue, and subscribes anew, at the next offset, after whatever a retry mends.
//
//     ConsumerCore core(env, options, addresses, queue);
//     core.Resolve(assignments, [&](auto partitions) { core.Start(*partitions); });
//
// Lives on the executor. Destroy it there too.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "client/control_client.h"
#include "client/environment.h"
#include "client/fetch_queue.h"
#include "client/fetch_session.h"
#include "client/metadata_cache.h"
#include "millrace/consumer.h"
#include "millrace/options.h"

namespace millrace::client {

class ConsumerCore : private FetchSession::Owner {
 public:
  using Partitions = std::vector<std::shared_ptr<FetchPartition>>;
  using Resolved = std::function<void(absl::StatusOr<Partitions>)>;

  ConsumerCore(const ClientEnvironment& env, const ConsumerOptions& options, std::vector<std::string> bootstrap,
               FetchQueue& queue);
  ~ConsumerCore() override;
  ConsumerCore(const ConsumerCore&) = delete;

  // Finds the partitions and the offsets of every `until`. Reads nothing yet.
  void Resolve(std::vector<Assignment> assignments, Resolved done);

  // Reads these, and nothing else from now on. assignments: as given to Resolve().
  void Start(const std::vector<Assignment>& assignments, const Partitions& partitions);

  // Reads the partition from another place, under a new generation.
  void Reposition(const std::shared_ptr<FetchPartition>& partition, uint64_t generation, Position position);
  // Reads it no more until Reposition().
  void Halt(const std::shared_ptr<FetchPartition>& partition, uint64_t generation);

  // Reads this one, too, or no more; of a group, whose partitions come and go one by one. As Reposition().
  void Add(const std::shared_ptr<FetchPartition>& partition, uint64_t generation, Position position);
  void Remove(const std::shared_ptr<FetchPartition>& partition, uint64_t generation);

  // The application has consumed.
  void GrantCredit();

  int64_t reconnects() const { return reconnects_; }

  // What has kept a wanted partition from being read for longest.
  std::optional<Trouble> trouble() const;

 private:
  struct Resolution;

  void OnFrame(const std::shared_ptr<FetchPartition>& partition, FetchPartitionFrame frame) override;
  void OnMessageDone() override;
  void OnSessionEstablished(FetchSession* session) override;
  void OnSessionLost(FetchSession* session, const Error& error, bool was_established) override;
  void OnSessionSilent(const std::string& address) override { metadata_.RefreshElsewhere(address); }

  void OnMetadata();
  void ContinueResolution(const std::shared_ptr<Resolution>& resolution);
  void FindUntils(const std::shared_ptr<Resolution>& resolution);
  void FinishResolution(const std::shared_ptr<Resolution>& resolution, absl::StatusOr<Partitions> result);
  void TakeNewPartitions();
  void Begin(const std::shared_ptr<FetchPartition>& partition);
  void Leave(FetchPartition* partition);
  void OnPartitionError(const std::shared_ptr<FetchPartition>& partition, const ErrorFrame& error);
  void NoteTrouble(const std::shared_ptr<FetchPartition>& partition, Error error);
  void PushError(const std::shared_ptr<FetchPartition>& partition, Error error);
  void PushBatches(const std::shared_ptr<FetchPartition>& partition, FetchPartitionFrame frame);
  FetchedItem ItemOf(const std::shared_ptr<FetchPartition>& partition, FetchedItem::Kind kind) const;
  FetchSession* SessionFor(const Route& route);
  void ShareCredit();

  ClientEnvironment env_;
  const ConsumerOptions options_;
  FetchQueue& queue_;
  ControlClient control_;
  MetadataCache metadata_;
  Backoff backoff_;

  std::shared_ptr<Resolution> resolution_;  // under way
  std::vector<Assignment> assignments_;
  Partitions partitions_;
  std::map<std::pair<std::string, Routing>, std::unique_ptr<FetchSession>> sessions_;
  std::vector<FetchedItem> received_;  // of the message being taken apart
  std::atomic<int64_t> reconnects_{0};
};

}  // namespace millrace::client
