#include "server/forward.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "millrace/internal/v1/forward.pb.h"
#include "server/errors.h"

namespace millrace::server {
namespace {

using v1::Error;

ErrorFrame Unanswered(const CallReply& reply, const std::string& address) {
  if (reply.end.error.code != 0) return reply.end.error;
  ErrorFrame error =
      MakeError(Error::LEADER_NOT_AVAILABLE,
                absl::StrCat("the broker at ", address, " did not answer: ", ToStdString(reply.end.status.message())));
  error.may_have_happened = !reply.end.never_sent;
  return error;
}

void Fill(internal::v1::ForwardedPartition& out, const PartitionName& name) {
  out.set_topic(name.topic);
  out.set_partition(name.partition);
  out.set_topic_id(name.topic_id);
}

PartitionBounds BoundsFrom(const internal::v1::ForwardedBounds& bounds) {
  return {
      raft::Offset(bounds.log_start()), raft::Offset(bounds.high_watermark()), raft::Term(bounds.leader_epoch()), {}};
}

// Of a reply's field; none if it is empty.
ErrorFrame ErrorFrom(const std::string& bytes) {
  if (bytes.empty()) return {};
  return ParseError(absl::Cord(bytes)).value_or(MakeError(Error::INTERNAL, "the leader's error cannot be read"));
}

// Whether there is a reply; false: `error` says why not.
template <typename Reply>
bool Parse(const CallReply& reply, const std::string& address, Reply* out, ErrorFrame* error) {
  if (!reply.end.status.ok()) {
    *error = Unanswered(reply, address);
    error->may_have_happened = false;  // nothing that reads changes anything
    return false;
  }
  if (out->ParseFromString(std::string(reply.message))) return true;
  *error = MakeError(Error::INTERNAL, absl::StrCat("the broker at ", address, " answers with something else"));
  return false;
}

ReadOutcome OutcomeFrom(const internal::v1::ForwardedEntries& in) {
  ReadOutcome outcome{.error = ErrorFrom(in.error()), .bounds = BoundsFrom(in.bounds())};
  if (in.has_loss()) {
    outcome.loss = Loss{{in.loss().from(), in.loss().to(), in.loss().reason()}, raft::Offset(in.loss().resume())};
  }
  for (const internal::v1::Entry& entry : in.entries()) {
    raft::Entry& out = outcome.entries.emplace_back();
    out.header.term = raft::Term(entry.term());
    out.header.base_offset = raft::Offset(entry.base_offset());
    out.header.record_count = entry.record_count();
    out.header.append_time = entry.append_time();
    out.payload = absl::Cord(entry.payload());
  }
  return outcome;
}

}  // namespace

void Forward::Append(const std::string& address, PartitionBatchFrame batch, Acks acks, int64_t cost,
                     Partition::AppendDone done) {
  std::unique_ptr<ForwardStream>& appends = asked_[address].appends;
  if (appends == nullptr) appends = std::make_unique<ForwardStream>(transport_, executor_, address);
  if (appends->bytes() >= bytes_max_) {
    AppendOutcome refused;
    refused.error = MakeError(Error::LEADER_NOT_AVAILABLE,
                              absl::StrCat("the leader at ", address, " has ", appends->bytes(),
                                           " bytes to answer, more are not kept for it; retry after a pause"));
    return done(refused);
  }
  handed_on_.Add();
  appends->Append(std::move(batch), acks, cost, std::move(done));
}

bool Forward::IsCrowded(const std::string& address) const {
  const auto asked = asked_.find(address);
  if (asked == asked_.end() || asked->second.appends == nullptr) return false;
  return asked->second.appends->bytes() >= bytes_max_ / 2;  // the rest is for what is being read meanwhile
}

void Forward::GiveUp(const std::string& address) {
  const auto asked = asked_.extract(address);
  transport_.Forget(address);
  if (asked.empty()) return;
  const std::string why = "it is down";
  if (asked.mapped().appends != nullptr) asked.mapped().appends->Break(why);
  for (const auto& [call, done] : asked.mapped().calls) done({.end = {.status = absl::UnavailableError(why)}});
}

// The transport cannot take a call back: a reply that comes after GiveUp() is not wanted any more.
void Forward::Ask(const std::string& address, const std::string& method, const std::string& request,
                  std::chrono::milliseconds timeout, CallDone done) {
  handed_on_.Add();
  const uint64_t call = ++last_call_;
  asked_[address].calls[call] = std::move(done);
  transport_.Call(address, method, absl::Cord(request), timeout, [self = self_, address, call](const CallReply& reply) {
    if (*self != nullptr) (*self)->OnReply(address, call, reply);
  });
}

void Forward::OnReply(const std::string& address, uint64_t call, const CallReply& reply) {
  const auto asked = asked_.find(address);
  if (asked == asked_.end()) return;
  if (const auto done = asked->second.calls.extract(call); !done.empty()) done.mapped()(reply);
}

void Forward::Read(const std::string& address, const PartitionName& name, raft::Offset from, size_t bytes_max,
                   std::chrono::milliseconds wait, std::function<void(ReadOutcome)> done) {
  internal::v1::ForwardedRead request;
  Fill(*request.mutable_partition(), name);
  request.set_from(from.value());
  request.set_bytes_max(static_cast<int64_t>(bytes_max));
  request.set_wait_ms(wait.count());
  Ask(address, "/millrace.internal.v1.Forward/Read", request.SerializeAsString(), kTimeout + wait,
      [address, done = std::move(done)](const CallReply& reply) {
        internal::v1::ForwardedEntries entries;
        ReadOutcome failed;
        if (!Parse(reply, address, &entries, &failed.error)) return done(std::move(failed));
        done(OutcomeFrom(entries));
      });
}

void Forward::Resolve(const std::string& address, const PartitionName& name, PositionSpec spec,
                      std::function<void(PositionOutcome)> done) {
  internal::v1::ForwardedPosition request;
  Fill(*request.mutable_partition(), name);
  request.set_kind(spec.kind);
  request.set_value(spec.value);
  Ask(address, "/millrace.internal.v1.Forward/Resolve", request.SerializeAsString(), kTimeout,
      [address, done = std::move(done)](const CallReply& reply) {
        internal::v1::ForwardedOffset offset;
        PositionOutcome outcome;
        if (!Parse(reply, address, &offset, &outcome.error)) return done(outcome);
        outcome.error = ErrorFrom(offset.error());
        outcome.bounds = BoundsFrom(offset.bounds());
        outcome.offset = raft::Offset(offset.offset());
        done(outcome);
      });
}

void Forward::Call(const std::string& address, const std::string& method, const std::string& request,
                   std::chrono::milliseconds timeout, std::function<void(ErrorFrame, std::string reply)> done) {
  Ask(address, kForwardedPrefix + method, request, timeout, [address, done = std::move(done)](const CallReply& reply) {
    if (!reply.end.status.ok()) return done(Unanswered(reply, address), "");
    done({}, std::string(reply.message));
  });
}

}  // namespace millrace::server
