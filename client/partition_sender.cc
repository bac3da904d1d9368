#include "client/partition_sender.h"

#include <algorithm>

#include "client/status.h"
#include "proto/wire/check.h"

namespace millrace::client {
namespace {

using std::chrono::nanoseconds;

// Sequences wrap from 2147483647 to 0.
int32_t SequenceAfter(int32_t sequence, int32_t records) {
  return static_cast<int32_t>((static_cast<uint32_t>(sequence) + static_cast<uint32_t>(records)) & 0x7fffffffu);
}

bool IsAfter(int32_t sequence, int32_t other) {
  const auto ahead = static_cast<uint32_t>(sequence) - static_cast<uint32_t>(other);
  return (ahead & 0x7fffffffu) != 0 && (ahead & 0x7fffffffu) < 0x40000000u;
}

bool IsStampedWith(const ProducerBatch& batch, const control::ProducerIdentity& identity) {
  return !batch.stamps().empty() && batch.stamps().back().producer == identity;
}

// Beyond, a new id, or the epoch would become one that InitProducer gives out.
constexpr int32_t kEpochsRaisedMax = kEpochsRaised - 1000;

}  // namespace

PartitionSender::PartitionSender(PartitionQueue* queue, Options options, Backoff backoff)
    : queue_(queue), options_(options), backoff_(backoff) {}

int PartitionSender::room() const {
  if (retry_wanted_) return 0;
  if (broken_) return unacked_.empty() ? 1 : 0;
  return options_.in_flight_max - static_cast<int>(unacked_.size());
}

void PartitionSender::StampNext(ProducerBatch& batch, const control::ProducerIdentity& identity) {
  if (!options_.idempotent) return batch.SetStamp({});
  if (!identified_) {
    identity_ = identity;
    identified_ = true;
    next_sequence_ = 0;
  }
  batch.SetStamp({identity_, next_sequence_});
  next_sequence_ = SequenceAfter(next_sequence_, batch.record_count());
}

// The place of a batch that is sent while the sequence is broken. Never one that another batch had: the broker would take it for
// that one.
void PartitionSender::StampAlone(ProducerBatch& batch) {
  for (const ProducerBatch::Stamp& stamp : batch.stamps()) {
    const bool known = stamp.producer.id == identity_.id && stamp.producer.epoch == broken_->epoch;
    if (known && !IsAfter(stamp.base_sequence, broken_->expected_sequence)) return batch.SetStamp(stamp);
  }
  if (IsStampedWith(batch, identity_) && batch.stamps().back().base_sequence == broken_->expected_sequence) return;
  ++identity_.epoch;
  next_sequence_ = broken_->expected_sequence;
  StampNext(batch, identity_);
}

void PartitionSender::Launch(ProducerBatch& batch) {
  batch.in_flight = true;
  ++batch.attempts;
  ++in_flight_;
}

ProducerBatch* PartitionSender::Start(std::unique_ptr<ProducerBatch> owned, const control::ProducerIdentity& identity) {
  MILLRACE_CHECK_GT(room(), 0);
  ProducerBatch* batch = unacked_.emplace_back(std::move(owned)).get();
  if (broken_) {
    StampAlone(*batch);
  } else {
    StampNext(*batch, identity);
  }
  Launch(*batch);
  return batch;
}

std::vector<ProducerBatch*> PartitionSender::Restart(const control::ProducerIdentity& identity, int64_t bytes_max) {
  MILLRACE_CHECK(in_flight_ == 0 || restarting_);
  if (refused_identity_) {
    MILLRACE_CHECK(identity != *refused_identity_);
    identified_ = false;
    refused_identity_.reset();
    broken_.reset();
  }
  std::vector<ProducerBatch*> batches;
  int64_t bytes = 0;
  for (auto& batch : unacked_) {
    if (batch->in_flight) continue;
    if (bytes >= bytes_max) break;
    if (broken_) {
      StampAlone(*batch);
    } else if (!identified_ || !IsStampedWith(*batch, identity_)) {
      StampNext(*batch, identity);
    }
    Launch(*batch);
    batches.push_back(batch.get());
    bytes += static_cast<int64_t>(batch->bytes().size());
    if (broken_) break;
  }
  retry_wanted_ = static_cast<size_t>(in_flight_) < unacked_.size();
  restarting_ = retry_wanted_ && !broken_;
  return batches;
}

void PartitionSender::Settle(ProducerBatch& batch) {
  MILLRACE_CHECK(batch.in_flight);
  batch.in_flight = false;
  --in_flight_;
}

PartitionSender::Verdict PartitionSender::OnAnswer(ProducerBatch* batch, const ErrorFrame& error) {
  Settle(*batch);
  const auto code = static_cast<ErrorCode>(error.code);
  if (error.ok() || code == ErrorCode::kDuplicateSequenceNumber) {
    OnStored(*batch);
    return Verdict::kStored;
  }
  const bool sequence_broken = options_.idempotent && (code == ErrorCode::kOutOfOrderSequenceNumber ||
                                                       code == ErrorCode::kUnknownProducerId || RaisedItself(error));
  const bool is_first = unacked_.front().get() == batch;
  // Behind a batch that was refused the sequence is broken: what that one was refused for is the cause.
  if (!sequence_broken || is_first || last_error_.code == ErrorCode::kNone) last_error_ = FromFrame(error);
  if (error.may_have_happened) batch->maybe_stored = true;
  if (code == ErrorCode::kUnknownProducerId && batch->maybe_stored && is_first) {
    last_error_ = FromFrame(error);
    last_error_.may_have_happened = true;
    return Verdict::kFailed;
  }
  if (sequence_broken) {
    if (is_first) OnBrokenSequence(*batch, error);
  } else if (!error.retriable && code != ErrorCode::kUnknownTopicOrPartition) {  // metadata says whether it is gone
    last_error_.may_have_happened |= batch->maybe_stored;                        // when it was sent before
    return Verdict::kFailed;
  }
  WantRetry();
  return Verdict::kRetry;
}

void PartitionSender::OnStored(const ProducerBatch& batch) {
  backoff_.Reset();
  last_error_ = {};
  if (!broken_) return;
  const ProducerBatch::Stamp& stamp = batch.stamps().back();
  if (stamp.producer.epoch == identity_.epoch) {
    broken_.reset();
  } else {
    broken_ = {stamp.producer.epoch, SequenceAfter(stamp.base_sequence, batch.record_count())};
  }
}

void PartitionSender::OnBrokenSequence(const ProducerBatch& batch, const ErrorFrame& error) {
  const bool unknown = static_cast<ErrorCode>(error.code) == ErrorCode::kUnknownProducerId;
  const bool never_given_out = unknown && batch.stamps().back().base_sequence == 0;
  if (never_given_out || identity_.epoch % kEpochsRaised >= kEpochsRaisedMax) {
    refused_identity_ = {identity_.id, identity_.epoch / kEpochsRaised * kEpochsRaised};
  } else if (unknown) {
    broken_ = Place();
  } else {
    broken_ = {error.producer_epoch, error.expected_sequence};
  }
}

// Fenced by an epoch of its own: a batch of that one came late, and something else was tried in the meantime.
bool PartitionSender::RaisedItself(const ErrorFrame& error) const {
  return static_cast<ErrorCode>(error.code) == ErrorCode::kInvalidProducerEpoch &&
         error.producer_epoch / kEpochsRaised == identity_.epoch / kEpochsRaised &&
         error.producer_epoch <= identity_.epoch;
}

void PartitionSender::OnLost(ProducerBatch* batch, const Error& error) {
  Settle(*batch);
  batch->maybe_stored = true;
  last_error_ = error;
  WantRetry();
}

// All over again: what did not go yet must not overtake the one that failed.
void PartitionSender::WantRetry() {
  retry_wanted_ = true;
  restarting_ = false;
}

std::unique_ptr<ProducerBatch> PartitionSender::Remove(ProducerBatch* batch) {
  auto it = std::find_if(unacked_.begin(), unacked_.end(), [&](const auto& b) { return b.get() == batch; });
  MILLRACE_CHECK(it != unacked_.end());
  if (batch->in_flight) Settle(*batch);
  std::unique_ptr<ProducerBatch> owned = std::move(*it);
  unacked_.erase(it);
  if (unacked_.empty()) restarting_ = false;
  if (unacked_.empty() && !refused_identity_) retry_wanted_ = false;
  return owned;
}

std::vector<ProducerBatch*> PartitionSender::OlderThan(nanoseconds created_before) const {
  std::vector<ProducerBatch*> old;
  for (const auto& batch : unacked_) {
    if (batch->created < created_before) old.push_back(batch.get());
  }
  return old;
}

std::optional<nanoseconds> PartitionSender::oldest() const {
  if (unacked_.empty()) return std::nullopt;
  return unacked_.front()->created;
}

}  // namespace millrace::client
