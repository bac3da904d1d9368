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
  return {raft::Offset(bounds.log_start()), raft::Offset(bounds.high_watermark()), raft::Term(bounds.leader_epoch())};
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

void Forward::Append(const std::string& address, PartitionBatchFrame batch, Acks acks, Partition::AppendDone done) {
  handed_on_.Add();
  std::unique_ptr<ForwardStream>& stream = streams_[address];
  if (stream == nullptr) stream = std::make_unique<ForwardStream>(transport_, executor_, address);
  stream->Append(std::move(batch), acks, std::move(done));
}

void Forward::Read(const std::string& address, const PartitionName& name, raft::Offset from, size_t bytes_max,
                   std::chrono::milliseconds wait, std::function<void(ReadOutcome)> done) {
  handed_on_.Add();
  internal::v1::ForwardedRead request;
  Fill(*request.mutable_partition(), name);
  request.set_from(from.value());
  request.set_bytes_max(static_cast<int64_t>(bytes_max));
  request.set_wait_ms(wait.count());
  transport_.Call(address, "/millrace.internal.v1.Forward/Read", absl::Cord(request.SerializeAsString()),
                  kTimeout + wait, [address, done = std::move(done)](const CallReply& reply) {
                    internal::v1::ForwardedEntries entries;
                    ReadOutcome failed;
                    if (!Parse(reply, address, &entries, &failed.error)) return done(std::move(failed));
                    done(OutcomeFrom(entries));
                  });
}

void Forward::Resolve(const std::string& address, const PartitionName& name, PositionSpec spec,
                      std::function<void(PositionOutcome)> done) {
  handed_on_.Add();
  internal::v1::ForwardedPosition request;
  Fill(*request.mutable_partition(), name);
  request.set_kind(spec.kind);
  request.set_value(spec.value);
  transport_.Call(address, "/millrace.internal.v1.Forward/Resolve", absl::Cord(request.SerializeAsString()), kTimeout,
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
  handed_on_.Add();
  transport_.Call(address, kForwardedPrefix + method, absl::Cord(request), timeout,
                  [address, done = std::move(done)](const CallReply& reply) {
                    if (!reply.end.status.ok()) return done(Unanswered(reply, address), "");
                    done({}, std::string(reply.message));
                  });
}

}  // namespace millrace::server
