#include "tests/cluster_sim/clients.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace millrace::sim {

using std::chrono::milliseconds;
using std::chrono::seconds;

// ---- Producer

ProducerOptions SimProducer::OptionsFor(World& world, int number, const std::vector<std::string>& bootstrap) {
  ProducerOptions options;
  if (number >= Ledger::kFirstNamed) options.name = "named";
  options.client.bootstrap_servers = absl::StrJoin(bootstrap, ",");
  options.linger = milliseconds(world.dice.OneIn(2) ? 0 : world.dice.UpTo(10));
  options.batch_size = world.dice.Between(200, 4000);
  options.delivery_timeout =
      world.swarm.short_delivery ? milliseconds(world.dice.Between(500, 4000)) : milliseconds(3'600'000);
  return options;
}

SimProducer::SimProducer(World& world, int number, const std::vector<std::string>& bootstrap, OnAcked on_acked)
    : ClientProcess(world, absl::StrCat("producer-", number)),
      number_(number),
      on_acked_(std::move(on_acked)),
      core_(environment(), OptionsFor(world, number, bootstrap), bootstrap) {}

SimProducer::~SimProducer() { core_.Stop(); }

void SimProducer::Send(const Place& place) {
  const RecordId id = world_.ledger.Send(number_, place);
  ++world_.coverage.sent;
  const std::string value = world_.ledger.ValueOf(id);
  RecordView record;
  record.timestamp = process_.clock().Wall();
  record.value = value;
  DeliveryCallback callback = [this, id, place](const absl::StatusOr<RecordMetadata>& result) {
    OnDelivered(id, place, result);
  };
  absl::Status refusal;
  const auto outcome = core_.accumulator().Append(
      {.topic = place.topic, .partition = place.partition, .record = record}, &callback, &refusal);
  if (outcome == client::RecordAccumulator::Outcome::kTaken) return;
  world_.ledger.OnFailed(id, /*may_have_happened=*/false);
  process_.Post([this, topic = place.topic] { core_.EnsureTopic(topic); });
}

void SimProducer::OnDelivered(RecordId id, const Place& place, const absl::StatusOr<RecordMetadata>& result) {
  if (result.ok()) {
    ++world_.coverage.acked;
    acked_ = true;
    world_.ledger.OnAcked(id, result->offset);
    if (result->offset >= 0) on_acked_(place, result->offset);
    return;
  }
  const Error error = ErrorFrom(result.status());
  world_.Trace(absl::StrCat("record ", id, " failed: ", std::string(result.status().message())));
  world_.coverage.Saw(Rare::kDeliveryFailed);
  if (error.may_have_happened) world_.coverage.Saw(Rare::kUnknownOutcome);
  world_.ledger.OnFailed(id, error.may_have_happened);
  if (named() && error.code == ErrorCode::kInvalidProducerEpoch) return world_.coverage.Saw(Rare::kProducerFenced);
  if (!world_.swarm.short_delivery && !world_.ledger.MayVanish(place)) {
    world_.ledger.Violate(
        absl::StrCat("record ", id, " failed although there was time: ", std::string(result.status().message())));
  }
}

// ---- Consumer

SimConsumer::SimConsumer(World& world, std::string name, const std::vector<std::string>& bootstrap,
                         const std::vector<std::string>& topics, OnRead on_read)
    : ClientProcess(world, std::move(name)),
      options_({.client = {.bootstrap_servers = absl::StrJoin(bootstrap, ",")}, .on_gap = OnGap::kReport}),
      on_read_(std::move(on_read)),
      core_(environment(), options_, bootstrap, queue_),
      reader_(options_, queue_, this) {
  for (const std::string& topic : topics) {
    assignments_.push_back(
        {.topic = topic, .partition = std::nullopt, .from = Position::Beginning(), .until = std::nullopt});
  }
  process_.Post([this] { Resolve(); });
}

SimConsumer::~SimConsumer() = default;

