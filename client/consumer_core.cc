#include "client/consumer_core.h"

#include <algorithm>
#include <set>
#include <utility>

#include "client/connect_timeouts.h"
#include "client/offset_finder.h"
#include "client/status.h"

namespace millrace::client {
namespace {

using std::chrono::nanoseconds;

}  // namespace

struct ConsumerCore::Resolution {
  std::vector<Assignment> assignments;
  Resolved done;
  Executor::TimerId timer = 0;
  int64_t now = 0;
  Partitions partitions;
  bool finding_untils = false;
};

ConsumerCore::ConsumerCore(const ClientEnvironment& env, const ConsumerOptions& options,
                           std::vector<std::string> bootstrap, FetchQueue& queue)
    : env_(env),
      options_(options),
      queue_(queue),
      control_(env, options.client, std::move(bootstrap)),
      metadata_(env, options.client, control_, [this] { OnMetadata(); }),
      backoff_(env.random, options.client.retry_backoff, options.client.retry_backoff_max) {}

ConsumerCore::~ConsumerCore() {
  if (resolution_ && resolution_->timer != 0) env_.executor.Cancel(resolution_->timer);
  for (const auto& partition : partitions_) Leave(partition.get());
}

// --- Assignment ---

void ConsumerCore::Resolve(std::vector<Assignment> assignments, Resolved done) {
  auto resolution = std::make_shared<Resolution>();
  resolution->assignments = std::move(assignments);
  resolution->done = std::move(done);
  resolution->now = env_.clock.Wall();
  if (resolution_) {
    FinishResolution(resolution_,
                     ToStatus({.code = ErrorCode::kCancelled, .message = "another Assign() took its place"}));
  }
  resolution_ = resolution;
  resolution->timer = env_.executor.After(options_.client.request_timeout, [this, resolution] {
    resolution->timer = 0;
    FinishResolution(resolution, ToStatus({.code = ErrorCode::kRequestTimedOut,
                                           .message = "no metadata of the assigned topics within request.timeout.ms",
                                           .retriable = true}));
  });
  for (const Assignment& assignment : resolution->assignments) metadata_.Track(assignment.topic);
  ContinueResolution(resolution);
}

void ConsumerCore::FinishResolution(const std::shared_ptr<Resolution>& resolution, absl::StatusOr<Partitions> result) {
  if (resolution_ != resolution) return;
  resolution_.reset();
  if (resolution->timer != 0) env_.executor.Cancel(resolution->timer);
  resolution->done(std::move(result));
}

// Once the metadata of every topic is there.
void ConsumerCore::ContinueResolution(const std::shared_ptr<Resolution>& resolution) {
  if (resolution->finding_untils) return;
  std::set<std::pair<std::string, int32_t>> seen;
  Partitions partitions;
  for (size_t i = 0; i < resolution->assignments.size(); ++i) {
    const Assignment& assignment = resolution->assignments[i];
    const TopicMetadata* topic = metadata_.Find(assignment.topic);
    if (topic == nullptr) return;
    const auto count = static_cast<int32_t>(topic->partitions.size());
    if (assignment.partition && (*assignment.partition < 0 || *assignment.partition >= count)) {
      return FinishResolution(
          resolution, ToStatus({.code = ErrorCode::kUnknownTopicOrPartition,
                                .message = "topic '" + assignment.topic + "' has no partition " +
                                           std::to_string(*assignment.partition) + ", it has " + std::to_string(count),
                                .topic = assignment.topic,
                                .partition = *assignment.partition}));
    }
    const int32_t first = assignment.partition.value_or(0);
    const int32_t end = assignment.partition ? first + 1 : count;
    for (int32_t p = first; p < end; ++p) {
      if (!seen.emplace(assignment.topic, p).second) {
        return FinishResolution(resolution, InvalidRequest("partition " + assignment.topic + "[" + std::to_string(p) +
                                                           "] is assigned twice"));
      }
      auto partition = std::make_shared<FetchPartition>();
      partition->topic = assignment.topic;
      partition->partition = p;
      partition->assignment = i;
      partitions.push_back(std::move(partition));
    }
  }
  resolution->partitions = std::move(partitions);
  resolution->finding_untils = true;
  FindUntils(resolution);
}

void ConsumerCore::FindUntils(const std::shared_ptr<Resolution>& resolution) {
  std::vector<OffsetQuery> queries;
  Partitions asked;
  for (const auto& partition : resolution->partitions) {
    const std::optional<Position>& until = resolution->assignments[partition->assignment].until;
    if (!until) continue;
    queries.push_back({.topic = partition->topic, .partition = partition->partition, .at = *until});
    asked.push_back(partition);
  }
  FindOffsets(control_, std::move(queries), resolution->now, options_.client.request_timeout,
              [this, resolution, asked](absl::StatusOr<std::vector<OffsetAnswer>> answers) {
                if (!answers.ok()) return FinishResolution(resolution, answers.status());
                for (size_t i = 0; i < asked.size(); ++i) {
                  if (!(*answers)[i].status.ok()) return FinishResolution(resolution, (*answers)[i].status);
                  asked[i]->until = (*answers)[i].offset;
                }
                FinishResolution(resolution, std::move(resolution->partitions));
              });
}

void ConsumerCore::Start(const std::vector<Assignment>& assignments, const Partitions& partitions) {
  for (const auto& partition : partitions_) {
    partition->wanted = false;
    Leave(partition.get());
    partition->session = nullptr;
  }
  assignments_ = assignments;
  partitions_ = partitions;
  for (const auto& partition : partitions_) {
    partition->generation = partition->read_generation;
    partition->from = partition->read_from;
    partition->wanted = partition->until != 0;  // on the wire, 0 means no end
    Begin(partition);
  }
}

void ConsumerCore::OnMetadata() {
  if (resolution_ && !resolution_->finding_untils) {
    const std::shared_ptr<Resolution> resolution = resolution_;
    for (const Assignment& assignment : resolution->assignments) {
      for (const Error& error : metadata_.missing()) {
        if (error.topic == assignment.topic) return FinishResolution(resolution, ToStatus(error));
      }
    }
    if (metadata_.last_error()) return FinishResolution(resolution, ToStatus(*metadata_.last_error()));
    ContinueResolution(resolution);
  }
  TakeNewPartitions();
  for (const auto& partition : partitions_) {
    for (const Error& error : metadata_.missing()) {
      if (partition->wanted && error.topic == partition->topic) PushError(partition, error);
    }
    Begin(partition);
  }
  queue_.Push(std::exchange(received_, {}));
  const size_t erased = std::erase_if(sessions_, [this](const auto& entry) {
    return std::none_of(partitions_.begin(), partitions_.end(),
                        [&](const auto& partition) { return partition->session == entry.second.get(); });
  });
  if (erased > 0 && !sessions_.empty()) ShareCredit();
}

// Partitions that were added to topics assigned as a whole.
void ConsumerCore::TakeNewPartitions() {
  for (size_t i = 0; i < assignments_.size(); ++i) {
    const Assignment& assignment = assignments_[i];
    const TopicMetadata* topic = metadata_.Find(assignment.topic);
    if (assignment.partition || assignment.until || topic == nullptr) continue;
    const auto known = std::count_if(partitions_.begin(), partitions_.end(),
                                     [&](const auto& partition) { return partition->assignment == i; });
    for (auto p = static_cast<int32_t>(known); p < static_cast<int32_t>(topic->partitions.size()); ++p) {
      auto partition = std::make_shared<FetchPartition>();
      partition->topic = assignment.topic;
      partition->partition = p;
      partition->assignment = i;
      partition->wanted = true;
      partitions_.push_back(partition);
      received_.push_back(ItemOf(partition, FetchedItem::Kind::kNewPartition));
    }
  }
}

// --- Subscriptions ---

// Sees to it that the partition is subscribed where it should be, as far as that is possible now.
void ConsumerCore::Begin(const std::shared_ptr<FetchPartition>& partition) {
  if (!partition->wanted || partition->pause != 0) return;
  const std::optional<Route> route = metadata_.RouteTo(partition->topic, partition->partition);
  if (!route) {  // OnMetadata() comes back here
    Error error{.code = ErrorCode::kLeaderNotAvailable, .message = "no leader is known", .retriable = true};
    return NoteTrouble(partition, metadata_.last_error().value_or(std::move(error)));
  }
  FetchSession* session = SessionFor(*route);
  if (partition->session != session) {
    if (partition->session != nullptr) partition->session->Unsubscribe(partition.get());
    partition->session = session;
  }
  if (partition->subscription == 0 && session->established()) session->Subscribe(partition, route->topic_id);
}

void ConsumerCore::Leave(FetchPartition* partition) {
  if (partition->pause != 0) env_.executor.Cancel(std::exchange(partition->pause, 0));
  if (partition->session != nullptr) partition->session->Unsubscribe(partition);
}

void ConsumerCore::Reposition(const std::shared_ptr<FetchPartition>& partition, uint64_t generation,
                              Position position) {
  Halt(partition, generation);
  if (std::find(partitions_.begin(), partitions_.end(), partition) == partitions_.end()) return;
  partition->from = position;
  partition->next_offset = -1;
  partition->leader_epoch = 0;
  partition->wanted = true;
  metadata_.Track(partition->topic);
  Begin(partition);
}

void ConsumerCore::Halt(const std::shared_ptr<FetchPartition>& partition, uint64_t generation) {
  partition->generation = generation;
  partition->wanted = false;
  partition->failures = 0;
  partition->trouble.reset();
  Leave(partition.get());
}

void ConsumerCore::Add(const std::shared_ptr<FetchPartition>& partition, uint64_t generation, Position position) {
  partitions_.push_back(partition);
  Reposition(partition, generation, position);
}

void ConsumerCore::Remove(const std::shared_ptr<FetchPartition>& partition, uint64_t generation) {
  Halt(partition, generation);
  partition->session = nullptr;
  std::erase(partitions_, partition);
}

FetchSession* ConsumerCore::SessionFor(const Route& route) {
  std::unique_ptr<FetchSession>& session = sessions_[{route.address, route.routing}];
  if (!session) {
    session = std::make_unique<FetchSession>(
        env_,
        FetchSession::Target{
            .address = route.address,
            .routing = route.routing,
            .connect_timeout = metadata_.IsAdvertised(route.address) ? kAdvertisedConnectTimeout : kConnectTimeout},
        options_.on_gap == OnGap::kReport ? OutOfRange::kGap : OutOfRange::kError, backoff_,
        static_cast<FetchSession::Owner*>(this));
    ShareCredit();
  }
  return session.get();
}

void ConsumerCore::ShareCredit() {
  const int64_t share = std::max<int64_t>(1, options_.fetch_max_bytes / static_cast<int64_t>(sessions_.size()));
  for (auto& [target, session] : sessions_) {
    if (session) session->SetShare(share);
  }
}

void ConsumerCore::GrantCredit() {
  for (auto& [target, session] : sessions_) session->GrantCredit();
}

void ConsumerCore::OnSessionEstablished(FetchSession* session) {
  for (const auto& partition : partitions_) {
    if (partition->session == session) Begin(partition);
  }
}

void ConsumerCore::OnSessionLost(FetchSession* session, const Error&, bool was_established) {
  if (was_established) ++reconnects_;
  if (!was_established && metadata_.IsAdvertised(session->target().address)) {
    metadata_.MarkUnreachable(session->target().address);
  } else {
    metadata_.Refresh();
  }
}

// --- What arrives ---

FetchedItem ConsumerCore::ItemOf(const std::shared_ptr<FetchPartition>& partition, FetchedItem::Kind kind) const {
  FetchedItem item;
  item.kind = kind;
  item.partition = partition;
  item.generation = partition->generation;
  return item;
}

void ConsumerCore::OnFrame(const std::shared_ptr<FetchPartition>& partition, FetchPartitionFrame frame) {
  if (!frame.error.ok()) return OnPartitionError(partition, frame.error);
  partition->failures = 0;
  partition->trouble.reset();
  if (frame.gap) {
    FetchedItem item = ItemOf(partition, FetchedItem::Kind::kGap);
    item.gap = *frame.gap;
    received_.push_back(std::move(item));
    partition->next_offset = frame.gap->to;
    partition->leader_epoch = 0;
  }
  if (frame.start_offset) {
    // Of a subscription made anew where the last one broke off, the application need not hear.
    if (partition->next_offset != *frame.start_offset || frame.gap) {
      FetchedItem item = ItemOf(partition, FetchedItem::Kind::kStart);
      item.start_offset = *frame.start_offset;
      item.high_watermark = frame.high_watermark;
      item.log_start_offset = frame.log_start_offset;
      received_.push_back(std::move(item));
    }
    partition->next_offset = *frame.start_offset;
  }
  const bool end_reached = frame.end_reached;
  PushBatches(partition, std::move(frame));
  if (end_reached) {
    partition->wanted = false;
    received_.push_back(ItemOf(partition, FetchedItem::Kind::kEnd));
  }
}

void ConsumerCore::PushBatches(const std::shared_ptr<FetchPartition>& partition, FetchPartitionFrame frame) {
  for (FetchedBatchFrame& batch : frame.batches) {
    FetchedItem item = ItemOf(partition, FetchedItem::Kind::kBatch);
    absl::StatusOr<BatchView> view = ParseBatch(batch.batch);
    item.credit_bytes = FetchSession::CreditBytes(batch.batch, view);
    item.credit = partition->session->credit();
    item.unreadable = !view.ok();
    if (view.ok()) item.batch = *std::move(view);
    item.base_offset = batch.base_offset;
    item.leader_epoch = batch.leader_epoch;
    item.append_time = batch.append_time;
    item.log_append_time = frame.log_append_time;
    item.high_watermark = frame.high_watermark;
    item.log_start_offset = frame.log_start_offset;
    partition->session->NoteReceived(item.credit_bytes, /*held=*/true);
    partition->next_offset = batch.base_offset + std::max(item.batch.header.record_count, 0);
    partition->leader_epoch = batch.leader_epoch;
    received_.push_back(std::move(item));
  }
}

void ConsumerCore::OnMessageDone() { queue_.Push(std::exchange(received_, {})); }

void ConsumerCore::OnPartitionError(const std::shared_ptr<FetchPartition>& partition, const ErrorFrame& error) {
  // Whether a topic is gone is for the metadata to say; one that was made anew has other records at the same offsets.
  const auto code = static_cast<ErrorCode>(error.code);
  const bool maybe_gone = code == ErrorCode::kUnknownTopicOrPartition;
  if ((!error.retriable && !maybe_gone) || code == ErrorCode::kUnknownTopicId)
    return PushError(partition, FromFrame(error));
  metadata_.TakeHint(partition->topic, partition->partition, error);
  metadata_.Refresh();
  Backoff backoff = backoff_;
  nanoseconds pause = backoff.Next();
  for (int i = 0; i < std::min(partition->failures, 10); ++i) pause = backoff.Next();
  ++partition->failures;
  NoteTrouble(partition, FromFrame(error));
  partition->pause = env_.executor.After(pause, [this, partition] {
    partition->pause = 0;
    Begin(partition);
  });
}

void ConsumerCore::NoteTrouble(const std::shared_ptr<FetchPartition>& partition, Error error) {
  error.topic = partition->topic;
  error.partition = partition->partition;
  partition->trouble = NextTrouble(partition->trouble, error, env_.clock);
}

std::optional<Trouble> ConsumerCore::trouble() const {
  std::optional<Trouble> first;
  const auto take = [&first](const std::optional<Trouble>& trouble) {
    if (trouble && (!first || trouble->since < first->since)) first = trouble;
  };
  for (const auto& partition : partitions_) {
    if (!partition->wanted) continue;
    take(partition->trouble);
    if (partition->session != nullptr) take(partition->session->trouble());
  }
  return first;
}

void ConsumerCore::PushError(const std::shared_ptr<FetchPartition>& partition, Error error) {
  FetchedItem item = ItemOf(partition, FetchedItem::Kind::kError);
  error.topic = partition->topic;
  error.partition = partition->partition;
  item.error = std::move(error);
  partition->wanted = false;
  Leave(partition.get());
  received_.push_back(std::move(item));
}

}  // namespace millrace::client
