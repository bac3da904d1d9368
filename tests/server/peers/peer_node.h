// A broker as its peers see it: the two ends of its links on a simulated network, and what they told.
//
//     PeerNode a(executor, network, {.id = 1}), b(executor, network, {.id = 2});
//     a.Know({&b}); b.Know({&a});
//     executor.Advance(…);                        // a.up holds b
//     a.Send(b, 7, raft::VoteRequest{});          // b.messages
#pragma once

#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/peer_links.h"
#include "server/peer_service.h"
#include "tests/support/sim_executor.h"
#include "tests/support/sim_network.h"

namespace millrace::server {

// Can stand still, as a process that is stopped: what was to run runs later.
class HoldableExecutor : public Executor {
 public:
  explicit HoldableExecutor(Executor& executor) : executor_(executor) {}

  bool held = false;

  void Post(Task task) override {
    executor_.Post([this, task = std::move(task)] { held ? late_.push_back(task) : task(); });
  }
  void Defer(Task task) override {
    executor_.Defer([this, task = std::move(task)] { held ? late_.push_back(task) : task(); });
  }
  TimerId After(std::chrono::nanoseconds delay, Task task) override {
    auto timer = std::make_shared<TimerId>();
    *timer = executor_.After(
        delay, [this, timer, task = std::move(task)] { held ? void(late_timers_.emplace(*timer, task)) : task(); });
    return *timer;
  }
  void Cancel(TimerId timer) override {
    executor_.Cancel(timer);
    late_timers_.erase(timer);
  }
  bool OnThread() const override { return true; }

  void Release() {
    held = false;
    for (const Task& task : std::exchange(late_, {})) task();
    while (!late_timers_.empty()) late_timers_.extract(late_timers_.begin()).mapped()();
  }

 private:
  Executor& executor_;
  std::vector<Task> late_;
  std::map<TimerId, Task> late_timers_;  // by age
};

// Counts the links that are opened, and can cut them without telling either end.
class CuttableTransport : public ClientTransport {
 public:
  explicit CuttableTransport(ClientTransport& transport) : transport_(transport) {}

  int opened = 0;

  // Streams that are open now carry nothing any more. Their other ends hear no end until ForgetCut().
  void Cut() {
    for (const auto& wire : wires_) wire->cut = true;
    std::move(wires_.begin(), wires_.end(), std::back_inserter(cut_));
    wires_.clear();
  }
  void ForgetCut() { cut_.clear(); }

  std::unique_ptr<Stream> OpenStream(const std::string& address, const std::string& method,
                                     StreamHandler* handler) override {
    ++opened;
    std::erase_if(wires_, [](const auto& wire) { return wire->handler == nullptr; });
    auto wire = std::make_shared<Wire>();
    wire->handler = handler;
    wire->stream = transport_.OpenStream(address, method, wire.get());
    wires_.push_back(wire);
    return std::make_unique<End>(std::move(wire));
  }
  void Call(const std::string& address, const std::string& method, absl::Cord request, std::chrono::nanoseconds timeout,
            std::function<void(CallReply)> done) override {
    transport_.Call(address, method, std::move(request), timeout, std::move(done));
  }

 private:
  struct Wire : StreamHandler {
    void OnMessage(absl::Cord message) override {
      if (!cut && handler != nullptr) handler->OnMessage(std::move(message));
    }
    void OnWritten() override {
      if (!cut && handler != nullptr) handler->OnWritten();
    }
    void OnClosed(CallEnd end) override {
      if (!cut && handler != nullptr) handler->OnClosed(std::move(end));
    }

    std::unique_ptr<Stream> stream;
    StreamHandler* handler = nullptr;  // nullptr: its end was let go
    bool cut = false;
  };
  struct End : Stream {
    explicit End(std::shared_ptr<Wire> w) : wire(std::move(w)) {}
    ~End() override {
      wire->handler = nullptr;
      if (!wire->cut) wire->stream.reset();
    }
    void Read() override {
      if (!wire->cut) wire->stream->Read();
    }
    void Write(absl::Cord message) override {
      if (!wire->cut) wire->stream->Write(std::move(message));
    }
    void Finish(CallEnd end) override { wire->stream->Finish(std::move(end)); }

    const std::shared_ptr<Wire> wire;
  };

  ClientTransport& transport_;
  std::vector<std::shared_ptr<Wire>> wires_, cut_;
};

class PeerNode : public PeerSink, public PeerLinks::Listener {
 public:
  struct Options {
    int64_t id = 1;
    uint64_t incarnation = 0;  // 0: of its own
    uint64_t session = 0;      // 0: of its own
    std::string cluster = "c";
    std::string secret = "";
    uint32_t protocol_min = kPeerProtocolMin;
    uint32_t protocol_max = kPeerProtocolMax;
    bool tells_address = false;
  };

