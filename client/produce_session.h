// The Produce stream to one broker: messages of batches out, acks in.
//
// A message leaves when the stream can take one and a slot is free. With nothing in flight it takes whatever waits, so a
// record alone is sent at once; beside one in flight only a large message is worth a further slot, or one that has no answer for
// long, lest one partition hold up the others. While answers find records waiting small messages keep apart, unless a sender
// waits: load makes messages grow instead of making more of them.
//
// I/O thread only.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "client/broker_stream.h"
#include "client/control.h"
#include "client/partition_sender.h"
#include "client/record_accumulator.h"
#include "proto/wire/frames.h"

namespace millrace::client {

class ProduceSession : private BrokerStream::Owner {
 public:
  // What the session needs from the producer.
  class Owner {
   public:
    virtual ~Owner() = default;
    // nullptr: not known yet; Pump() comes when it is.
    virtual const control::ProducerIdentity* Identity() = 0;
    virtual PartitionSender* SenderOf(PartitionQueue* queue) = 0;
    virtual uint64_t TopicIdOf(const PartitionSender& sender) = 0;
    // The batch is not in flight any more as far as the session goes.
    virtual void OnAck(ProducerBatch* batch, const ProduceAckFrame& ack) = 0;
    // acks=none: the batch was handed to the connection.
    virtual void OnSentUnacked(ProducerBatch* batch) = 0;
    virtual void OnSessionLost(ProduceSession* session, const std::vector<ProducerBatch*>& in_flight,
                               const Error& error, bool was_established) = 0;
    // Room of partitions may have changed by batches that were started.
    virtual void OnStarted(PartitionSender* sender) = 0;
    // Batches are in flight, and the broker says nothing.
    virtual void OnSessionSilent(ProduceSession* session) = 0;
  };
  struct Target {
    std::string address;
    Routing routing = Routing::kLeaderOnly;
    std::chrono::nanoseconds connect_timeout;
  };

  ProduceSession(const ClientEnvironment& env, Target target, Acks acks, Backoff backoff,
                 RecordAccumulator& accumulator, Owner* owner);
  ~ProduceSession() override;

  BrokerQueue* queue() { return &queue_; }
  const Target& target() const { return target_; }

  // Sends what can be sent: now, or once what just arrived is handled.
  void Pump();
  void PumpSoon();
  // Now, whatever waits.
  void PumpAtOnce();
  void OnEcho(uint64_t echo);
  // Sends the partition's unacked batches again at the next occasions, until one of them fails.
  void AddRetry(PartitionSender* sender);
  void RemoveRetry(PartitionSender* sender);
  // An answer to this batch will be ignored.
  void Forget(ProducerBatch* batch);
  bool silent() const { return stream_.silent(); }
  // Takes back what is in flight, as if the stream had broken.
  void GiveUp();

 private:
  struct InFlight {
    ProducerBatch* batch;  // nullptr: forgotten
    uint64_t request;
  };
  struct Request {
    size_t batches;  // without an answer
    std::chrono::nanoseconds sent;
  };

  absl::Cord PingMessage(uint64_t ping) override;
  void OnEstablished() override;
  void OnMessage(absl::Cord message) override;
  void OnWritable() override;
  void OnLost(const Error& error) override;
  bool ExpectsAnswer() const override { return !unanswered_.empty(); }
  void OnSilent() override { owner_->OnSessionSilent(this); }

  void AddBatch(ProducerBatch* batch, const PartitionSender& sender, ProduceRequestFrame& request);
  RecordAccumulator::Taken TakeNew(int64_t bytes);
  void SetDueTimer(std::chrono::nanoseconds due);
  void WatchAnswers();
  void SetStandsStill(bool stands_still);

  ClientEnvironment env_;
  const Target target_;
  const Acks acks_;
  RecordAccumulator& accumulator_;
  Owner* const owner_;

  BrokerQueue queue_;
  std::vector<PartitionSender*> retries_;
  std::unordered_map<uint64_t, InFlight> in_flight_;  // by PartitionBatch.id
  std::unordered_map<uint64_t, Request> unanswered_;
  uint64_t last_batch_id_ = 0;
  uint64_t last_request_ = 0;
  std::chrono::nanoseconds last_sent_{};
  std::chrono::nanoseconds last_answer_{};
  std::chrono::nanoseconds last_took_{};  // from a request to its last answer
  bool loaded_ = false;                   // records waited when the last answer came: requests keep apart
  bool stands_still_ = false;
  bool established_once_ = false;  // since the last loss
  Executor::TimerId pump_timer_ = 0;
  Executor::TimerId due_timer_ = 0;
  Executor::TimerId answer_timer_ = 0;
  BrokerStream stream_;
};

}  // namespace millrace::client
