#include "server/group_call.h"

#include <utility>

#include "millrace/internal/v1/groups.pb.h"
#include "server/errors.h"

namespace millrace::server {
namespace {

using v1::Error;
using v1::MemberResponse;

constexpr char kHeartbeat[] = "/millrace.v1.Groups/Heartbeat";
constexpr char kCommitOffsets[] = "/millrace.v1.Groups/CommitOffsets";
constexpr char kWatchMember[] = "/millrace.internal.v1.Groups/WatchMember";

template <typename Request>
Routing RoutingOf(const Request& request) {
  return request.routing() == v1::ROUTING_LEADER_ONLY ? Routing::kLeaderOnly : Routing::kAny;
}

MemberResponse Failed(const ErrorFrame& error) {
  MemberResponse response;
  response.mutable_error()->ParseFromString(SerializeError(error));
  return response;
}

}  // namespace

v1::CommitOffsetsResponse CommitResponseOf(const std::vector<ErrorFrame>& errors) {
  v1::CommitOffsetsResponse response;
  for (const ErrorFrame& error : errors) response.add_errors()->ParseFromString(SerializeError(error));
  return response;
}

GroupCall::GroupCall(Broker& broker, Executor& executor)
    : broker_(broker), executor_(executor), self_(std::make_shared<GroupCall*>(this)) {}

GroupCall::~GroupCall() { *self_ = nullptr; }

void GroupCall::Start(Stream& stream) {
  stream_ = &stream;
  ReadNext();
}

void GroupCall::ReadNext() {
  if (reading_ || reads_done_ || unanswered_ + responses_.size() >= kUnansweredMax) return;
  if (unanswered_bytes_ >= kUnansweredBytesMax) return;
  reading_ = true;
  stream_->Read();
}

void GroupCall::OnReadsDone() {
  reading_ = false;
  reads_done_ = true;
  if (unanswered_ == 0 && responses_.empty() && !writing_) stream_->Finish({});
}

void GroupCall::OnClosed(CallEnd end) {
  *self_ = nullptr;
  news_.reset();
}

void GroupCall::OnMessage(absl::Cord message) {
  reading_ = false;
  const size_t bytes = message.size();
  v1::MemberRequest request;
  if (!request.ParseFromString(std::string(message))) {
    return stream_->Finish(FailedCall(MakeError(Error::INVALID_REQUEST, "the message is no MemberRequest")));
  }
  if (request.ping() != 0) {
    MemberResponse pong;
    pong.set_ping(request.ping());
    Enqueue(std::move(pong));
  }
  if (request.has_heartbeat()) {
    ErrorFrame unknown = CheckRouting(request.heartbeat().routing());
    const Answer answer = Answering(request.id(), bytes);
    unknown.ok() ? OnHeartbeat(request.heartbeat(), answer) : answer(Failed(unknown));
  }
  if (request.has_commit()) {
    ErrorFrame unknown = CheckRouting(request.commit().routing());
    const Answer answer = Answering(request.id(), bytes);
    const auto commit = std::make_shared<const v1::CommitOffsetsRequest>(std::move(*request.mutable_commit()));
    unknown.ok() ? OnCommit(commit, answer) : answer(Failed(unknown));
  }
  ReadNext();
}

// What answers one request; on any executor.
GroupCall::Answer GroupCall::Answering(uint64_t request, size_t bytes) {
  ++unanswered_;
  unanswered_bytes_ += bytes;
  return [self = self_, &executor = executor_, request, bytes](MemberResponse response) {
    RunOn(executor, [self, request, bytes, response = std::move(response)]() mutable {
      if (*self == nullptr) return;
      --(*self)->unanswered_;
      (*self)->unanswered_bytes_ -= bytes;
      response.set_answers(request);
      (*self)->Enqueue(std::move(response));
    });
  };
}

// From any thread, also when the call is over.
template <typename Request, typename Response>
void GroupCall::HandOn(const Self& self, Executor& executor, const std::string& method, const Request& request,
                       const std::string& address, const LeaderHintFrame& leader,
                       std::function<void(const ErrorFrame&, Response)> done) {
  RunOn(executor, [self, &executor, method, bytes = request.SerializeAsString(), address, leader, done] {
    if (*self == nullptr) return;
    (*self)->broker_.ShardOf(executor).forward.Call(
        address, method, bytes, Forward::kTimeout, [leader, done](const ErrorFrame& error, const std::string& reply) {
          Response response;
          if (error.ok() && !response.ParseFromString(reply)) {
            return done(MakeError(Error::INTERNAL, "the coordinator's answer cannot be read"), {});
          }
          if (error.ok()) *response.mutable_leader() = StubOf(leader);
          done(error, std::move(response));
        });
  });
}

// ---- Requests

// A client whose session has ended comes as another member, on the same stream: news of the one before are none of its.
void GroupCall::Attend(const v1::HeartbeatRequest& request) {
  if (news_ != nullptr && request.group() == watched_.group && request.member_id() == watched_.member) return;
  watched_ = {.group = request.group(), .member = request.member_id()};
  news_ =
      std::make_shared<GroupCoordinator::News>([self = self_, &executor = executor_, member = watched_.member](
                                                   const ErrorFrame& error, const v1::HeartbeatResponse& heartbeat) {
        RunOn(executor, [self, member, error, heartbeat] {
          if (*self != nullptr && (*self)->watched_.member == member) (*self)->OnNews(error, heartbeat);
        });
      });
}

void GroupCall::OnHeartbeat(const v1::HeartbeatRequest& request, Answer answer) {
  Attend(request);
  v1::HeartbeatRequest at_once = request;
  at_once.set_max_wait_ms(0);
  const auto answer_with = [answer](const ErrorFrame& error, const v1::HeartbeatResponse& heartbeat) {
    MemberResponse response = error.ok() ? MemberResponse() : Failed(error);
    if (error.ok()) *response.mutable_heartbeat() = heartbeat;
    answer(std::move(response));
  };
  AtCoordinator(broker_, request.group(), executor_, RoutingOf(request),
                {.here = [at_once, news = std::weak_ptr(news_), answer_with](
                             GroupCoordinator& coordinator) { coordinator.Heartbeat(at_once, answer_with, news); },
                 .there =
                     [self = self_, &executor = executor_, at_once, answer_with](
                         const Partition&, const std::string& address, const LeaderHintFrame& leader) {
                       HandOn<v1::HeartbeatRequest, v1::HeartbeatResponse>(
                           self, executor, kHeartbeat, at_once, address, leader,
                           [self, at_once, address, answer_with](const ErrorFrame& error,
                                                                 const v1::HeartbeatResponse& heartbeat) {
                             answer_with(error, heartbeat);
                             if (*self == nullptr || !error.ok() || heartbeat.member_epoch() <= 0) return;
                             Watched& watched = (*self)->watched_;
                             if (watched.member != at_once.member_id()) return;
                             watched.known_epoch = heartbeat.member_epoch();
                             (*self)->WatchThere(address);
                           });
                     },
                 .nowhere = [answer_with](const ErrorFrame& error) { answer_with(error, {}); }});
}

void GroupCall::OnCommit(const std::shared_ptr<const v1::CommitOffsetsRequest>& request, const Answer& answer) {
  const auto answer_with = [answer](const ErrorFrame& error, v1::CommitOffsetsResponse commit) {
    MemberResponse response = error.ok() ? MemberResponse() : Failed(error);
    if (error.ok()) *response.mutable_commit() = std::move(commit);
    answer(std::move(response));
  };
  AtCoordinator(broker_, request->group(), executor_, RoutingOf(*request),
                {.here =
                     [request, answer_with](GroupCoordinator& coordinator) {
                       coordinator.Commit(
                           *request, [answer_with](const ErrorFrame& error, const std::vector<ErrorFrame>& errors) {
                             answer_with(error, CommitResponseOf(errors));
                           });
                     },
                 .there =
                     [self = self_, &executor = executor_, request, answer_with](
                         const Partition&, const std::string& address, const LeaderHintFrame& leader) {
                       HandOn<v1::CommitOffsetsRequest, v1::CommitOffsetsResponse>(
                           self, executor, kCommitOffsets, *request, address, leader, answer_with);
                     },
                 .nowhere = [answer_with](const ErrorFrame& error) { answer_with(error, {}); }});
}

// ---- News

// Of a coordinator elsewhere: asks until the stream ends, or it does not answer; the next heartbeat finds another.
void GroupCall::WatchThere(const std::string& address) {
  if (watched_.watching) return;
  watched_.watching = true;
  internal::v1::WatchMemberRequest request;
  request.set_group(watched_.group);
  request.set_member_id(watched_.member);
  request.set_known_epoch(watched_.known_epoch);
  broker_.ShardOf(executor_).forward.Call(
      address, kWatchMember, request.SerializeAsString(), Forward::kTimeout,
      [this, self = self_, address, member = watched_.member](const ErrorFrame& error, const std::string& reply) {
        if (*self == nullptr || watched_.member != member) return;
        watched_.watching = false;
        internal::v1::WatchMemberResponse answer;
        v1::HeartbeatResponse heartbeat;
        if (!error.ok()) {
          if (!error.retriable) OnNews(error, {});
          return;
        }
        if (!answer.ParseFromString(reply) || !heartbeat.ParseFromString(answer.heartbeat())) return;
        if (heartbeat.member_epoch() > watched_.known_epoch) {
          watched_.known_epoch = heartbeat.member_epoch();
          OnNews({}, heartbeat);
        }
        WatchThere(address);
      });
}

void GroupCall::OnNews(const ErrorFrame& error, const v1::HeartbeatResponse& heartbeat) {
  MemberResponse response = error.ok() ? MemberResponse() : Failed(error);
  if (error.ok()) *response.mutable_heartbeat() = heartbeat;
  Enqueue(std::move(response));
}

void GroupCall::Enqueue(MemberResponse response) {
  responses_.push_back(std::move(response));
  if (!writing_) Send();
}

void GroupCall::Send() {
  writing_ = true;
  const MemberResponse response = std::move(responses_.front());
  responses_.pop_front();
  stream_->Write(absl::Cord(response.SerializeAsString()));
}

void GroupCall::OnWritten() {
  writing_ = false;
  if (!responses_.empty()) {
    Send();
  } else if (reads_done_ && unanswered_ == 0) {
    return stream_->Finish({});
  }
  ReadNext();
}

}  // namespace millrace::server
