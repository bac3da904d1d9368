// What was sent of one partition and is not acked: its order, its place in the producer's sequence, and what has to be
// sent again.
//
// The rules that keep order and store nothing twice:
//   * Batches are stamped with (producer id, epoch, sequence) when they are first sent, and sent in that order.
//   * After a failure that a retry mends, nothing new is sent until every batch in flight is answered; then all unacked ones go
//     again, in order, as they were. The broker recognises those that it has. They may need several requests: a failure of one
//     keeps those back that did not go again yet.
//   * OUT_OF_ORDER_SEQUENCE_NUMBER for the oldest unacked batch means that its predecessor is missing (given up on). But that one,
//     and earlier copies of all others, may still be on their way. So the oldest goes alone, under the next epoch, in the place
//     that the broker said it expects: it is stored only if nothing has come late, and from then on nothing that comes late is.
//     (RecordBatch.producer_id in record.proto.) The others follow when it is acked. If it is refused, too, something came late:
//     a batch that was sent under the epoch that the broker has goes again as it was then.
//   * UNKNOWN_PRODUCER_ID means that the broker has forgotten the producer, and with it whether a batch was stored that was
//     sent before without an answer: such a batch fails with an unknown outcome. The others go on as above. Only the
//     oldest one's answer says so: behind one that was refused all others are unknown, too.
//
//     sender.Start(std::move(batch), identity);   // in flight
//     switch (sender.OnAnswer(batch, ack.error)) ...
//     if (sender.retry_wanted() && sender.in_flight() == 0) sender.Restart(identity, bytes);
//     if (sender.restarting()) sender.Restart(identity, bytes);   // the next request
//
// I/O thread only. Does no I/O itself.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "client/control.h"
#include "client/producer_batch.h"
#include "millrace/error.h"
#include "proto/wire/backoff.h"
#include "proto/wire/frames.h"

namespace millrace::client {

class ProduceSession;

class PartitionSender {
 public:
  struct Options {
    bool idempotent = true;
    int in_flight_max = 5;  // the broker remembers so many batches of each producer
  };
  PartitionSender(PartitionQueue* queue, Options options, Backoff backoff);
  PartitionSender(const PartitionSender&) = delete;

  PartitionQueue* queue() const { return queue_; }

  // Sends a batch for the first time.
  ProducerBatch* Start(std::unique_ptr<ProducerBatch> batch, const control::ProducerIdentity& identity);

  // Sends unacked batches again, from the oldest until they have so many bytes; only with none in flight, or while restarting().
  std::vector<ProducerBatch*> Restart(const control::ProducerIdentity& identity, int64_t bytes_max);

  enum class Verdict {
    kStored,
    kFailed,  // for good
    kRetry,   // it stays unacked
  };
  // The broker's answer to a batch in flight.
  Verdict OnAnswer(ProducerBatch* batch, const ErrorFrame& error);

  // The stream broke under a batch in flight.
  void OnLost(ProducerBatch* batch, const Error& error);

  // Takes a batch out: it is stored, or given up on.
  std::unique_ptr<ProducerBatch> Remove(ProducerBatch* batch);

  // Those to be given up on.
  std::vector<ProducerBatch*> OlderThan(std::chrono::nanoseconds created_before) const;
  std::optional<std::chrono::nanoseconds> oldest() const;
  const std::deque<std::unique_ptr<ProducerBatch>>& unacked() const { return unacked_; }

  int in_flight() const { return in_flight_; }
  bool retry_wanted() const { return retry_wanted_; }
  // Some went again, the others are to follow without waiting for an answer.
  bool restarting() const { return restarting_; }
  // The next Restart() needs another identity than this one, which was given out.
  const std::optional<control::ProducerIdentity>& refused_identity() const { return refused_identity_; }
  // How many more batches may be started now.
  int room() const;

  std::chrono::nanoseconds NextPause() { return backoff_.Next(); }

  // Why the last attempt failed; kNone when none did since something was stored.
  const Error& last_error() const { return last_error_; }

  // Kept here for the core: the session that carries the partition, and the timer of a pause before a retry.
  ProduceSession* session = nullptr;
  Executor::TimerId pause = 0;

 private:
  // What the partition has of this producer, as far as it said. Epoch -1: nothing.
  struct Place {
    int32_t epoch = -1;
    int32_t expected_sequence = 0;
  };

  void StampNext(ProducerBatch& batch, const control::ProducerIdentity& identity);
  void StampAlone(ProducerBatch& batch);
  void Launch(ProducerBatch& batch);
  void Settle(ProducerBatch& batch);
  void WantRetry();
  void OnStored(const ProducerBatch& batch);
  void OnBrokenSequence(const ProducerBatch& batch, const ErrorFrame& error);
  bool RaisedItself(const ErrorFrame& error) const;

  PartitionQueue* const queue_;
  const Options options_;
  Backoff backoff_;

  std::deque<std::unique_ptr<ProducerBatch>> unacked_;  // in sequence order
  int in_flight_ = 0;                                   // of unacked_
  bool retry_wanted_ = false;                           // set: those not in flight are to be sent again
  bool restarting_ = false;
  control::ProducerIdentity identity_;  // its epoch: the highest that was used here
  bool identified_ = false;
  int32_t next_sequence_ = 0;    // under identity_
  std::optional<Place> broken_;  // the sequence is, and nothing was stored under identity_ since: one batch at a time
  std::optional<control::ProducerIdentity> refused_identity_;
  Error last_error_;
};

}  // namespace millrace::client
