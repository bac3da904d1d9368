#include "server/server.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <future>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "proto/transport/grpc_transport.h"
#include "proto/wire/check.h"
#include "server/broker.h"
#include "server/cluster_entry.h"
#include "server/cluster_metrics.h"
#include "server/errors.h"
#include "server/heap.h"
#include "server/http_server.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/peer_frames.h"
#include "server/peer_gate.h"
#include "server/peer_service.h"
#include "server/process_limits.h"
#include "server/rpc_server.h"
#include "server/services.h"
#include "server/traffic_watch.h"
#include "server/work_pool.h"
#include "storage/rocks_log_store.h"
#include "storage/store_directory.h"

namespace millrace::server {
namespace {

constexpr int kColdReadThreads = 2;
constexpr std::chrono::milliseconds kShutdownGrace{300};
// The largest message taken: the largest batch there may be, and as much again, so that a batch that is too large gets its
// typed error and not gRPC's refusal.
constexpr int64_t kMessageBytesMax = 2 * kMaxMessageBytesLimit;
static_assert(kMessageBytesMax >= kPeerFrameBytesMax);
// Shares of memory.limit; broker.cc has those of messages under way.
constexpr int64_t kCacheShare = 8;
constexpr int64_t kMemtableShare = 4;
// What the heap comes to under load besides the cache: at most so much, and this share.
constexpr int64_t kHeapBesideCache = 64 << 20;
constexpr int64_t kHeapBesideCacheShare = 8;
// So many times what comes in a second: where that is much, all is filled within the first two seconds. With 4 it took ten
// at 25 MB/s, with the fillers of three brokers on two cores in everybody's way once a second.
constexpr int64_t kFillAhead = 32;
// Larger memtables, and WAL files of their size, make flushes rarer and larger, a restart longer, and nothing faster.
constexpr int64_t kMemtableBytesMax = 256 << 20;
// What gRPC counts as its own includes the messages that the cache and the appends under way refer to. Close to it gRPC grants
// senders less; past it, it ends streams that hold much.
constexpr int64_t kGrpcShare = 2;

// Any thread.
class SystemRandom : public Random {
 public:
  uint64_t Next() override {
    uint64_t number = 0;
    MILLRACE_CHECK(getentropy(&number, sizeof(number)) == 0);
    return number;
  }
};

DiskSpace DiskSpaceOf(const std::string& directory) {
  struct statvfs fs;
  if (statvfs(directory.c_str(), &fs) != 0) return {};
  return {static_cast<int64_t>(fs.f_bavail) * static_cast<int64_t>(fs.f_frsize),
          static_cast<int64_t>(fs.f_blocks) * static_cast<int64_t>(fs.f_frsize)};
}

// What reached the disk is unknown: going on could ack what is lost. The next start recovers from what is there.
[[noreturn]] void StopForStore(const absl::Status& status) {
  MILLRACE_LOG(kError,
               absl::IsDataLoss(status) ? "the store is damaged; stopping to be safe"
                                        : "the store failed; stopping to be safe. Look at the disk, then start again",
               {"status", status.ToString()});
  std::_Exit(kExitStoreFailed);
}

// What the logs of groups are called, once the topics are known. Any thread.
class LogNames {
 public:
  void Know(const Broker* broker) { broker_ = broker; }
  std::string Of(raft::GroupId first, raft::GroupId last) const {
    constexpr size_t kNamesMax = 20;
    const Broker* const broker = broker_;
    if (broker == nullptr) return "";
    std::vector<std::string> names;
    size_t more = 0;
    const auto image = broker->image();
    for (const auto& [name, topic] : image->topics()) {
      for (size_t i = 0; i < topic->partitions.size(); ++i) {
        if (topic->partitions[i].group < first || topic->partitions[i].group > last) continue;
        names.size() < kNamesMax ? names.push_back(absl::StrCat(name, "-", i)) : void(++more);
      }
    }
    return absl::StrCat(absl::StrJoin(names, ", "), more > 0 ? absl::StrCat(" and ", more, " more") : "");
  }

