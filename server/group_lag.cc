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

// One description on its way: each partition's leader is asked for the first record that is not handled yet.
class LagFinder : public std::enable_shared_from_this<LagFinder> {
 public:
  using Answer = std::function<void(const ErrorFrame&, const v1::DescribeGroupResponse&)>;

  LagFinder(Broker& broker, v1::DescribeGroupResponse response, Answer answer, Executor& executor)
      : broker_(broker), response_(std::move(response)), answer_(std::move(answer)), executor_(executor) {}

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
    ReadPartition(broker_, std::move(partition), {.from = raft::Offset(from), .bytes_max = 1}, nullptr, executor_,
                  [self = shared_from_this(), index, from](const ReadOutcome& outcome) {
                    self->Take(index, from, outcome);
                    self->OneAnswered();
                  });
  }

  void Take(int index, int64_t from, const ReadOutcome& outcome) {
    const int64_t log_start = outcome.bounds.log_start.value();
    const bool gone = outcome.error.code == Error::OFFSET_OUT_OF_RANGE;
    if (!outcome.error.ok() && !gone) return;
    if (gone && from < log_start) return Ask(index, log_start);  // what retention took is nobody's to handle
    v1::GroupPartition& out = *response_.mutable_partitions(index);
    const int64_t end = outcome.bounds.high_watermark.value();
    out.set_high_watermark(end);
    out.set_lag(std::max<int64_t>(end - std::max(from, log_start), 0));
    out.set_lag_ms(outcome.entries.empty()
                       ? 0
                       : std::max<int64_t>(broker_.clock().Wall() - outcome.entries.front().header.append_time, 0));
  }

  void OneAnswered() {
    if (--asked_ == 0) answer_({}, response_);
  }

  Broker& broker_;
  v1::DescribeGroupResponse response_;
  const Answer answer_;
  Executor& executor_;
  int asked_ = 1;
};

}  // namespace

void DescribeGroup(Broker& broker, GroupCoordinator& coordinator, const v1::DescribeGroupRequest& request,
                   std::function<void(const ErrorFrame&, const v1::DescribeGroupResponse&)> answer) {
  coordinator.Confirmed([&broker, &coordinator, request, answer = std::move(answer)](const ErrorFrame& error) {
    v1::DescribeGroupResponse response;
    if (!error.ok()) return answer(error, {});
    if (!coordinator.Describe(request.group(), &response)) {
      return answer(MakeError(Error::GROUP_ID_NOT_FOUND, absl::StrCat("there is no group ", request.group())), {});
    }
    response.set_coordinator(static_cast<int32_t>(broker.options().self.broker.value()));
    if (request.without_lag()) return answer({}, response);
    std::make_shared<LagFinder>(broker, std::move(response), answer, coordinator.executor())->Run();
  });
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
          DescribeGroup(broker, *coordinator, request,
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
