#include "server/group_lag.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "server/group_partition.h"
#include "server/reads.h"

namespace millrace::server {
namespace {

using v1::Error;

// One description on its way: of each partition the first record that is not handled yet is looked for.
class LagFinder : public std::enable_shared_from_this<LagFinder> {
 public:
  using Answer = std::function<void(const ErrorFrame&, const v1::DescribeGroupResponse&)>;
  enum class Where : bool { kAtLeader, kHere };

  LagFinder(Broker& broker, v1::DescribeGroupResponse response, Where where, Answer answer, Executor& executor)
      : broker_(broker),
        response_(std::move(response)),
        where_(where),
        answer_(std::move(answer)),
        executor_(executor) {}

  void Run() {
    for (int i = 0; i < response_.partitions_size(); ++i)
      Ask(i, std::max<int64_t>(response_.partitions(i).committed(), 0));
    OneAnswered();
  }

 private:
  void Ask(int index, int64_t from) {
    const v1::GroupPartition& asked = response_.partitions(index);
    ErrorFrame gone;
    auto partition = broker_.FindPartition(asked.topic(), asked.partition(), 0, &gone);
    if (partition == nullptr) return;
    ++asked_;
    if (where_ == Where::kHere && partition->hosted()) return LookHere(std::move(partition), index, raft::Offset(from));
    ReadPartition(broker_, std::move(partition), {.from = raft::Offset(from), .bytes_max = 1}, nullptr, executor_,
                  [self = shared_from_this(), index, from](const ReadOutcome& outcome) {
                    self->Take(index, from, outcome);
                    self->OneAnswered();
                  });
  }

  void LookHere(std::shared_ptr<Partition> partition, int index, raft::Offset from) {
    Partition& there = *partition;
    RunOn(there.executor(), [self = shared_from_this(), partition = std::move(partition), index, from] {
      partition->WhenSettled([self, partition, index, from] {
        const raft::Offset end = partition->high_watermark(), first = std::max(from, partition->log_start());
        std::vector<raft::Entry> entries;
        if (first >= end) return self->Found(index, end, 0, std::nullopt);
        if (partition->ReadCached(first, 1, &entries) && !entries.empty()) {
          return self->Found(index, end, end - first, entries.front().header.append_time);
        }
        self->broker_.pool().Submit([self, partition, index, first, end] {
          const auto header = partition->store().HeaderFor(partition->group(), first);
          self->Found(index, end, end - first, header.ok() ? std::optional(header->append_time) : std::nullopt);
        });
      });
    });
  }

  // From any thread. `since`: the append time of the first record that is not handled.
  void Found(int index, raft::Offset end, int64_t lag, std::optional<int64_t> since) {
    RunOn(executor_, [self = shared_from_this(), index, end, lag, since] {
      self->Put(index, end.value(), lag, since);
      self->OneAnswered();
    });
  }

  void Put(int index, int64_t end, int64_t lag, std::optional<int64_t> since) {
    v1::GroupPartition& out = *response_.mutable_partitions(index);
    out.set_high_watermark(end);
    out.set_lag(lag);
    out.set_lag_ms(since ? std::max<int64_t>(broker_.clock().Wall() - *since, 0) : 0);
  }

  void Take(int index, int64_t from, const ReadOutcome& outcome) {
    const int64_t log_start = outcome.bounds.log_start.value();
    const bool gone = outcome.error.code == Error::OFFSET_OUT_OF_RANGE;
    if (!outcome.error.ok() && !gone) return;
    if (gone && from < log_start) return Ask(index, log_start);  // what retention took is nobody's to handle
    const int64_t end = outcome.bounds.high_watermark.value();
    Put(index, end, std::max<int64_t>(end - std::max(from, log_start), 0),
        outcome.entries.empty() ? std::nullopt : std::optional(outcome.entries.front().header.append_time));
  }

  void OneAnswered() {
    if (--asked_ == 0) answer_({}, response_);
  }