 private:
  std::atomic<const Broker*> broker_{nullptr};
};

TrafficWatch::Traffic TrafficOf(const Broker& broker) {
  TrafficWatch::Traffic traffic;
  for (const auto& shard : broker.shards()) {
    traffic.bytes_in += shard->metrics.bytes_in.Value();
    traffic.bytes_out += shard->metrics.bytes_out.Value();
  }
  return traffic;
}

void EmitStore(const storage::StoreStats& stats, const Metrics::Emit& emit) {
  const auto gauge = [&emit](const char* name, const char* help, uint64_t value) {
    emit({.name = name, .help = help, .value = static_cast<double>(value)});
  };
  gauge("millrace_store_cache_bytes", "Memory of recent entries kept for readers.", stats.cached_bytes);
  gauge("millrace_store_memtable_bytes", "Memory of keys, places and small payloads that were not flushed yet.",
        stats.memtable_bytes);
  gauge("millrace_store_wal_bytes", "Size of the write-ahead log's files.", stats.wal_file_bytes);
  gauge("millrace_store_moved_bytes", "Size of the files that payloads were moved into.", stats.moved_file_bytes);
  gauge("millrace_store_moved_files", "Number of the files that payloads were moved into.", stats.moved_files);
  gauge("millrace_store_dead_bytes", "Payloads of removed entries in files that stay, as far as the tables tell.",
        stats.dead_bytes);
  gauge("millrace_store_kept_wal_bytes", "Size of the WAL files kept for the payloads in them.", stats.kept_wal_bytes);
  gauge("millrace_store_kept_wal_files", "Number of the WAL files kept for the payloads in them.",
        stats.kept_wal_files);
  gauge("millrace_store_sst_bytes", "Size of the tables: keys, places and small payloads.", stats.sst_file_bytes);
  gauge("millrace_store_sst_files", "Number of the tables.", stats.sst_files);
  gauge("millrace_store_read_only_logs", "Partitions in use whose end is damaged: read, not appended to.",
        stats.read_only_logs);
  emit({.name = "millrace_store_reclaims_total",
        .help = "Compactions that gave the space of removed entries back.",
        .value = static_cast<double>(stats.reclaims),
        .is_counter = true});
  emit({.name = "millrace_store_evacuations_total",
        .help = "Compactions that moved payloads out of files that were hardly alive.",
        .value = static_cast<double>(stats.evacuations),
        .is_counter = true});
  for (const auto& [kind, bytes] :
       {std::pair("wal", stats.wal_bytes_written), std::pair("moved", stats.moved_bytes_written),
        std::pair("sst", stats.sst_bytes_written)}) {
    emit({.name = "millrace_store_written_bytes_total",
          .help = "Bytes written to the store's files, by kind.",
          .value = static_cast<double>(bytes),
          .is_counter = true,
          .labels = {{"kind", kind}}});
  }
  emit({.name = "millrace_store_file_syncs_total",
        .help = "Syncs of the store's files.",
        .value = static_cast<double>(stats.file_syncs),
        .is_counter = true});
}

// Of what a founder or adopted broker begins with; on the disk when it returns.
absl::Status MakeMetadata(raft::LogStore& store, const Identity& member) {
  const bool founds = std::ranges::find(member.founders, member.self) != member.founders.end();
  if (absl::Status status = MakeMetadataLog(store, founds ? member.founders : raft::ReplicaSet()); !status.ok()) {
    return status;
  }
  std::promise<absl::Status> synced;
  store.Sync([&synced](absl::Status status) { synced.set_value(std::move(status)); });
  return synced.get_future().get();
}

void AwaitDone(const std::function<void(std::function<void()> done)>& begin) {
  std::promise<void> promise;
  begin([&promise] { promise.set_value(); });
  promise.get_future().wait();
}

// Waits for the value, or until the process is asked to stop.
template <typename T>
T Await(std::promise<T>& promise, const std::function<bool()>& stop_requested) {
  constexpr std::chrono::milliseconds kLook{50};
  std::future<T> value = promise.get_future();
  while (value.wait_for(kLook) != std::future_status::ready) {
    if (stop_requested()) return absl::CancelledError("asked to stop");
  }
  return value.get();
}

HostPort WithPort(HostPort address, int port) {
  address.port = static_cast<uint16_t>(port);
  return address;
}

}  // namespace

struct Server::Parts {
  SystemClock clock;
  SystemRandom random;
  Health health;
  std::atomic<bool> serving{false};
  HostPort listen;
  HostPort advertise;
  int64_t start_ms = 0;
  // In order of construction; taken down in reverse.
  std::unique_ptr<Metrics> metrics;
  LogNames names;
  std::unique_ptr<storage::RocksLogStore> store;
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<RpcServer> rpc;
  // Of each loop; made and destroyed on it.
  std::vector<std::unique_ptr<GrpcTransport>> links, calls;
  std::unique_ptr<PeerPresence> presence;
  std::unique_ptr<PeerGate> gate;
  std::unique_ptr<PeerAsker> ask;
  std::unique_ptr<ClusterEntry> entry;  // destroyed on the first loop
  std::unique_ptr<Broker> broker;
  std::unique_ptr<HeapFiller> heap_filler;
  std::unique_ptr<TrafficWatch> traffic_watch;  // made and destroyed on the first loop
  ServiceRegistry services_before;              // until this broker is in a cluster
  ServiceRegistry services_loading;             // until it has caught up with it
  ServiceRegistry services;
  std::unique_ptr<HttpServer> http;
};

Server::Server(Config config)
    : config_(std::move(config)), started_(std::chrono::steady_clock::now()), parts_(std::make_unique<Parts>()) {}

Server::~Server() = default;

absl::Status Server::OpenStore() {
  storage::RocksLogStore::Options options;
  options.directory = config_.data_dir;
  options.cache_bytes = config_.memory_limit / kCacheShare;
  options.memory_bytes = std::min(config_.memory_limit / kMemtableShare, kMemtableBytesMax);
  options.payloads_once = config_.payloads_once;
  options.name_logs = [&names = parts_->names](raft::GroupId first, raft::GroupId last) {
    return names.Of(first, last);
  };
  options.space_is_short = [dir = config_.data_dir, floor = config_.disk_free_floor] {
    return DiskSpaceOf(dir).free_bytes < floor;
  };
  options.on_sync_thread = PreferThisThread;
  options.on_fatal = StopForStore;
  auto store = storage::RocksLogStore::Open(std::move(options));
  if (!store.ok()) return store.status();
  parts_->store = *std::move(store);
  if (parts_->store->os_crashed()) {
    MILLRACE_LOG(
        kWarning,
        "the machine went down without a clean stop of the broker: records of flush=async topics that were acked "
        "and not yet synced may be lost; the leader epoch rises, so that readers of such records are told",
        {"data", config_.data_dir});
  } else if (!parts_->store->opened_clean()) {
    MILLRACE_LOG(kInfo, "recovered after a stop that was not clean", {"data", config_.data_dir});
  }
  const std::string cut = parts_->store->cut_log();
  if (!cut.empty() && parts_->store->lost_synced()) {
    MILLRACE_LOG(
        kWarning,
        "the write-ahead log ends in something that cannot be read: what a crash of the machine took of what was not "
        "synced, or damage to what was synced last",
        {"from", cut});
  } else if (!cut.empty()) {
    MILLRACE_LOG(kInfo, "the write-ahead log ends in a write that was cut short; nothing of it had been acked",
                 {"from", cut});
  }
  if (config_.disk_free_floor > DiskSpaceOf(config_.data_dir).free_bytes) {
    MILLRACE_LOG(kWarning, "less than disk.free.floor is free: records will be refused until there is room",
                 {"free_bytes", DiskSpaceOf(config_.data_dir).free_bytes}, {"floor_bytes", config_.disk_free_floor});
  }
  return absl::OkStatus();
}

// A store without a file is new, or has lost it; see identity.h.
absl::StatusOr<Identity> Server::FindOrMakeIdentity(const std::optional<Identity>& found) {
  const int32_t broker = config_.broker_id.value_or(config_.join.empty() ? kDefaultBrokerId : -1);
  if (found) {
    Identity identity = *found;
    // Until the disk has pledged itself or was taken in, the number of an earlier start binds nobody.
    const bool is_given = config_.broker_id || !config_.join.empty();
    if (identity.stage == Identity::Stage::kNone && is_given) identity.self.broker = raft::BrokerId(broker);
    return CountStart(identity);
  }
  const auto groups = parts_->store->List();
  if (!groups.ok()) return groups.status();
  const auto made = MakeIdentity(config_.data_dir, groups->empty(), raft::BrokerId(broker), parts_->random);
  return made.ok() ? CountStart(*made) : made;
}

// On the disk before anybody hears of this start.
absl::StatusOr<Identity> Server::CountStart(Identity identity) const {
  ++identity.starts;
  if (absl::Status status = WriteIdentity(config_.data_dir, identity); !status.ok()) return status;
  return identity;
}

absl::Status Server::Listen() {
  Parts& p = *parts_;
  p.rpc = std::make_unique<RpcServer>(
      RpcServer::Options{config_.listen, config_.io_threads, kMessageBytesMax, config_.memory_limit / kGrpcShare});
  if (absl::Status status = p.rpc->Bind(); !status.ok()) {
    p.rpc.reset();  // its loops do not run
    return status;
  }
  p.listen = WithPort(config_.listen, p.rpc->port());
  p.advertise = config_.advertise.port == 0 ? WithPort(config_.advertise, p.rpc->port()) : config_.advertise;
  p.links.resize(p.rpc->loops());
  p.calls.resize(p.rpc->loops());
  AwaitOnEachLoop([&p](int loop) {
    p.links[loop] =
        std::make_unique<GrpcTransport>(p.rpc->loop(loop), GrpcTransport::Options{.connection_per_stream = true});
    p.calls[loop] = std::make_unique<GrpcTransport>(p.rpc->loop(loop), GrpcTransport::Options());
  });
  auto http = HttpServer::Start(config_.http, {p.health, [&metrics = *p.metrics] { return metrics.Text(); }});
  if (!http.ok()) return http.status();
  p.http = *std::move(http);
  return absl::OkStatus();
}

// Before it belongs to a cluster a broker answers other brokers, and tells everybody else to wait.
absl::StatusOr<Identity> Server::EnterCluster(const Identity& identity, const std::function<bool()>& stop_requested) {
  Parts& p = *parts_;
  p.presence = std::make_unique<PeerPresence>(p.clock);
  const PeerSecret secret(config_.peer_secret);
  p.gate = std::make_unique<PeerGate>(PeerIdentity{.life = {identity.self, p.random.Next()},
                                                   .build = MILLRACE_VERSION,
                                                   .address = AddressForPeers(),
                                                   .starts = identity.starts},
                                      secret, *p.presence, p.random);
  p.ask = std::make_unique<PeerAsker>(*p.calls.front(), secret, p.random);
  Formation::Options options{.identity = identity};
  if (config_.broker_id) options.broker = raft::BrokerId(*config_.broker_id);
  for (const auto& [id, address] : config_.cluster) options.cluster.push_back({raft::BrokerId(id), address.ToString()});
  for (const HostPort& address : config_.join) options.join.push_back(address.ToString());
  Executor& home = p.rpc->loop(0);
  p.entry = std::make_unique<ClusterEntry>(
      std::move(options),
      ClusterEntry::Seams{
          .executor = home,
          .clock = p.clock,
          .peers = *p.ask,
          .self = {identity.self, p.advertise.ToString(), config_.rack, kFeatureLevels, MILLRACE_VERSION,
                   p.gate->self().life.session, identity.starts},
          .write =
              [this, starts = identity.starts](Identity next) {
                next.starts = starts;
                return WriteIdentity(config_.data_dir, next);
              },
          .make_metadata_log = [this](const Identity& next) { return MakeMetadata(*parts_->store, next); },
          .on_waiting =
              [&p](const std::string& why) {
                if (!why.empty()) p.health.SetNotReady(why);
              }});
  for (ServiceRegistry* services : {&p.services_before, &p.services_loading, &p.services}) {
    if (secret.empty()) break;  // a broker that is alone and wants to be
    AddIntroduceService(
        secret, home, [&p](const Introduction& asker) { return p.entry->OnIntroduced(asker); }, *services);
  }
  AddHealthService([&serving = p.serving] { return serving.load(); }, p.services_before);
  AddNotReady([&p] { return p.health.WhyNotReady(); }, p.services_before);
  p.rpc->Serve(p.services_before);
  const auto entered = std::make_shared<std::promise<absl::StatusOr<Identity>>>();
  home.Post([&p, entered] {
    p.entry->Start([entered](absl::StatusOr<Identity> member) { entered->set_value(std::move(member)); });
  });
  return Await(*entered, stop_requested);
}

// As --cluster has it, if it does: that list is of addresses for use among brokers.
std::string Server::AddressForPeers() const {
  const auto listed = config_.broker_id ? config_.cluster.find(*config_.broker_id) : config_.cluster.end();
  return (listed == config_.cluster.end() ? parts_->advertise : listed->second).ToString();
}

void Server::MakeBroker(const Identity& member) {
  Parts& p = *parts_;
  p.gate->SetCluster(member.cluster_id(), member.self);
  Broker::Options options;
  options.self = member.self;
  options.founders = member.founders;
  for (const auto& [id, address] : config_.cluster) options.listed.push_back({raft::BrokerId(id), address.ToString()});
  options.address = p.advertise.ToString();
  options.rack = config_.rack;
  options.topic_defaults = config_.topic_defaults;
  options.memory_limit = config_.memory_limit;
  options.start_time = p.clock.Wall();
  options.disk_space = [dir = config_.data_dir] { return DiskSpaceOf(dir); };
  options.disk_free_floor = config_.disk_free_floor;
  options.on_waiting = [&p](const std::string& why) { p.health.SetNotReady(why); };
  std::vector<Broker::Loop> loops;
  for (int i = 0; i < p.rpc->loops(); ++i) loops.push_back({p.rpc->loop(i), *p.links[i], *p.calls[i]});
  p.broker = std::make_unique<Broker>(std::move(options), *p.store, p.clock, p.random, *p.pool, *p.metrics, *p.gate,
                                      loops, StopForStore);
  AddBrokerService(*p.broker, p.services);
  AddAdminService(*p.broker, p.services);
  AddForwardService(*p.broker, p.services);
  AddGroupService(*p.broker, p.services);
  AddReflectionService(p.services);
  AddNotReady([&p] { return p.health.WhyNotReady(); }, p.services_loading);
  for (ServiceRegistry* services : {&p.services_loading, &p.services}) {
    if (!config_.peer_secret.empty()) AddPeerServices(*p.broker, *p.gate, *services);
    AddHealthService([&serving = p.serving] { return serving.load(); }, *services);
  }
}

// On the first executor, where the controller lives. Only once what it wrote is on the disk is a crash of the machine dealt with.
absl::Status Server::LoadBroker(const std::function<bool()>& stop_requested) {
  Parts& p = *parts_;
  const auto loaded = std::make_shared<std::promise<absl::StatusOr<size_t>>>();
  p.heap_filler = std::make_unique<HeapFiller>(
      config_.memory_limit / kCacheShare + std::min(kHeapBesideCache, config_.memory_limit / kHeapBesideCacheShare));
  p.health.SetNotReady("catching up with the cluster");
  p.rpc->loop(0).Post([&p, loaded] {
    p.traffic_watch = std::make_unique<TrafficWatch>(
        p.rpc->loop(0), [&p] { return TrafficOf(*p.broker); },
        [&p](uint64_t bytes_in_most) { p.heap_filler->Fill(kFillAhead * static_cast<int64_t>(bytes_in_most)); },
        [&p] {
          ReturnFreeMemory();
          p.heap_filler->Fill(0);
        });
    p.entry->SetCounts([&p](raft::ReplicaId disk) {
      const auto image = p.broker->image();
      return image != nullptr && image->Counts(disk);
    });
    const auto may_have_lost = p.store->lost_synced()  ? Partition::Lost::kAnything
                               : p.store->os_crashed() ? Partition::Lost::kUnsynced
                                                       : Partition::Lost::kNothing;
    p.broker->Load(may_have_lost,
                   [loaded](absl::StatusOr<size_t> not_started) { loaded->set_value(std::move(not_started)); });
  });
  const absl::StatusOr<size_t> not_started = Await(*loaded, stop_requested);
  const absl::Status& status = not_started.status();
  if (absl::IsDataLoss(status)) {
    return absl::DataLossError(
        absl::StrCat("the store in ", config_.data_dir, " is damaged where the broker's own metadata lies: ",
                     ToStdString(status.message()), "; keep a copy of the directory, let `millrace inspect ",
                     config_.data_dir, "` tell what can be read, and restore it from a backup"));
  }
  if (!status.ok()) return status;
  if (*not_started == 0) return p.store->ForgetOsCrash();
  if (!p.store->os_crashed() && !p.store->lost_synced()) return status;
  MILLRACE_LOG(kWarning, "what the last stop may have cost is looked for again at the next start",
               {"partitions", *not_started});
  return status;
}

// Brokers that were each started alone once stay clusters of one each, whatever --cluster says later: three of them would look like
// the cluster that was meant. (Where there are more, a list may still name one that has left.)
absl::Status Server::CheckNotAlone(const Identity& member) const {
  const auto& known = parts_->broker->image()->brokers();
  const bool alone = member.founders.size() == 1 && known.size() == 1;
  if (!alone || config_.cluster.size() <= 1) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the data directory ", config_.data_dir,
                   " is that of a cluster of this broker alone, but --cluster names ", config_.cluster.size(),
                   " brokers. To add the others to it, start this one without --cluster and those with --join ",
                   AddressForPeers(), "; to form a new cluster, give this one an empty directory, too"));
}

