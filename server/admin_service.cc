#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "millrace/v1/admin.pb.h"
#include "server/describe_cluster.h"
#include "server/describe_topic.h"
#include "server/errors.h"
#include "server/forwarded_call.h"
#include "server/reads.h"
#include "server/services.h"
#include "server/unary_call.h"

namespace millrace::server {
namespace {

using v1::Error;

// Runs a controller operation where the controller lives, and its answer back on the call's executor.
template <typename Response>
void OnController(Broker& broker, Executor& executor, Reply<Response> reply,
                  std::function<void(Controller&, Controller::Done)> operation) {
  RunOn(broker.control_executor(), [&broker, &executor, reply, operation = std::move(operation)] {
    operation(broker.metadata().controller(), [&executor, reply](const ErrorFrame& error) {
      RunOn(executor, [reply, error] { error.ok() ? reply.Send({}) : reply.Fail(error); });
    });
  });
}

void CreateTopic(Broker& broker, const v1::CreateTopicRequest& request, Reply<v1::CreateTopicResponse> reply,
                 Executor& executor) {
  NewTopic topic{request.name(),
                 request.partitions(),
                 request.replication_factor(),
                 {request.config().begin(), request.config().end()},
                 request.if_not_exists()};
  RunOn(broker.control_executor(), [&broker, &executor, reply, topic = std::move(topic)] {
    broker.metadata().controller().CreateTopic(
        topic, [&executor, reply](const ErrorFrame& error, const CreatedTopic& created) {
          RunOn(executor, [reply, error, created] {
            if (!error.ok()) return reply.Fail(error);
            v1::CreateTopicResponse response;
            response.set_topic_id(created.topic->topic_id);
            response.set_partitions(static_cast<int32_t>(created.topic->partitions.size()));
            response.set_replication_factor(created.topic->replication_factor);
            response.set_created(created.created);
            reply.Send(response);
          });
        });
  });
}

void ListTopics(Broker& broker, const v1::ListTopicsRequest& request, const Reply<v1::ListTopicsResponse>& reply) {
  v1::ListTopicsResponse response;
  const auto image = broker.image();
  for (const auto& [name, topic] : image->topics()) {
    if (!request.include_internal() && name.rfind("__", 0) == 0) continue;
    v1::TopicSummary& summary = *response.add_topics();
    summary.set_name(name);
    summary.set_topic_id(topic->topic_id);
    summary.set_partitions(static_cast<int32_t>(topic->partitions.size()));
    summary.set_replication_factor(topic->replication_factor);
  }
  reply.Send(response);
}

void TrimPartition(Broker& broker, const v1::TrimPartitionRequest& request, Reply<v1::TrimPartitionResponse> reply,
                   Executor& executor, Routing routing) {
  ErrorFrame error;
  auto partition = broker.FindPartition(request.name(), request.partition(), 0, &error);
  if (partition == nullptr) return reply.Fail(std::move(error));
  if (ErrorFrame own = CheckWritable(request.name()); !own.ok()) return reply.Fail(std::move(own));
  if (request.before() < -1)
    return reply.Fail(MakeError(Error::INVALID_REQUEST, "`before` is an offset, or -1 for the high watermark"));
  const auto trim = [&broker, partition, request, reply, &executor, routing] {
    ErrorFrame not_here;
    if (!partition->Readable(&not_here)) {
      const std::string leader = AddressOfLeader(broker, routing, not_here);
      if (!leader.empty()) {
        return AskLeader(broker, *partition, leader, *not_here.leader, "/millrace.v1.Admin/TrimPartition",
                         request.SerializeAsString(), reply, executor);
      }
    }
    const raft::Offset to = request.before() == -1 ? partition->high_watermark() : raft::Offset(request.before());
    partition->Trim(to, [reply, &executor](const ErrorFrame& error, raft::Offset log_start) {
      RunOn(executor, [reply, error, log_start] {
        if (!error.ok()) return reply.Fail(error);
        v1::TrimPartitionResponse response;
        response.set_log_start_offset(log_start.value());
        reply.Send(response);
      });
    });
  };
  RunOn(partition->executor(), [partition, trim] { partition->WhenSettled(trim); });
}

void AddTopicMetadata(const Broker& broker, const MetadataImage& image, const std::string& name,
                      v1::GetMetadataResponse* response) {
  v1::TopicMetadata& out = *response->add_topics();
  out.set_name(name);
  const auto topic = image.FindTopic(name);
  if (topic == nullptr) {
    out.mutable_error()->ParseFromString(SerializeError(NoTopic(name)));
    return;
  }
  out.set_topic_id(topic->topic_id);
  out.set_partitioner(1);
  out.set_max_message_bytes(topic->config->max_message_bytes);
  for (size_t p = 0; p < topic->partitions.size(); ++p) {
    v1::PartitionMetadata& partition = *out.add_partitions();
    partition.set_partition(static_cast<int32_t>(p));
    partition.set_leader(-1);
    if (const auto leader = broker.view().LeaderOf(topic->partitions[p].group, topic->partitions[p].replicas)) {
      partition.set_leader(static_cast<int32_t>(leader->broker.value()));
      partition.set_leader_epoch(static_cast<int32_t>(leader->epoch.value()));
    }
    for (raft::ReplicaId replica : topic->partitions[p].replicas) {
      partition.add_replicas(static_cast<int32_t>(replica.broker.value()));
    }
  }
}

void GetMetadata(Broker& broker, const v1::GetMetadataRequest& request, const Reply<v1::GetMetadataResponse>& reply) {
  v1::GetMetadataResponse response;
  const auto image = broker.image();
  response.set_cluster_id(image->cluster_id());
  response.set_controller(ControllerOf(broker));
  for (const auto& [id, known] : image->brokers()) {
    v1::BrokerInfo& info = *response.add_brokers();
    info.set_broker_id(static_cast<int32_t>(id.value()));
    info.set_address(known.address);
    info.set_rack(known.rack);
  }
  if (request.topics().empty()) {
    for (const auto& [name, topic] : image->topics()) AddTopicMetadata(broker, *image, name, &response);
  } else {
    for (const std::string& name : request.topics()) AddTopicMetadata(broker, *image, name, &response);
  }
  reply.Send(response);
}

// As the controller does it, wherever the call comes in.
template <typename Request, typename Response, typename F>
void AddControlled(Broker& broker, const std::string& name, F handler, ServiceRegistry& services) {
  AddControllerMethod(
      broker, "/millrace.v1.Admin/" + name,
      [&broker](Executor& e, const ErrorFrame& error) { broker.NoteFailure(e, error); },
      Parsed<Request, Response>([&broker, handler](const Request& request, Reply<Response> reply, Executor& executor) {
        handler(broker, request, std::move(reply), executor);
      }),
      services);
}

void DeleteTopic(Broker& broker, const v1::DeleteTopicRequest& request, Reply<v1::DeleteTopicResponse> reply,
                 Executor& executor) {
  OnController<v1::DeleteTopicResponse>(
      broker, executor, std::move(reply),
      [name = request.name()](Controller& c, Controller::Done done) { c.DeleteTopic(name, std::move(done)); });
}

void AlterTopic(Broker& broker, const v1::AlterTopicRequest& request, Reply<v1::AlterTopicResponse> reply,
                Executor& executor) {
  OnController<v1::AlterTopicResponse>(
      broker, executor, std::move(reply), [request](Controller& c, Controller::Done done) {
        c.AlterTopic(request.name(), {request.set().begin(), request.set().end()},
                     {request.unset().begin(), request.unset().end()}, std::move(done));
      });
}

void AddPartitions(Broker& broker, const v1::AddPartitionsRequest& request, Reply<v1::AddPartitionsResponse> reply,
                   Executor& executor) {
  OnController<v1::AddPartitionsResponse>(broker, executor, std::move(reply),
                                          [request](Controller& c, Controller::Done done) {
                                            c.AddPartitions(request.name(), request.partitions(), std::move(done));
                                          });
}

}  // namespace

void AddAdminService(Broker& broker, ServiceRegistry& services) {
  const auto failures = [&broker](Executor& e, const ErrorFrame& error) { broker.NoteFailure(e, error); };
  const std::string prefix = "/millrace.v1.Admin/";
  AddControlled<v1::CreateTopicRequest, v1::CreateTopicResponse>(broker, "CreateTopic", CreateTopic, services);
  AddControlled<v1::DeleteTopicRequest, v1::DeleteTopicResponse>(broker, "DeleteTopic", DeleteTopic, services);
  AddControlled<v1::AlterTopicRequest, v1::AlterTopicResponse>(broker, "AlterTopic", AlterTopic, services);
  AddControlled<v1::AddPartitionsRequest, v1::AddPartitionsResponse>(broker, "AddPartitions", AddPartitions, services);
  services.Add(prefix + "ListTopics", Unary<v1::ListTopicsRequest, v1::ListTopicsResponse>(
                                          failures, [&broker](const auto& request, auto reply, Executor&) {
                                            ListTopics(broker, request, reply);
                                          }));
  AddForwardable<v1::DescribeTopicRequest, v1::DescribeTopicResponse>(
      prefix + "DescribeTopic", failures,
      [&broker](const auto& request, auto reply, Executor& e, Routing routing) {
        DescribeTopic(broker, request, std::move(reply), e, routing);
      },
      services);
  AddForwardable<v1::TrimPartitionRequest, v1::TrimPartitionResponse>(
      prefix + "TrimPartition", failures,
      [&broker](const auto& request, auto reply, Executor& e, Routing routing) {
        TrimPartition(broker, request, std::move(reply), e, routing);
      },
      services);
  services.Add(prefix + "GetMetadata", Unary<v1::GetMetadataRequest, v1::GetMetadataResponse>(
                                           failures, [&broker](const auto& request, auto reply, Executor&) {
                                             GetMetadata(broker, request, reply);
                                           }));
  AddForwardable<v1::DescribeClusterRequest, v1::DescribeClusterResponse>(
      prefix + "DescribeCluster", failures,
      [&broker](const auto&, auto reply, Executor& e, Routing routing) {
        DescribeCluster(broker, std::move(reply), e, routing);
      },
      services);
}

}  // namespace millrace::server