  Broker& broker_;
  v1::DescribeGroupResponse response_;
  const Where where_;
  const Answer answer_;
  Executor& executor_;
  int asked_ = 1;
};

using Where = LagFinder::Where;

void Describe(Broker& broker, GroupCoordinator& coordinator, const v1::DescribeGroupRequest& request, Where where,
              LagFinder::Answer answer) {
  coordinator.Confirmed([&broker, &coordinator, request, where, answer = std::move(answer)](const ErrorFrame& error) {
    v1::DescribeGroupResponse response;
    if (!error.ok()) return answer(error, {});
    if (!coordinator.Describe(request.group(), &response)) {
      return answer(MakeError(Error::GROUP_ID_NOT_FOUND, absl::StrCat("there is no group ", request.group())), {});
    }
    response.set_coordinator(static_cast<int32_t>(broker.options().self.broker.value()));
    if (request.without_lag()) return answer({}, response);
    std::make_shared<LagFinder>(broker, std::move(response), where, answer, coordinator.executor())->Run();
  });
}

}  // namespace

void DescribeGroup(Broker& broker, GroupCoordinator& coordinator, const v1::DescribeGroupRequest& request,
                   std::function<void(const ErrorFrame&, const v1::DescribeGroupResponse&)> answer) {
  Describe(broker, coordinator, request, Where::kAtLeader, std::move(answer));
}

LagWatch::LagWatch(Broker& broker, GroupLags& lags)
    : broker_(broker), lags_(lags), self_(std::make_shared<LagWatch*>(this)) {
  timer_ = broker_.control_executor().After(kRoundMin, [this] { BeginRound(); });
}

LagWatch::~LagWatch() {
  *self_ = nullptr;
  if (timer_ != 0) broker_.control_executor().Cancel(timer_);
}

// Asks each partition of the topic of groups which it coordinates.
void LagWatch::BeginRound() {
  lags_.Keep(std::exchange(found_, {}));
  timer_ = broker_.control_executor().After(kRoundMin, [this] { Next(); });
  const auto topic = broker_.image()->FindTopic(kGroupsTopic);
  for (size_t p = 0; topic != nullptr && p < topic->partitions.size(); ++p) {
    ErrorFrame gone;
    const auto partition = broker_.FindPartition(kGroupsTopic, static_cast<int32_t>(p), 0, &gone);
    if (partition == nullptr) continue;
    RunOn(partition->executor(), [this, self = self_, partition, &home = broker_.control_executor()] {
      const GroupCoordinator* coordinator = CoordinatorOf(*partition);
      if (coordinator == nullptr || !coordinator->serving()) return;
      std::vector<std::string> names;
      for (const auto& [name, group] : coordinator->groups()) names.push_back(name);
      RunOn(home, [this, self, partition, names = std::move(names)] {
        if (*self == nullptr) return;
        for (const std::string& name : names) round_.push_back({name, partition});
      });
    });
  }
}

void LagWatch::Next() {
  timer_ = 0;
  if (round_.empty()) return BeginRound();
  const Group group = std::move(round_.front());
  round_.pop_front();
  timer_ = broker_.control_executor().After(kBetween, [this] { Next(); });
  RunOn(group.partition->executor(),
        [this, self = self_, group, &broker = broker_, &home = broker_.control_executor()] {
          GroupCoordinator* coordinator = CoordinatorOf(*group.partition);
          if (coordinator == nullptr || !coordinator->serving()) return;
          v1::DescribeGroupRequest request;
          request.set_group(group.name);
          Describe(broker, *coordinator, request, Where::kHere,
                   [this, self, name = group.name, &home](const ErrorFrame& error,
                                                          const v1::DescribeGroupResponse& described) {
                     if (!error.ok()) return;
                     RunOn(home, [this, self, name, described] {
                       if (*self != nullptr) Take(name, described);
                     });
                   });
        });
}

void LagWatch::Take(const std::string& group, const v1::DescribeGroupResponse& described) {
  GroupLags::ByTopic lags;
  for (const v1::GroupPartition& partition : described.partitions()) {
    GroupLags::Lag& lag = lags[partition.topic()];
    lag.records += std::max<int64_t>(partition.lag(), 0);
    lag.ms = std::max(lag.ms, partition.lag_ms());
  }
  found_[group] = lags;
  lags_.Set(group, std::move(lags));
}

}  // namespace millrace::server