absl::Status Server::Start(const std::function<bool()>& stop_requested) {
  Parts& p = *parts_;
  p.metrics = std::make_unique<Metrics>(
      Metrics::Options{config_.data_dir, config_.memory_limit, config_.disk_free_floor,
                       [](int code) { return v1::Error::Code_Name(static_cast<ErrorCode>(code)); }});
  const auto found = FindIdentity(config_.data_dir, storage::StoreDirectory::Exists(config_.data_dir));
  if (!found.ok()) return found.status();
  if (absl::Status status = OpenStore(); !status.ok()) return status;
  const absl::StatusOr<Identity> identity = FindOrMakeIdentity(*found);
  if (!identity.ok()) return identity.status();
  p.pool = std::make_unique<ThreadPool>(kColdReadThreads);
  if (absl::Status status = Listen(); !status.ok()) return status;
  const absl::StatusOr<Identity> member = EnterCluster(*identity, stop_requested);
  if (!member.ok()) return member.status();
  MakeBroker(*member);
  // What it knows of topics may be years old until it has caught up: clients wait so long.
  p.rpc->Serve(p.services_loading);
  if (absl::Status status = LoadBroker(stop_requested); !status.ok()) return status;
  if (absl::Status status = CheckNotAlone(*member); !status.ok()) return status;
  p.rpc->Serve(p.services);
  RegisterMetrics();
  p.broker->StartRetention();
  p.names.Know(p.broker.get());
  p.serving = true;
  p.health.SetReady();
  p.start_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - started_).count();
  MILLRACE_LOG(kInfo, "started", {"version", MILLRACE_VERSION}, {"broker", member->self.broker.value()},
               {"listen", p.listen.ToString()}, {"data", config_.data_dir}, {"memory.limit", config_.memory_limit},
               {"disk.free.floor", config_.disk_free_floor}, {"io.threads", config_.io_threads},
               {"topics", p.broker->image()->topics().size()}, {"partitions", p.broker->image()->partitions()},
               {"start_ms", p.start_ms});
  return absl::OkStatus();
}

