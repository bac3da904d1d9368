#include "server/group_coordinator.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"
#include "server/group_description.h"
#include "server/log.h"
#include "server/topic_name.h"

namespace millrace::server {
namespace {

using internal::v1::GroupChange;
using internal::v1::GroupRecord;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using v1::Error;

constexpr int32_t kSessionMsDefault = 10'000;
constexpr int32_t kSessionMsMin = 1'000;
constexpr int32_t kSessionMsMax = 1'800'000;
constexpr int32_t kHeartbeatMsMax = 5'000;
constexpr int32_t kWaitMsMax = 30'000;
constexpr int32_t kLeaves = -1;
constexpr int32_t kLeavesForAWhile = -2;
// What could not be written is decided on anew.
constexpr milliseconds kRetryAfter{250};
// Topics that are made one after the other are looked at together.
constexpr milliseconds kImageDelay{50};
// Before the executor does something else.
constexpr size_t kGroupsAtOnce = 50;

std::string MemberName(const std::string& group, const std::string& member) {
  return absl::StrCat("member ", member, " of group ", group);
}

// 2 of 5 of the time-out: one that is late by as much as it is early for the next does not end the session.
int32_t HeartbeatInterval(int32_t session_timeout_ms) { return std::min(kHeartbeatMsMax, session_timeout_ms / 5 * 2); }

int32_t SessionMs(const v1::HeartbeatRequest& request) {
  return request.session_timeout_ms() == 0 ? kSessionMsDefault : request.session_timeout_ms();
}

MemberState Describe(const v1::HeartbeatRequest& request) {
  MemberState member{.instance_id = request.instance_id(),
                     .client_id = request.client_id(),
                     .host = request.host(),
                     .rack = request.rack(),
                     .session_timeout_ms = SessionMs(request),
                     .topics = {request.topics().begin(), request.topics().end()},
                     .topic_pattern = request.topic_pattern(),
                     .assignor = request.assignor()};
  std::sort(member.topics.begin(), member.topics.end());
  member.topics.erase(std::unique(member.topics.begin(), member.topics.end()), member.topics.end());
  return member;
}

bool DescribesItselfAs(const MemberState& known, const MemberState& described) {
  const auto own = [](const MemberState& m) {
    return std::tie(m.instance_id, m.client_id, m.host, m.rack, m.session_timeout_ms, m.topics, m.topic_pattern,
                    m.assignor);
  };
  return own(known) == own(described);
}

GroupRecord ChangeRecord(GroupChange change) {
  GroupRecord record;
  *record.mutable_change() = std::move(change);
  return record;
}

void Merge(GroupEvents&& from, GroupEvents& into) {
  into.described.merge(std::move(from.described));
  into.joined.merge(std::move(from.joined));
  into.left.merge(std::move(from.left));
  into.let_go.merge(std::move(from.let_go));
  into.topics_changed |= from.topics_changed;
}

}  // namespace

GroupCoordinator::GroupCoordinator(Seams seams)
    : seams_(std::move(seams)), self_(std::make_shared<GroupCoordinator*>(this)) {}

GroupCoordinator::~GroupCoordinator() {
  *self_ = nullptr;
  for (const Executor::TimerId timer : {sweep_, image_timer_, retry_timer_}) {
    if (timer != 0) seams_.executor.Cancel(timer);
  }
  for (auto& [name, group] : active_) {
    for (auto& [id, session] : group.sessions) {
      if (session.timer != 0) seams_.executor.Cancel(session.timer);
    }
  }
}

// ---- Heartbeats

ErrorFrame GroupCoordinator::CheckName(const std::string& group) {
  if (!group.empty() && group.size() <= kNameMax) return {};
  return MakeError(Error::INVALID_GROUP_ID,
                   absl::StrCat("a group's name has 1 to ", kNameMax, " bytes; this one has ", group.size()));
}

ErrorFrame GroupCoordinator::CheckHeartbeat(const v1::HeartbeatRequest& request) {
  if (ErrorFrame error = CheckName(request.group()); !error.ok()) return error;
  if (request.member_id().empty() || request.member_id().size() > kNameMax || request.instance_id().size() > kNameMax) {
    return MakeError(Error::INVALID_REQUEST,
                     absl::StrCat("a member's id has 1 to ", kNameMax, " bytes, an instance's at most as many"));
  }
  if (request.member_epoch() < kLeavesForAWhile ||
      (request.member_epoch() == kLeavesForAWhile && request.instance_id().empty())) {
    return MakeError(Error::INVALID_REQUEST,
                     absl::StrCat("member_epoch ", request.member_epoch(),
                                  " is none: 0 joins, -1 leaves, -2 leaves for a while with an instance id"));
  }
  if (SessionMs(request) < kSessionMsMin || SessionMs(request) > kSessionMsMax) {
    return MakeError(Error::INVALID_SESSION_TIMEOUT,
                     absl::StrCat("a session time-out is ", kSessionMsMin, " to ", kSessionMsMax, " ms, this is ",
                                  request.session_timeout_ms(), "; set session.timeout.ms in these bounds"));
  }
  if (request.assignor() != v1::ASSIGNOR_UNIFORM && request.assignor() != v1::ASSIGNOR_RANGE) {
    return MakeError(Error::INVALID_REQUEST, absl::StrCat("assignor ", request.assignor(), " is not known"));
  }
  const auto is_long = [](const std::string& text) { return text.size() > kNameMax; };
  if (is_long(request.client_id()) || is_long(request.rack()) || is_long(request.host()) ||
      static_cast<size_t>(request.topics_size()) > kTopicsMax || request.topic_pattern().size() > kPatternMax) {
    return MakeError(Error::INVALID_REQUEST,
                     absl::StrCat("client_id, rack and host have at most ", kNameMax, " bytes, a pattern ", kPatternMax,
                                  ", and a member names at most ", kTopicsMax, " topics; use a pattern for more"));
  }
  if (request.member_epoch() == 0 && request.topics().empty() && request.topic_pattern().empty()) {
    return MakeError(Error::INVALID_REQUEST,
                     "a member that joins names topics, or a pattern of them; this one names none");
  }
  if (request.max_wait_ms() < 0) return MakeError(Error::INVALID_REQUEST, "max_wait_ms is negative");
  for (const std::string& topic : request.topics()) {
    if (IsInternalTopic(topic)) continue;
    if (std::string problem = TopicNameProblem(topic); !problem.empty()) {
      return MakeError(Error::INVALID_TOPIC_EXCEPTION, topic, std::nullopt, std::move(problem));
    }
  }
  if (request.topic_pattern().empty()) return {};
  if (std::string problem = patterns_.Problem(request.topic_pattern()); !problem.empty()) {
    return MakeError(Error::INVALID_REGULAR_EXPRESSION,
                     absl::StrCat("the topic pattern \"", request.topic_pattern(), "\" does not compile: ", problem,
                                  "; write it in RE2's syntax"));
  }
  return {};
}

void GroupCoordinator::Heartbeat(const v1::HeartbeatRequest& request, HeartbeatDone done,
                                 const std::weak_ptr<News>& news) {
  if (!serving()) return done(seams_.not_leader(), {});
  if (ErrorFrame error = CheckHeartbeat(request); !error.ok()) return done(error, {});
  if (request.member_epoch() == 0) return Join(request, std::move(done), news);
  const GroupState* group = table_.Find(request.group());
  const auto member = group == nullptr ? decltype(group->members.begin())() : group->members.find(request.member_id());
  if (group == nullptr || member == group->members.end()) {
    if (request.member_epoch() == kLeaves) return IsJoining(request) ? Leave(request, std::move(done)) : done({}, {});
    return Confirmed(
        [error = UnknownMember(request), done](const ErrorFrame& gone) { done(gone.ok() ? error : gone, {}); });
  }
  if (request.member_epoch() == kLeaves) return Leave(request, std::move(done));
  if (request.member_epoch() > member->second.epoch) {
    return done(MakeError(Error::FENCED_MEMBER_EPOCH,
                          absl::StrCat(MemberName(request.group(), request.member_id()), " says epoch ",
                                       request.member_epoch(), ", but was given ", member->second.epoch,
                                       "; let go of everything and join with epoch 0")),
                {});
  }
  Beat(request, member->second, std::move(done), news);
}

ErrorFrame GroupCoordinator::UnknownMember(const v1::HeartbeatRequest& request) const {
  const GroupState* group = table_.Find(request.group());
  if (group != nullptr && !request.instance_id().empty()) {
    for (const auto& [id, member] : group->members) {
      if (member.instance_id != request.instance_id()) continue;
      return MakeError(Error::FENCED_INSTANCE_ID,
                       absl::StrCat("instance ", request.instance_id(), " of group ", request.group(), " is member ",
                                    id, " now; stop this one, or give each process an instance id of its own"));
    }
  }
  return MakeError(Error::UNKNOWN_MEMBER_ID,
                   absl::StrCat(MemberName(request.group(), request.member_id()),
                                " is not known, or was silent for its session time-out; let go of everything and join "
                                "with epoch 0"));
}

void GroupCoordinator::Join(const v1::HeartbeatRequest& request, HeartbeatDone done, const std::weak_ptr<News>& news) {
  const GroupState* known = table_.Find(request.group());
  Group& group = active_[request.group()];
  const bool is_new = known == nullptr || !known->members.contains(request.member_id());
  const size_t members = (known == nullptr ? 0 : known->members.size()) + group.events.joined.size();
  if (is_new && members >= kMembersMax) {
    return done(MakeError(Error::GROUP_MAX_SIZE_REACHED,
                          absl::StrCat("group ", request.group(), " has ", members, " members, as many as it may")),
                {});
  }
  DropEarlierJoin(request, group);
  group.events.left.erase(request.member_id());
  for (const HeartbeatDone& left : std::exchange(group.leaving[request.member_id()], {})) left({}, {});
  group.events.let_go.erase(request.member_id());
  group.events.described[request.member_id()] = server::Describe(request);
  group.events.joined.insert(request.member_id());
  Session& session = group.sessions[request.member_id()];
  AnswerWaiting(session, seams_.executor,
                MakeError(Error::INVALID_REQUEST, "the same member has joined again meanwhile"), {});
  session.waiting = std::move(done);  // until that is decided and written
  session.instance_id = request.instance_id();
  session.news = news;
  session.told_epoch = 0;
  Touch(request.group(), request.member_id(), session, milliseconds(SessionMs(request)));
  Advance(request.group());
}

// One that came with the same instance id and was not decided on yet: the last to come has it.
void GroupCoordinator::DropEarlierJoin(const v1::HeartbeatRequest& request, Group& group) {
  if (request.instance_id().empty()) return;
  for (auto it = group.events.joined.begin(); it != group.events.joined.end();) {
    const std::string id = *it;
    const auto described = group.events.described.find(id);
    if (id == request.member_id() || described->second.instance_id != request.instance_id()) {
      ++it;
      continue;
    }
    it = group.events.joined.erase(it);
    group.events.described.erase(described);
    const auto session = group.sessions.find(id);
    if (session == group.sessions.end()) continue;
    AnswerWaiting(session->second, seams_.executor,
                  MakeError(Error::FENCED_INSTANCE_ID,
                            absl::StrCat("instance ", request.instance_id(), " of group ", request.group(),
                                         " is member ", request.member_id(), " now; stop this one")),
                  {});
    group.sessions.erase(session);
  }
}

bool GroupCoordinator::IsJoining(const v1::HeartbeatRequest& request) const {
  const auto group = active_.find(request.group());
  return group != active_.end() && group->second.sessions.contains(request.member_id());
}

void GroupCoordinator::Leave(const v1::HeartbeatRequest& request, HeartbeatDone done) {
  Group& group = active_[request.group()];
  group.events.described.erase(request.member_id());
  group.events.joined.erase(request.member_id());
  group.events.left.insert(request.member_id());
  group.leaving[request.member_id()].push_back(std::move(done));
  Advance(request.group());
}

void GroupCoordinator::Beat(const v1::HeartbeatRequest& request, const MemberState& member, HeartbeatDone done,
                            const std::weak_ptr<News>& news) {
  Group& group = active_[request.group()];
  Session& session = group.sessions[request.member_id()];
  Touch(request.group(), request.member_id(), session, milliseconds(member.session_timeout_ms));
  if (!news.expired()) session.news = news;
  if (request.member_epoch() != kLeavesForAWhile) {
    if (request.member_epoch() == member.epoch) NoteLetGo(request, member, group);
    MemberState described = server::Describe(request);
    if (!DescribesItselfAs(member, described) && !group.events.joined.contains(request.member_id())) {
      group.events.described[request.member_id()] = std::move(described);
    }
  }
  const bool has_news = request.member_epoch() != member.epoch;
  if (session.waiting != nullptr && !group.events.joined.contains(request.member_id())) {
    AnswerWaiting(session, seams_.executor, {}, ResponseTo(*table_.Find(request.group()), member));
  }
  if (request.max_wait_ms() > 0 && !has_news && session.waiting == nullptr) {
    Await(request.group(), request.member_id(), session, milliseconds(std::min(request.max_wait_ms(), kWaitMsMax)),
          std::move(done));
  } else {
    Confirmed([this, group_name = request.group(), id = request.member_id(), done](const ErrorFrame& error) {
      const GroupState* now = table_.Find(group_name);
      if (!error.ok()) return done(error, {});
      if (now == nullptr || !now->members.contains(id)) {
        return done(MakeError(Error::UNKNOWN_MEMBER_ID, absl::StrCat(MemberName(group_name, id), " has left")), {});
      }
      done({}, ResponseTo(*now, now->members.at(id)));
    });
  }
  if (!group.events.empty()) Advance(request.group());
}

// Under the epoch of the assignment in which they were missing: an earlier word might be from before they were given.
void GroupCoordinator::NoteLetGo(const v1::HeartbeatRequest& request, const MemberState& member, Group& group) {
  if (std::ranges::none_of(member.holdings, [](const auto& each) { return each.second.revoking; })) return;
  std::set<PartitionId> owned;
  for (const auto& each : request.owned()) owned.insert({each.topic_id(), each.partition()});
  for (const auto& [partition, holding] : member.holdings) {
    if (holding.revoking && !owned.contains(partition)) {
      group.events.let_go[request.member_id()].insert(partition);
    }
  }
}

void GroupCoordinator::Await(const std::string& group, const std::string& member, Session& session, milliseconds wait,
                             HeartbeatDone done) {
  session.waiting = std::move(done);
  session.timer = seams_.executor.After(wait, [this, group, member] {
    Session& late = active_.at(group).sessions.at(member);
    late.timer = 0;
    const auto answer = std::make_shared<HeartbeatDone>(std::exchange(late.waiting, nullptr));
    Confirmed([this, group, member, answer](const ErrorFrame& error) {
      const GroupState* state = table_.Find(group);
      if (!error.ok() || state == nullptr || !state->members.contains(member)) {
        return (*answer)(
            error.ok() ? MakeError(Error::UNKNOWN_MEMBER_ID, MemberName(group, member) + " has left") : error, {});
      }
      (*answer)({}, ResponseTo(*state, state->members.at(member)));
    });
  });
}

void GroupCoordinator::AnswerWaiting(Session& session, Executor& executor, const ErrorFrame& error,
                                     const v1::HeartbeatResponse& response) {
  if (session.timer != 0) executor.Cancel(std::exchange(session.timer, 0));
  if (const HeartbeatDone done = std::exchange(session.waiting, nullptr)) done(error, response);
}

v1::HeartbeatResponse GroupCoordinator::ResponseTo(const GroupState& group, const MemberState& member) const {
  v1::HeartbeatResponse response;
  response.set_member_epoch(member.epoch);
  response.set_heartbeat_interval_ms(HeartbeatInterval(member.session_timeout_ms));
  const auto image = seams_.image();
  for (const auto& [partition, holding] : member.holdings) {
    const auto topic = image->FindTopic(partition.topic_id);
    if (holding.revoking || topic == nullptr) continue;
    v1::AssignedPartition& out = *response.add_assignment();
    out.set_topic(topic->name);
    out.set_topic_id(partition.topic_id);
    out.set_partition(partition.partition);
    out.set_epoch(holding.epoch);
    if (const auto offset = group.offsets.find(partition); offset != group.offsets.end()) {
      out.set_committed_offset(offset->second.offset);
    }
  }
  return response;
}

bool GroupCoordinator::Watch(const std::string& group, const std::string& member, const std::weak_ptr<News>& news,
                             v1::HeartbeatResponse* now) {
  const GroupState* state = serving() ? table_.Find(group) : nullptr;
  if (state == nullptr || !state->members.contains(member)) return false;
  active_[group].sessions[member].news = news;
  *now = ResponseTo(*state, state->members.at(member));
  return true;
}

// ---- Deciding

void GroupCoordinator::Advance(const std::string& name) {
  Group& group = active_[name];
  if (group.deciding || group.events.empty()) return;
  // What was committed before a partition was let go counts: it must not come behind that.
  while (!commits_.empty()) AppendCommits();
  const GroupState none{.epoch = table_.last_epoch()};
  const GroupState* state = table_.Find(name);
  GroupEvents events = std::exchange(group.events, {});
  GroupChange change = Decide(state == nullptr ? none : *state, events, *seams_.image(), patterns_);
  group.deciding = true;
  if (!IsChange(change)) return OnDecided(name, events, {});
  Append({{name, ChangeRecord(std::move(change))}},
         [this, name, events = std::move(events)](const ErrorFrame& error, const Results&) {
           if (serving()) OnDecided(name, events, error);
         });
}

void GroupCoordinator::OnDecided(const std::string& name, const GroupEvents& decided, const ErrorFrame& error) {
  Group& group = active_[name];
  group.deciding = false;
  for (const std::string& id : decided.left) {
    for (const HeartbeatDone& done : std::exchange(group.leaving[id], {})) done(error, {});
    group.leaving.erase(id);
  }
  for (const Done& done : std::exchange(group.after, {})) done(error);
  if (!error.ok()) {
    for (const std::string& id : decided.joined) {
      if (const auto it = group.sessions.find(id); it != group.sessions.end()) {
        AnswerWaiting(it->second, seams_.executor, error, {});
      }
    }
    GroupEvents again = decided;
    again.resets.clear();
    Merge(std::move(again), group.events);
    if (retry_timer_ == 0) {
      retry_timer_ = seams_.executor.After(kRetryAfter, [this] {
        retry_timer_ = 0;
        std::vector<std::string> names;
        for (const auto& [each, unused] : active_) names.push_back(each);
        for (const std::string& each : names) Advance(each);
      });
    }
    return;
  }
  Tell(name, group);
  if (!group.events.empty()) return Advance(name);
  if (group.sessions.empty() && !group.deciding) active_.erase(name);
}

// Members whose assignment is another one, and those that are none any more.
void GroupCoordinator::Tell(const std::string& name, Group& group) {
  const GroupState* state = table_.Find(name);
  for (auto it = group.sessions.begin(); it != group.sessions.end();) {
    auto& [id, session] = *it;
    const bool is_member = state != nullptr && state->members.contains(id);
    if (!is_member && !group.events.joined.contains(id)) {
      Fence(name, id, session);
      it = group.sessions.erase(it);
      continue;
    }
    if (is_member && state->members.at(id).epoch != session.told_epoch && !group.events.joined.contains(id)) {
      session.told_epoch = state->members.at(id).epoch;
      const v1::HeartbeatResponse response = ResponseTo(*state, state->members.at(id));
      session.waiting != nullptr ? AnswerWaiting(session, seams_.executor, {}, response)
                                 : TellNews(session, {}, response);
    }
    ++it;
  }
}

void GroupCoordinator::Fence(const std::string& name, const std::string& member, Session& session) const {
  v1::HeartbeatRequest who;
  who.set_group(name);
  who.set_member_id(member);
  who.set_instance_id(session.instance_id);
  const ErrorFrame error = UnknownMember(who);
  session.waiting != nullptr ? AnswerWaiting(session, seams_.executor, error, {}) : TellNews(session, error, {});
}

void GroupCoordinator::TellNews(const Session& session, const ErrorFrame& error,
                                const v1::HeartbeatResponse& response) {
  if (const auto news = session.news.lock()) (*news)(error, response);
}

// ---- Sessions

// The set keeps the earliest time at which somebody has to look; heartbeats do not touch it.
void GroupCoordinator::Touch(const std::string& group, const std::string& member, Session& session,
                             milliseconds timeout) {
  const bool is_new = session.deadline == nanoseconds(0);
  const nanoseconds deadline = seams_.clock.Monotonic() + timeout;
  const bool sooner = !is_new && deadline < session.deadline;
  session.deadline = deadline;
  if (!is_new && !sooner) return;
  deadlines_.emplace(deadline, group, member);
  ArmSweep();
}

void GroupCoordinator::ArmSweep() {
  if (deadlines_.empty()) return;
  const nanoseconds first = std::get<0>(*deadlines_.begin());
  if (sweep_ != 0 && sweep_at_ <= first) return;
  if (sweep_ != 0) seams_.executor.Cancel(sweep_);
  sweep_at_ = first;
  const nanoseconds now = seams_.clock.Monotonic();
  sweep_ = seams_.executor.After(std::max(first - now, nanoseconds(0)), [this] {
    sweep_ = 0;
    Sweep();
  });
}

void GroupCoordinator::Sweep() {
  const nanoseconds now = seams_.clock.Monotonic();
  std::set<std::string> expired;
  while (!deadlines_.empty() && std::get<0>(*deadlines_.begin()) <= now) {
    const auto [at, name, member] = *deadlines_.begin();
    deadlines_.erase(deadlines_.begin());
    const auto group = active_.find(name);
    if (group == active_.end()) continue;
    const auto session = group->second.sessions.find(member);
    if (session == group->second.sessions.end()) continue;
    if (session->second.deadline > now) {
      deadlines_.emplace(session->second.deadline, name, member);
      continue;
    }
    MILLRACE_LOG_EVERY(std::chrono::seconds(1), kInfo, "a member of a group was silent for its session time-out",
                       {"group", name}, {"member", member});
    session->second.deadline = nanoseconds(0);  // if it joins again before it is out, it has one again
    group->second.events.left.insert(member);
    group->second.events.described.erase(member);
    group->second.events.joined.erase(member);
    group->second.events.let_go.erase(member);
    expired.insert(name);
  }
  for (const std::string& name : expired) Advance(name);
  ArmSweep();
}

// ---- Positions

void GroupCoordinator::Reset(const v1::ResetOffsetsRequest& request, ResetDone done) {
  if (!serving()) return done(seams_.not_leader(), {});
  if (ErrorFrame error = CheckName(request.group()); !error.ok()) return done(error, {});
  Ends ends;
  for (const v1::OffsetReset& each : request.offsets()) {
    if (const auto topic = seams_.image()->FindTopic(each.topic())) {
      int64_t& end = ends[{topic->topic_id, each.partition()}];
      end = std::max(end, each.offset());
    }
  }
  FindEnds(std::move(ends),
           [this, request, done = std::move(done)](const Ends& told) { ResetWithin(told, request, done); });
}

void GroupCoordinator::ResetWithin(const Ends& ends, const v1::ResetOffsetsRequest& request, const ResetDone& done) {
  if (!serving()) return done(seams_.not_leader(), {});
  v1::ResetOffsetsResponse response;
  std::map<PartitionId, CommittedOffset> resets;
  const auto image = seams_.image();
  const GroupState* state = table_.Find(request.group());
  for (const v1::OffsetReset& each : request.offsets()) {
    v1::OffsetResetResult& result = *response.add_results();
    result.set_topic(each.topic());
    result.set_partition(each.partition());
    result.set_old_offset(-1);
    result.set_new_offset(each.offset());
    v1::OffsetCommit asked;
    asked.set_topic(each.topic());
    asked.set_partition(each.partition());
    asked.set_offset(std::max<int64_t>(each.offset(), 0));
    asked.set_metadata(each.metadata());
    internal::v1::CommittedOffset offset;
    ErrorFrame error;
    if (each.offset() < -1) error = MakeError(Error::INVALID_REQUEST, "an offset to reset to is 0 or more, or -1");
    if (error.ok() && ResolveCommit(asked, *image, &offset, &error)) {
      error = BeyondEnd({offset.topic_id(), offset.partition()}, each.offset(), ends);
    }
    if (!error.ok()) {
      result.mutable_error()->ParseFromString(SerializeError(error));
      continue;
    }
    const PartitionId partition{offset.topic_id(), offset.partition()};
    if (state != nullptr && state->offsets.contains(partition))
      result.set_old_offset(state->offsets.at(partition).offset);
    resets[partition] = {.offset = each.offset(), .metadata = each.metadata(), .commit_time = offset.commit_time()};
  }
  if (request.dry_run() || resets.empty()) {
    return Confirmed([response, done](const ErrorFrame& error) { done(error, response); });
  }
  DecideReset(request.group(), resets, [response, done](const ErrorFrame& error) { done(error, response); });
}

void GroupCoordinator::DecideReset(const std::string& name, const std::map<PartitionId, CommittedOffset>& resets,
                                   Done done) {
  Group& group = active_[name];
  for (const auto& [partition, offset] : resets) group.events.resets[partition] = offset;
  if (!group.deciding) {
    group.after.push_back(std::move(done));
    return Advance(name);
  }
  // Those of the decision that is under way are told by it; these by the next.
  group.after.push_back([this, name, done = std::move(done)](const ErrorFrame&) {
    if (!serving()) return done(seams_.not_leader());
    active_[name].after.push_back(done);
  });
}

void GroupCoordinator::Delete(const std::string& name, Done done) {
  if (!serving()) return done(seams_.not_leader());
  const GroupState* state = table_.Find(name);
  if (state == nullptr) {
    return Confirmed([name, done](const ErrorFrame& error) {
      done(error.ok() ? MakeError(Error::GROUP_ID_NOT_FOUND, absl::StrCat("there is no group ", name)) : error);
    });
  }
  const auto active = active_.find(name);
  const bool joining = active != active_.end() && !active->second.sessions.empty();
  if (!state->members.empty() || joining) {
    return done(MakeError(Error::NON_EMPTY_GROUP,
                          absl::StrCat("group ", name, " has ", state->members.size(), " members; stop them first")));
  }
  GroupRecord record;
  record.mutable_removal();
  Append({{name, std::move(record)}}, [done](const ErrorFrame& error, const Results&) { done(error); });
}

// ---- What is told

void GroupCoordinator::Confirmed(Done then) {
  if (!serving()) return then(seams_.not_leader());
  const nanoseconds now = seams_.clock.Monotonic();
  if (now - confirmed_at_ < kConfirmedFor) return then({});
  unconfirmed_.push_back(std::move(then));
  if (unconfirmed_.size() > 1) return;
  seams_.confirm([self = self_, now](bool leads) {
    if (*self == nullptr) return;
    if (leads) (*self)->confirmed_at_ = now;
    (*self)->RunConfirmed(leads);
  });
}

void GroupCoordinator::RunConfirmed(bool leads) {
  const ErrorFrame error = leads && serving() ? ErrorFrame() : seams_.not_leader();
  for (const Done& then : std::exchange(unconfirmed_, {})) then(error);
}

v1::FetchOffsetsResponse GroupCoordinator::Offsets(const v1::FetchOffsetsRequest& request) const {
  return OffsetsOf(table_.Find(request.group()), request, *seams_.image());
}

// The last decision stands, everything has moved, and nothing has happened since.
bool GroupCoordinator::IsStable(const std::string& name, const GroupState& group) const {
  const auto active = active_.find(name);
  if (active != active_.end() && (active->second.deciding || !active->second.events.empty())) return false;
  return std::ranges::none_of(group.members, [](const auto& member) {
    return std::ranges::any_of(member.second.holdings, [](const auto& each) { return each.second.revoking; });
  });
}

std::vector<v1::GroupSummary> GroupCoordinator::List() const {
  std::vector<v1::GroupSummary> groups;
  for (const auto& [name, group] : table_.groups()) groups.push_back(SummaryOf(name, group, IsStable(name, group)));
  return groups;
}

bool GroupCoordinator::Describe(const std::string& name, v1::DescribeGroupResponse* response) const {
  const GroupState* group = table_.Find(name);
  if (group != nullptr) *response = DescriptionOf(name, *group, IsStable(name, *group), *seams_.image());
  return group != nullptr;
}

std::string GroupCoordinator::Dump() const {
  const nanoseconds now = seams_.clock.Monotonic();
  std::string text = absl::StrCat("coordinator ", serving_.value(), ", ", appended_.size(), " batches on their way, ",
                                  commits_.size(), " commits waiting, ", deadlines_.size(), " deadlines, sweep ",
                                  sweep_ == 0 ? 0 : (sweep_at_ - now) / milliseconds(1), " ms\n");
  for (const auto& [name, group] : active_) {
    absl::StrAppend(&text, "group ", name, group.deciding ? " decides" : "", ", ", group.events.described.size(),
                    " described, ", group.events.left.size(), " left, ", group.events.let_go.size(), " let go\n");
    for (const auto& [id, session] : group.sessions) {
      absl::StrAppend(&text, "  ", id, " ends in ", (session.deadline - now) / milliseconds(1), " ms, told ",
                      session.told_epoch, session.waiting != nullptr ? ", waits" : "", "\n");
    }
  }
  return text;
}

// ---- The log

void GroupCoordinator::Append(std::vector<Record> records, Written written) {
  BatchBuilder builder;
  const UnixMillis now = seams_.clock.Wall();
  for (const auto& [group, record] : records) {
    const std::string value = record.SerializeAsString();
    builder.Add({.timestamp = now, .key = group, .value = value, .headers = {}});
  }
  ValidBatch batch{.bytes = builder.Finish({})};
  const absl::StatusOr<BatchView> view = ParseBatch(batch.bytes);
  MILLRACE_CHECK(view.ok()) << view.status().ToString();
  batch.header = view->header;
  batch.crc = *view->header.crc32c;
  auto results = std::make_shared<Results>();
  appended_.push_back(results);
  seams_.append(std::move(batch), serving_,
                [self = self_, results, written = std::move(written)](const ErrorFrame& error) {
                  if (*self == nullptr) return;
                  if (!error.ok()) std::erase((*self)->appended_, results);
                  written(error, *results);
                });
}

void GroupCoordinator::Apply(const BatchView& batch) {
  std::shared_ptr<Results> results = std::make_shared<Results>();
  // Whatever is applied while this replica serves it has appended itself, in this order.
  if (serving() && !appended_.empty()) {
    results = std::move(appended_.front());
    appended_.pop_front();
  }
  RecordReader reader(batch);
  while (reader.Next()) {
    GroupRecord record;
    const std::string_view value = reader.record().value.value_or("");
    if (!record.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
      MILLRACE_LOG(kError, "a record of a consumer group cannot be read; it is passed over");
      results->emplace_back();
      continue;
    }
    results->push_back(table_.Replay(std::string(reader.record().key.value_or("")), record));
  }
  if (!reader.status().ok()) {
    MILLRACE_LOG(kError, "records of consumer groups cannot be read; they are passed over",
                 {"status", reader.status().ToString()});
  }
}

void GroupCoordinator::OnServing(raft::Term epoch) {
  serving_ = epoch;
  for (const auto& [name, state] : table_.groups()) {
    if (state.members.empty()) continue;
    Group& group = active_[name];
    for (const auto& [id, member] : state.members) {
      Session& session = group.sessions[id];
      session.instance_id = member.instance_id;
      session.told_epoch = member.epoch;
      Touch(name, id, session, milliseconds(member.session_timeout_ms) + kGrace);
    }
  }
  layout_seen_ = raft::LogIndex(-1);
  OnImage();
}

void GroupCoordinator::OnServingEnd() {
  serving_ = raft::Term(0);
  for (Executor::TimerId* timer : {&sweep_, &image_timer_, &retry_timer_}) {
    if (*timer != 0) seams_.executor.Cancel(std::exchange(*timer, 0));
  }
  deadlines_.clear();
  look_at_.clear();
  known_ends_.clear();
  confirmed_at_ = nanoseconds(-1'000'000'000'000);
  const ErrorFrame error = seams_.not_leader();
  auto active = std::exchange(active_, {});
  for (auto& [name, group] : active) {
    for (auto& [id, session] : group.sessions) {
      session.waiting != nullptr ? AnswerWaiting(session, seams_.executor, error, {}) : TellNews(session, error, {});
    }
    for (auto& [id, leaving] : group.leaving) {
      for (const HeartbeatDone& done : leaving) done(error, {});
    }
    for (const Done& done : group.after) done(error);
  }
  for (PendingCommit& commit : std::exchange(commits_, {})) commit.done(error, {});
  RunConfirmed(false);
}

void GroupCoordinator::OnImage() {
  const raft::LogIndex layout = seams_.image()->layout_version();
  if (!serving() || layout == layout_seen_) return;
  layout_seen_ = layout;
  look_at_all_ = true;
  if (image_timer_ == 0) image_timer_ = seams_.executor.After(kImageDelay, [this] { LookAtSome(); });
}

void GroupCoordinator::LookAtSome() {
  image_timer_ = 0;
  if (std::exchange(look_at_all_, false)) {
    // Also those that are being made, by the layout before.
    std::set<std::string> names;
    for (const auto& [name, state] : table_.groups()) names.insert(name);
    for (const auto& [name, group] : active_) names.insert(name);
    look_at_.assign(names.begin(), names.end());
  }
  for (size_t i = 0; i < kGroupsAtOnce && !look_at_.empty(); ++i) {
    const std::string name = std::move(look_at_.back());
    look_at_.pop_back();
    active_[name].events.topics_changed = true;
    Advance(name);
  }
  if (!look_at_.empty()) image_timer_ = seams_.executor.After(nanoseconds(0), [this] { LookAtSome(); });
}

}  // namespace millrace::server