void SimConsumer::Resolve() {
  core_.Resolve(assignments_, [this](absl::StatusOr<client::ConsumerCore::Partitions> partitions) {
    if (!partitions.ok()) {
      world_.Trace(absl::StrCat(name(), " cannot resolve: ", std::string(partitions.status().message())));
      process_.After(seconds(1), [this] { Resolve(); });
      return;
    }
    reader_.Assign(assignments_, *partitions, process_.clock().Wall());
    core_.Start(assignments_, *partitions);
    assigned_ = true;
  });
}

void SimConsumer::Poll() {
  if (!assigned_) return;
  while (auto news = reader_.Next()) {
    if (!news->ok()) {
      world_.ledger.Violate(absl::StrCat(name(), " fails: ", std::string(news->status().message())));
      return;
    }
    Take(**news);
  }
}

void SimConsumer::Take(const PollResult& news) {
  for (const Gap& gap : news.gaps) {
    const Place place{std::string(gap.topic), gap.partition};
    world_.coverage.Saw(Rare::kGapRead);
    world_.Trace(absl::StrCat(name(), " hears of a gap in ", place.topic, "/", place.partition, " from ", gap.from,
                              " to ", gap.to));
    world_.ledger.OnGap(place, gap.from, gap.to);
    next_[place] = gap.to;
  }
  for (const ConsumerRecord& record : news.records) TakeRecord(record);
}

void SimConsumer::TakeRecord(const ConsumerRecord& record) {
  const Place place{std::string(record.topic), record.partition};
  ++world_.coverage.read;
  const auto next = next_.find(place);
  if (next == next_.end()) {
    world_.ledger.OnGap(place, 0, record.offset);  // it begins where the log does
  } else if (next->second != record.offset) {
    world_.ledger.Violate(absl::StrCat(name(), " reads ", place.topic, "/", place.partition, " at ", record.offset,
                                       ", expected ", next->second));
  }
  next_[place] = record.offset + 1;
  const RecordId id = world_.ledger.OnRead(place, record.offset, record.value.value_or(""));
  if (id < 0) return;
  const auto [last, is_first] = last_.try_emplace({place, world_.ledger.ProducerOf(id)}, id);
  if (!is_first && last->second >= id) {
    world_.ledger.Violate(absl::StrCat(name(), " reads ", place.topic, "/", place.partition, " at ", record.offset,
                                       ": record ", id, " after ", last->second, " of the same producer"));
  }
  last->second = id;
  on_read_(place, record.offset);
}

int64_t SimConsumer::position(const Place& place) const {
  for (const PartitionProgress& progress : reader_.progress()) {
    if (progress.topic == place.topic && progress.partition == place.partition) return progress.position;
  }
  return -1;
}

bool SimConsumer::AtEndOf(const std::string& topic) const {
  bool any = false;
  for (const PartitionProgress& progress : reader_.progress()) {
    if (progress.topic != topic) continue;
    any = true;
    if (progress.position < 0 || progress.position < progress.high_watermark) return false;
  }
  return any;
}

void SimConsumer::Reposition(const std::shared_ptr<client::FetchPartition>& partition, uint64_t generation,
                             Position position) {
  process_.Post([=, this] { core_.Reposition(partition, generation, position); });
}
void SimConsumer::Add(const std::shared_ptr<client::FetchPartition>& partition, uint64_t generation,
                      Position position) {
  process_.Post([=, this] { core_.Add(partition, generation, position); });
}

void SimConsumer::Remove(const std::shared_ptr<client::FetchPartition>& partition, uint64_t generation) {
  process_.Post([=, this] { core_.Remove(partition, generation); });
}

void SimConsumer::Halt(const std::shared_ptr<client::FetchPartition>& partition, uint64_t generation) {
  process_.Post([=, this] { core_.Halt(partition, generation); });
}
void SimConsumer::GrantCredit() {
  process_.Post([this] { core_.GrantCredit(); });
}

// ---- Operator

void SimOperator::Ask(const char* method, absl::Cord request, Done done) {
  process_.Post([this, method, request = std::move(request), done = std::move(done)] {
    control_.Call(method, request, {.timeout = seconds(10), .repeat = client::Repeat::kSafe},
                  [done](const absl::StatusOr<absl::Cord>& reply) {
                    if (done != nullptr) done(reply);
                  });
  });
}

}  // namespace millrace::sim