  PeerNode(SimExecutor& executor, SimNetwork& network, const Options& options)
      : loop(executor),
        transport(network),
        presence(executor.clock()),
        gate(IdentityOf(options), PeerSecret(options.secret), presence, random_),
        self_(IdentityOf(options)),
        executor_(executor),
        network_(network),
        random_(static_cast<uint64_t>(options.id)) {
    AddPeerService(
        gate, [this](Executor&) -> PeerSink& { return *this; }, services_);
    network_.Attach(address(), services_);
    links = std::make_unique<PeerLinks>(
        PeerLinks::Options{
            .self = self_, .secret = PeerSecret(options.secret), .storage_progresses = [this] { return progressing; }},
        presence, transport, loop, executor.clock(), random_, *this);
  }
  // As a process that is killed: its connections are closed, and nothing more is said.
  ~PeerNode() override {
    links.reset();
    transport.ForgetCut();
    network_.Detach(address());
    executor_.RunUntilIdle();
  }

  raft::ReplicaId replica() const { return self_.life.replica; }
  const PeerIdentity& identity() const { return self_; }
  ServiceRegistry& services() { return services_; }
  std::string address() const { return AddressOf(replica().broker.value()); }
  static std::string AddressOf(int64_t id) { return "broker-" + std::to_string(id) + ":9470"; }

  void Know(const std::vector<int64_t>& ids) {
    std::map<raft::BrokerId, PeerAddress> peers;
    for (const int64_t id : ids) peers[raft::BrokerId(id)] = {.address = AddressOf(id)};
    links->SetPeers(peers);
  }

  template <typename Body>
  void Send(raft::ReplicaId to, int64_t group, Body body) {
    links->Send(raft::GroupId(group), {.from = replica(), .to = to, .term = raft::Term(1), .body = std::move(body)});
  }

  bool IsUp(int64_t id) const { return up.contains(raft::BrokerId(id)); }

  void OnMessages(raft::ReplicaId from, std::vector<GroupMessage> all) override {
    ++frames;
    for (GroupMessage& m : all) {
      EXPECT_EQ(m.message.from, from);
      messages.push_back(std::move(m));
    }
  }
  void OnLeaders(raft::ReplicaId, std::vector<GroupLeader> all) override {
    leaders.insert(leaders.end(), all.begin(), all.end());
  }
  void WhenReady(std::function<void()> read) override { ready ? read() : waiting.push_back(std::move(read)); }

  void OnPeerUp(raft::ReplicaId peer) override {
    EXPECT_FALSE(up.contains(peer.broker));
    up[peer.broker] = peer;
    ++ups;
  }
  void OnPeerDown(raft::BrokerId peer) override {
    EXPECT_EQ(up.erase(peer), 1) << peer;
    ++downs;
  }
  void OnDrained(raft::BrokerId) override {}
  void OnLost(raft::ReplicaId to, raft::GroupId group) override { lost.emplace_back(to, group); }

  void TakeMore() {
    ready = true;
    for (const auto& read : std::exchange(waiting, {})) read();
  }

  HoldableExecutor loop;
  CuttableTransport transport;
  PeerPresence presence;
  PeerGate gate;
  std::unique_ptr<PeerLinks> links;

  bool progressing = true;  // its storage
  bool ready = true;        // takes entries
  std::vector<std::function<void()>> waiting;

  std::map<raft::BrokerId, raft::ReplicaId> up;
  int ups = 0, downs = 0;
  int frames = 0;  // with messages
  std::vector<GroupMessage> messages;
  std::vector<GroupLeader> leaders;
  std::vector<std::pair<raft::ReplicaId, raft::GroupId>> lost;

 private:
  static PeerIdentity IdentityOf(const Options& options) {
    const auto id = static_cast<uint64_t>(options.id);
    return {.life = {.replica = {.broker = raft::BrokerId(options.id),
                                 .incarnation = options.incarnation != 0 ? options.incarnation : 1000 + id},
                     .session = options.session != 0 ? options.session : 2000 + id},
            .cluster_id = options.cluster,
            .protocol_min = options.protocol_min,
            .protocol_max = options.protocol_max,
            .build = "test",
            .address = options.tells_address ? AddressOf(options.id) : ""};
  }

  const PeerIdentity self_;
  SimExecutor& executor_;
  SimNetwork& network_;
  ServiceRegistry services_;
  SimRandom random_;
};

}  // namespace millrace::server
