#include "millrace/admin.h"

#include <utility>

#include "client/address.h"
#include "client/control.h"
#include "client/control_client.h"
#include "client/group_control.h"
#include "client/offset_finder.h"
#include "client/runtime_thread.h"
#include "client/status.h"

namespace millrace {
namespace client {
namespace {

class AdminImpl : public Admin {
 public:
  AdminImpl(const ClientOptions& options, std::unique_ptr<Foundation> foundation, std::vector<std::string> addresses)
      : options_(options), foundation_(std::move(foundation)), env_(foundation_->environment()) {
    foundation_->thread().RunAndWait(
        [&] { control_ = std::make_unique<ControlClient>(env_, options_, std::move(addresses)); });
  }

  ~AdminImpl() override {
    foundation_->thread().RunAndWait([&] { control_.reset(); });
  }

  absl::StatusOr<CreatedTopic> CreateTopic(const NewTopic& topic) override {
    const Repeat repeat = topic.if_not_exists ? Repeat::kSafe : Repeat::kIfNotSent;
    return CallAndParse(control::kCreateTopic, control::CreateTopicRequest(topic), repeat, control::ParseCreateTopic);
  }

  absl::Status DeleteTopic(std::string_view name) override {
    return Call(control::kDeleteTopic, control::DeleteTopicRequest(name), Repeat::kIfNotSent).status();
  }

  absl::StatusOr<std::vector<TopicSummary>> ListTopics(InternalTopics internal) override {
    return CallAndParse(control::kListTopics, control::ListTopicsRequest(internal), Repeat::kSafe,
                        control::ParseListTopics);
  }

  absl::StatusOr<TopicDescription> DescribeTopic(std::string_view name) override {
    return CallAndParse(control::kDescribeTopic, control::DescribeTopicRequest(name), Repeat::kSafe,
                        control::ParseDescribeTopic);
  }

  absl::Status AlterTopic(std::string_view name, const std::map<std::string, std::string>& set,
                          const std::vector<std::string>& unset) override {
    return Call(control::kAlterTopic, control::AlterTopicRequest(name, set, unset), Repeat::kSafe).status();
  }

  absl::Status AddPartitions(std::string_view name, int32_t partitions) override {
    return Call(control::kAddPartitions, control::AddPartitionsRequest(name, partitions), Repeat::kIfNotSent).status();
  }

  absl::StatusOr<int64_t> TrimPartition(const TopicPartition& partition, std::optional<int64_t> before) override {
    // "Everything" means more the second time.
    const Repeat repeat = before ? Repeat::kSafe : Repeat::kIfNotSent;
    if (before && *before < 0) return InvalidRequest("an offset must not be negative");
    return CallAndParse(control::kTrimPartition, control::TrimPartitionRequest(partition, before), repeat,
                        control::ParseTrimPartition);
  }

  absl::StatusOr<std::vector<OffsetAnswer>> ListOffsets(const std::vector<OffsetQuery>& queries) override {
    if (foundation_->OnThread()) return OnIoThread();
    return foundation_->thread().Await<absl::StatusOr<std::vector<OffsetAnswer>>>([&](OffsetsFound done) {
      FindOffsets(*control_, queries, env_.clock.Wall(), options_.request_timeout, std::move(done));
    });
  }

  absl::StatusOr<ClusterDescription> DescribeCluster() override {
    return CallAndParse(control::kDescribeCluster, control::DescribeClusterRequest(), Repeat::kSafe,
                        control::ParseDescribeCluster);
  }

  absl::StatusOr<GroupList> ListGroups() override {
    return CallAndParse(control::kListGroups, control::ListGroupsRequest(), Repeat::kSafe, control::ParseListGroups);
  }

  absl::StatusOr<GroupDescription> DescribeGroup(std::string_view group) override {
    return CallAndParse(control::kDescribeGroup, control::DescribeGroupRequest(std::string(group)), Repeat::kSafe,
                        control::ParseDescribeGroup);
  }

  absl::StatusOr<std::vector<CommittedOffset>> GroupOffsets(std::string_view group,
                                                            const std::vector<TopicPartition>& partitions) override {
    return CallAndParse(control::kFetchOffsets, control::FetchOffsetsRequest(std::string(group), partitions),
                        Repeat::kSafe, control::ParseFetchOffsets);
  }

  absl::StatusOr<std::vector<OffsetReset>> ResetOffsets(std::string_view group,
                                                        const std::vector<CommittedOffset>& offsets,
                                                        ResetMode mode) override {
    const auto dry_run = mode == ResetMode::kDryRun ? control::DryRun::kYes : control::DryRun::kNo;
    return CallAndParse(control::kResetOffsets, control::ResetOffsetsRequest(std::string(group), offsets, dry_run),
                        Repeat::kSafe, control::ParseResetOffsets);
  }

  absl::Status DeleteGroup(std::string_view group) override {
    return Call(control::kDeleteGroup, control::DeleteGroupRequest(std::string(group)), Repeat::kIfNotSent).status();
  }

  absl::StatusOr<ClusterMetadata> GetMetadata(const std::vector<std::string>& topics) override {
    auto reply =
        CallAndParse(control::kGetMetadata, control::GetMetadataRequest(topics), Repeat::kSafe, control::ParseMetadata);
    if (!reply.ok()) return reply.status();
    if (!reply->missing.empty()) {
      Error error = FromFrame(reply->missing.front().error);
      error.topic = reply->missing.front().topic;
      return ToStatus(error);
    }
    return std::move(reply->metadata);
  }

 private:
  absl::StatusOr<absl::Cord> Call(const char* method, absl::Cord request, Repeat repeat) {
    if (foundation_->OnThread()) return OnIoThread();
    return foundation_->thread().Await<absl::StatusOr<absl::Cord>>([&](ControlClient::Done done) {
      control_->Call(method, std::move(request), {.timeout = options_.request_timeout, .repeat = repeat},
                     std::move(done));
    });
  }

  static absl::Status OnIoThread() {
    return InvalidRequest("Admin waits and must not be called by a delivery callback");
  }

  template <typename Result>
  absl::StatusOr<Result> CallAndParse(const char* method, absl::Cord request, Repeat repeat,
                                      absl::StatusOr<Result> (*parse)(const absl::Cord&)) {
    absl::StatusOr<absl::Cord> reply = Call(method, std::move(request), repeat);
    if (!reply.ok()) return reply.status();
    return parse(*reply);
  }

  const ClientOptions options_;
  std::unique_ptr<Foundation> foundation_;
  const ClientEnvironment env_;
  std::unique_ptr<ControlClient> control_;
};

}  // namespace
}  // namespace client

absl::StatusOr<std::unique_ptr<Admin>> Admin::Create(ClientOptions options) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  auto addresses = client::ParseAddresses(options.bootstrap_servers);
  if (!addresses.ok()) return addresses.status();
  auto foundation = client::Foundation::Create(options);
  if (!foundation.ok()) return foundation.status();
  return std::make_unique<client::AdminImpl>(options, *std::move(foundation), *std::move(addresses));
}

}  // namespace millrace
