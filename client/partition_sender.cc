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

}  // namespace

PartitionSender::PartitionSender(PartitionQueue* queue, Options options, Backoff backoff)
    : queue_(queue), options_(options), backoff_(backoff) {}

void PartitionSender::Stamp(ProducerBatch& batch, const control::ProducerIdentity& identity) {
  if (!options_.idempotent) {
    batch.Stamp({}, 0);
    return;
  }
  if (!identified_) {
    identity_ = identity;
    identified_ = true;
    next_sequence_ = 0;
  }
  batch.Stamp(identity_, next_sequence_);
  next_sequence_ = SequenceAfter(next_sequence_, batch.record_count());
}

ProducerBatch* PartitionSender::Start(std::unique_ptr<ProducerBatch> owned, const control::ProducerIdentity& identity) {
  MILLRACE_CHECK(!retry_wanted_);
  ProducerBatch* batch = unacked_.emplace_back(std::move(owned)).get();
  Stamp(*batch, identity);
  batch->in_flight = true;
  ++batch->attempts;
  ++in_flight_;
  return batch;
}

std::vector<ProducerBatch*> PartitionSender::Restart(const control::ProducerIdentity& identity) {
  MILLRACE_CHECK_EQ(in_flight_, 0);
  const bool renumber = refused_identity_.has_value();
  if (renumber) {
    MILLRACE_CHECK_NE(identity.id, *refused_identity_);
    identified_ = false;
    refused_identity_.reset();
  }
  std::vector<ProducerBatch*> batches;
  for (auto& batch : unacked_) {
    if (renumber) {
      Stamp(*batch, identity);
      batch->maybe_stored = false;
    }
    batch->in_flight = true;
    ++batch->attempts;
    batches.push_back(batch.get());
  }
  in_flight_ = static_cast<int>(unacked_.size());
  retry_wanted_ = false;
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
    backoff_.Reset();
    last_error_ = {};
    return Verdict::kStored;
  }
  const bool sequence_broken =
      options_.idempotent && (code == ErrorCode::kOutOfOrderSequenceNumber || code == ErrorCode::kUnknownProducerId);
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
    if (is_first) refused_identity_ = identity_.id;
  } else if (!error.retriable && code != ErrorCode::kUnknownTopicOrPartition) {  // metadata says whether it is gone
    return Verdict::kFailed;
  }
  retry_wanted_ = true;
  return Verdict::kRetry;
}

void PartitionSender::OnLost(ProducerBatch* batch, const Error& error) {
  Settle(*batch);
  batch->maybe_stored = true;
  last_error_ = error;
  retry_wanted_ = true;
}

std::unique_ptr<ProducerBatch> PartitionSender::Remove(ProducerBatch* batch) {
  auto it = std::find_if(unacked_.begin(), unacked_.end(), [&](const auto& b) { return b.get() == batch; });
  MILLRACE_CHECK(it != unacked_.end());
  if (batch->in_flight) Settle(*batch);
  std::unique_ptr<ProducerBatch> owned = std::move(*it);
  unacked_.erase(it);
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