void Server::RegisterMetrics() {
  parts_->metrics->AddSource([this, os_crashed = parts_->store->os_crashed()](const Metrics::Emit& emit) {
    const auto image = parts_->broker->image();
    emit({.name = "millrace_topics",
          .help = "Topics of the cluster.",
          .value = static_cast<double>(image->topics().size())});
    emit({.name = "millrace_calls_open",
          .help = "Calls and streams open.",
          .value = static_cast<double>(parts_->rpc->calls())});
    emit({.name = "millrace_os_crash_recovered",
          .help = "1 if this start followed a crash of the machine, after which unsynced records may be missing.",
          .value = os_crashed ? 1.0 : 0.0});
  });
  AddClusterMetrics(*parts_->broker, *parts_->metrics);
  parts_->metrics->AddSource([&store = *parts_->store](const Metrics::Emit& emit) { EmitStore(store.Stats(), emit); });
}

std::string Server::ReadyLine() const {
  return absl::StrCat("ready broker=", parts_->broker->options().self.broker.value(),
                      " listen=", parts_->listen.ToString(), " http=", parts_->http->Address().ToString(),
                      " data=", config_.data_dir, " start_ms=", parts_->start_ms);
}

void Server::Stop() {
  Parts& p = *parts_;
  const bool served = p.serving.exchange(false);
  p.health.SetNotReady("stopping");
  if (served) {
    p.broker->StopRetention();
    AwaitDone([&p](auto done) { p.broker->HandOver(std::move(done)); });
    AwaitDone([&p](auto done) { p.broker->Disconnect(std::move(done)); });
    AwaitDone([&p](auto done) { p.broker->SavePartitions(std::move(done)); });
  }
  if (p.rpc != nullptr) {
    p.rpc->EndCalls(kShutdownGrace);
    EndLoops();
  }
  p.heap_filler.reset();
  p.http.reset();
  p.pool.reset();
  // Before the executors go: a sync that is still running reports to them.
  if (p.store != nullptr) {
    if (absl::Status status = p.store->Close(); !status.ok()) {
      MILLRACE_LOG(kError, "closing the store failed", {"status", status.ToString()});
    }
  }
  p.names.Know(nullptr);
  p.broker.reset();
  p.rpc.reset();
  p.store.reset();
}

// What lives on the loops goes before they do.
void Server::EndLoops() {
  Parts& p = *parts_;
  if (p.broker != nullptr) AwaitDone([&p](auto done) { p.broker->Disconnect(std::move(done)); });
  AwaitOnEachLoop([&p](int loop) {
    if (loop == 0) {
      p.traffic_watch.reset();
      p.entry.reset();
    }
    if (loop < static_cast<int>(p.links.size())) {
      p.links[loop].reset();
      p.calls[loop].reset();
    }
  });
  p.rpc->StopLoops();
}

void Server::AwaitOnEachLoop(const std::function<void(int loop)>& task) {
  for (int i = 0; i < parts_->rpc->loops(); ++i) {
    std::promise<void> done;
    parts_->rpc->loop(i).Post([&task, i, &done] {
      task(i);
      done.set_value();
    });
    done.get_future().wait();
  }
}

}  // namespace millrace::server
