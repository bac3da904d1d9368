#include <atomic>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "millrace/v1/broker.pb.h"
#include "proto/wire/partitioner.h"
#include "server/batch_validation.h"
#include "server/fetch_call.h"
#include "server/forwarded_call.h"
#include "server/plain_records.h"
#include "server/produce_call.h"
#include "server/reads.h"
#include "server/services.h"
#include "server/tail_call.h"
#include "server/unary_call.h"

namespace millrace::server {
namespace {

using v1::Error;

// Which partition a plain append goes to: the one it names, or its key's, or each in turn.
int32_t PlacementOf(const v1::AppendRequest& request, int32_t partitions) {
  static std::atomic<uint32_t> next{0};
  if (request.has_partition()) return request.partition();
  if (request.records(0).has_key()) return PartitionForKey(request.records(0).key(), partitions);
  return static_cast<int32_t>(next.fetch_add(1, std::memory_order_relaxed) % static_cast<uint32_t>(partitions));
}

// All records without `partition` must belong to one: the broker does not split a request.
bool SamePlacement(const v1::AppendRequest& request, int32_t partition, int32_t partitions) {
  if (request.has_partition()) return true;
  for (const v1::PlainRecord& record : request.records()) {
    if (record.has_key() != request.records(0).has_key()) return false;
    if (record.has_key() && PartitionForKey(record.key(), partitions) != partition) return false;
  }
  return true;
}

void Append(Broker& broker, const v1::AppendRequest& request, Reply<v1::AppendResponse> reply, Executor& executor,
            Routing routing) {
  if (request.records().empty()) return reply.Fail(MakeError(Error::INVALID_REQUEST, "no records to append"));
  if (request.acks() < 0 || request.acks() > v1::ACKS_QUORUM)
    return reply.Fail(MakeError(Error::INVALID_REQUEST, "acks is not known"));
  if (ErrorFrame unknown = CheckRouting(request.routing()); !unknown.ok()) return reply.Fail(std::move(unknown));
  auto topic = broker.image()->FindTopic(request.topic());
  const int32_t partitions = topic == nullptr ? 1 : static_cast<int32_t>(topic->partitions.size());
  const int32_t number = PlacementOf(request, partitions);
  ErrorFrame error;
  auto partition = broker.FindPartition(request.topic(), number, 0, &error);
  if (partition == nullptr) return reply.Fail(std::move(error));
  if (ErrorFrame own = CheckWritable(request.topic()); !own.ok()) return reply.Fail(std::move(own));
  if (!SamePlacement(request, number, partitions)) {
    return reply.Fail(
        MakeError(Error::INVALID_REQUEST, request.topic(), number,
                  "the records' keys belong to different partitions; append them one by one, or name the partition"));
  }
  ValidBatch batch;
  if (!ValidateBatch(BatchFromPlain(request.records(), broker.clock().Wall()), *partition->config(),
                     broker.clock().Wall(), &batch, &error)) {
    error.topic = request.topic();
    error.partition = number;
    return reply.Fail(std::move(error));
  }
  const Acks acks =
      request.acks() == v1::ACKS_LEADER || request.acks() == v1::ACKS_NONE ? Acks::kLeader : Acks::kQuorum;
  auto answer = [reply, number, &metrics = broker.ShardOf(executor).metrics, &clock = broker.clock(),
                 start = broker.clock().Monotonic(), records = batch.header.record_count,
                 bytes = static_cast<int64_t>(batch.bytes.size())](const AppendOutcome& outcome) {
    if (!outcome.error.ok()) return reply.Fail(outcome.error);
    metrics.CountAppend(records, bytes);
    metrics.produce_seconds.Record(clock.Monotonic() - start);
    v1::AppendResponse response;
    response.set_partition(number);
    response.set_base_offset(outcome.base_offset.value());
    response.set_append_time(outcome.append_time);
    response.set_leader_epoch(static_cast<int32_t>(outcome.leader_epoch.value()));
    response.set_durability(static_cast<v1::Durability>(outcome.durability));
    response.set_log_start_offset(outcome.log_start.value());
    response.set_high_watermark(outcome.high_watermark.value());
    reply.Send(response);
  };
  if (request.routing() == v1::ROUTING_LEADER_ONLY) routing = Routing::kLeaderOnly;
  v1::AppendRequest elsewhere;
  if (routing == Routing::kAny) elsewhere = request;
  elsewhere.set_partition(number);
  RunOn(partition->executor(), [&broker, partition, batch = std::move(batch), acks, answer, &executor, routing,
                                elsewhere = std::move(elsewhere), reply]() mutable {
    partition->Append(std::move(batch), {.acks = acks},
                      [&broker, partition, answer, &executor, routing, elsewhere = std::move(elsewhere),
                       reply](const AppendOutcome& outcome) {
                        const std::string leader =
                            outcome.error.may_have_happened ? "" : AddressOfLeader(broker, routing, outcome.error);
                        if (leader.empty()) return RunOn(executor, [answer, outcome] { answer(outcome); });
                        AskLeader(broker, *partition, leader, *outcome.error.leader, "/millrace.v1.Broker/Append",
                                  elsewhere.SerializeAsString(), reply, executor);
                      });
  });
}

PositionSpec SpecOf(const v1::OffsetQuery& query) {
  if (query.at_case() == v1::OffsetQuery::kTimestamp) return {PositionSpec::kTimestamp, query.timestamp()};
  return {query.spec() == v1::OFFSET_SPEC_LATEST ? PositionSpec::kLatest : PositionSpec::kEarliest, 0};
}

void ListOffsets(Broker& broker, const v1::ListOffsetsRequest& request, Reply<v1::ListOffsetsResponse> reply,
                 Executor& executor) {
  struct Pending {
    v1::ListOffsetsResponse response;
    int left;
  };
  if (ErrorFrame unknown = CheckRouting(request.routing()); !unknown.ok()) return reply.Fail(std::move(unknown));
  auto pending = std::make_shared<Pending>();
  pending->left = request.queries_size();
  if (pending->left == 0) return reply.Send({});
  for (int i = 0; i < request.queries_size(); ++i) pending->response.add_results();
  for (int i = 0; i < request.queries_size(); ++i) {
    const v1::OffsetQuery& query = request.queries(i);
    auto finish = [&broker, &executor, pending, reply, i](const PositionOutcome& outcome) {
      broker.NoteFailure(executor, outcome.error);
      v1::OffsetResult& result = *pending->response.mutable_results(i);
      if (!outcome.error.ok()) result.mutable_error()->ParseFromString(SerializeError(outcome.error));
      result.set_offset(outcome.offset.value());
      result.set_leader_epoch(static_cast<int32_t>(outcome.bounds.leader_epoch.value()));
      result.set_log_start_offset(outcome.bounds.log_start.value());
      result.set_high_watermark(outcome.bounds.high_watermark.value());
      if (outcome.bounds.leader) *result.mutable_leader() = StubOf(*outcome.bounds.leader);
      if (--pending->left == 0) reply.Send(pending->response);
    };
    pending->response.mutable_results(i)->set_topic(query.topic());
    pending->response.mutable_results(i)->set_partition(query.partition());
    PositionOutcome outcome;
    auto partition = broker.FindPartition(query.topic(), query.partition(), 0, &outcome.error);
    if (partition != nullptr && query.at_case() == v1::OffsetQuery::kTimestamp && query.timestamp() < 0) {
      outcome.error =
          MakeError(Error::INVALID_TIMESTAMP, query.topic(), query.partition(), "timestamps must not be negative");
    }
    const bool known = query.at_case() != v1::OffsetQuery::kSpec || query.spec() == v1::OFFSET_SPEC_EARLIEST ||
                       query.spec() == v1::OFFSET_SPEC_LATEST;
    if (partition != nullptr && !known) {
      outcome.error = MakeError(Error::INVALID_REQUEST, query.topic(), query.partition(),
                                "`spec` is neither OFFSET_SPEC_EARLIEST nor OFFSET_SPEC_LATEST; send one of them");
    }
    if (!outcome.error.ok()) {
      finish(outcome);
    } else {
      ResolvePosition(broker, partition, SpecOf(query), static_cast<Routing>(request.routing()), executor, finish);
    }
  }
}

void InitProducer(Broker& broker, const v1::InitProducerRequest& request, Reply<v1::InitProducerResponse> reply,
                  Executor& executor) {
  NewNamedProducer producer{request.name(), request.session(), request.producer_id(), request.producer_epoch()};
  RunOn(broker.control_executor(), [&broker, producer = std::move(producer), reply, &executor] {
    const auto answer = [reply, &executor](const ErrorFrame& error, int64_t id, int32_t epoch) {
      RunOn(executor, [reply, error, id, epoch] {
        if (!error.ok()) return reply.Fail(error);
        v1::InitProducerResponse response;
        response.set_producer_id(id);
        response.set_producer_epoch(epoch);
        reply.Send(response);
      });
    };
    Controller& controller = broker.metadata().controller();
    if (!producer.name.empty()) return controller.InitNamedProducer(producer, answer);
    controller.NewProducerId([answer](const ErrorFrame& error, int64_t id) { answer(error, id, 0); });
  });
}

}  // namespace

void AddBrokerService(Broker& broker, ServiceRegistry& services) {
  const auto failures = [&broker](Executor& e, const ErrorFrame& error) { broker.NoteFailure(e, error); };
  const std::string prefix = "/millrace.v1.Broker/";
  services.Add(prefix + "Produce", [&broker](Executor& e) { return std::make_unique<ProduceCall>(broker, e); });
  services.Add(prefix + "Fetch", [&broker](Executor& e) { return std::make_unique<FetchCall>(broker, e); });
  services.Add(prefix + "Tail",
               [&broker](Executor& e) { return std::make_unique<TailCall>(broker, e, TailCall::Mode::kFollow); });
  services.Add(prefix + "Read",
               [&broker](Executor& e) { return std::make_unique<TailCall>(broker, e, TailCall::Mode::kOnce); });
  AddForwardable<v1::AppendRequest, v1::AppendResponse>(
      prefix + "Append", failures,
      [&broker](const auto& request, auto reply, Executor& e, Routing routing) {
        Append(broker, request, std::move(reply), e, routing);
      },
      services);
  services.Add(prefix + "ListOffsets", Unary<v1::ListOffsetsRequest, v1::ListOffsetsResponse>(
                                           failures, [&broker](const auto& request, auto reply, Executor& e) {
                                             ListOffsets(broker, request, std::move(reply), e);
                                           }));
  AddControllerMethod(broker, prefix + "InitProducer", failures,
                      Parsed<v1::InitProducerRequest, v1::InitProducerResponse>(
                          [&broker](const auto& request, auto reply, Executor& e) {
                            InitProducer(broker, request, std::move(reply), e);
                          }),
                      services);
}

}  // namespace millrace::server
