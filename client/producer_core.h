// The producer without threads: everything that happens on the executor.
//
// Application threads append to accumulator(); the core routes partitions to the Produce streams of their leaders,
// retries, keeps sequences, gives up at delivery.timeout.ms. What each part knows:
//   RecordAccumulator  records that were not sent yet
//   PartitionSender    order and sequence of what was sent and not acked, one for each partition
//   ProduceSession     one broker's stream, and which batch an ack belongs to
//   ProducerCore       which partition goes where, and when
//
//     ProducerCore core(env, options, addresses);
//     core.EnsureTopic("orders");              // then Append() finds it
//     core.accumulator().Append(...);
//
// Lives on the executor, but for accumulator(). Destroy it there too; Stop() first fails what is left.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "client/control_client.h"
#include "client/environment.h"
#include "client/metadata_cache.h"
#include "client/partition_sender.h"
#include "client/produce_session.h"
#include "client/record_accumulator.h"
#include "millrace/options.h"

namespace millrace::client {

class ProducerCore : private ProduceSession::Owner {
 public:
  // bootstrap: as from ParseAddresses().
  ProducerCore(const ClientEnvironment& env, const ProducerOptions& options, std::vector<std::string> bootstrap);
  ~ProducerCore() override;
  ProducerCore(const ProducerCore&) = delete;

  RecordAccumulator& accumulator() { return accumulator_; }

  // Asks for the topic's metadata; the accumulator hears the answer.
  void EnsureTopic(const std::string& topic);

  // Sends what lingers: after accumulator().BeginFlush().
  void PumpAll();

  // Why nothing can be sent now, if that is known.
  std::optional<Error> trouble() const {
    return metadata_.last_error() ? metadata_.last_error() : control_.last_failure();
  }

  // Fails everything that is not stored with kCancelled.
  void Stop();

 private:
  const control::ProducerIdentity* Identity() override;
  PartitionSender* SenderOf(PartitionQueue* queue) override;
  uint64_t TopicIdOf(const PartitionSender& sender) override;
  void OnAck(ProducerBatch* batch, const ProduceAckFrame& ack) override;
  void OnSentUnacked(ProducerBatch* batch) override;
  void OnSessionLost(ProduceSession* session, const std::vector<ProducerBatch*>& in_flight, const Error& error,
                     bool was_established) override;
  void OnStarted(PartitionSender* sender) override;
  void OnSessionSilent(ProduceSession* session) override { metadata_.RefreshElsewhere(session->target().address); }

  void OnWake(BrokerQueue* queue);
  void OnMetadata();
  void TakeTopic(const std::string& name, const TopicMetadata& metadata);
  void FailTopic(const std::string& name, const Error& error);
  void RouteSender(PartitionSender* sender);
  void LeaveSilentSessions();
  ProduceSession* SessionFor(const Route& route);
  void Advance(PartitionSender* sender);
  void EndPause(PartitionSender* sender);
  void AskIdentity();
  void OnIdentity(absl::StatusOr<absl::Cord> reply);
  void Expire();
  absl::Status TimedOut(const ProducerBatch& batch, const Error& cause) const;
  void Finish(PartitionSender* sender, ProducerBatch* batch, const absl::StatusOr<RecordMetadata>& result);

  ClientEnvironment env_;
  const ProducerOptions options_;
  const bool idempotent_;
  ControlClient control_;
  RecordAccumulator accumulator_;
  MetadataCache metadata_;

  std::map<std::string, TopicQueues*> topics_;  // in use
  std::unordered_map<PartitionQueue*, std::unique_ptr<PartitionSender>> senders_;
  std::vector<PartitionSender*> senders_by_age_;  // the same, in an order that repeats
  std::map<std::pair<std::string, Routing>, std::unique_ptr<ProduceSession>> sessions_;
  std::map<std::string, Error> session_errors_;  // last one by address, until it is established

  std::optional<control::ProducerName> name_;
  std::optional<control::ProducerIdentity> identity_;  // as it was given out
  bool asking_identity_ = false;
  Backoff identity_backoff_;
  Executor::TimerId identity_timer_ = 0;
  Executor::TimerId expiry_timer_ = 0;
  bool stopped_ = false;
};

}  // namespace millrace::client
