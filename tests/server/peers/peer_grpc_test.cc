// Goal: links hold over real connections, and a peer that dies is noticed by its closed connections, not by its silence. Method:
// brokers' ends of links on gRPC over loopback, in one process, with one completion loop each or three.
#include <gmock/gmock.h>

#include <condition_variable>
#include <functional>
#include <future>
#include <mutex>
#include <thread>
#include <variant>

#include "proto/transport/completion_loop.h"
#include "proto/transport/grpc_transport.h"
#include "server/log.h"
#include "server/peer_links.h"
#include "server/peer_service.h"
#include "server/rpc_server.h"
#include "tests/integration/tcp_proxy.h"
#include "tests/support/sim_executor.h"

namespace millrace::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::Contains;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

constexpr int64_t kMessageBytesMax = 8 << 20;

class GrpcNode : public PeerSink, public PeerLinks::Listener {
 public:
  struct Options {
    int64_t id;
    uint64_t session;
    int loops = 1;
    uint16_t port = 0;
  };

  explicit GrpcNode(const Options& options)
      : self_{.life = {.replica = {raft::BrokerId(options.id), 1}, .session = options.session},
              .cluster_id = "c",
              .build = "test"},
        random_(options.session),
        server_({.listen = {"127.0.0.1", options.port},
                 .loops = options.loops,
                 .message_bytes_max = kMessageBytesMax,
                 .memory_bytes_max = 256 << 20}) {
    AddPeerService(
        gate_, [this](Executor&) -> PeerSink& { return *this; }, services_);
    const absl::Status bound = server_.Bind();
    EXPECT_TRUE(bound.ok()) << bound;
    server_.Serve(services_);
    OnLoop([this] {
      transport_ =
          std::make_unique<GrpcTransport>(server_.loop(0), GrpcTransport::Options{.connection_per_stream = true});
      links_ = std::make_unique<PeerLinks>(PeerLinks::Options{.self = self_, .secret = secret_}, presence_, *transport_,
                                           server_.loop(0), clock_, random_, *this);
    });
  }
  ~GrpcNode() override { Kill(); }

  // All its connections are closed, without a word.
  void Kill() {
    OnLoop([this] {
      links_.reset();
      transport_.reset();
    });
    server_.EndCalls(milliseconds(0));
    server_.StopLoops();
  }

  raft::ReplicaId replica() const { return self_.life.replica; }
  uint16_t port() const { return static_cast<uint16_t>(server_.port()); }
  std::string address() const { return "127.0.0.1:" + std::to_string(server_.port()); }

  void Know(int64_t id, const std::string& address) {
    OnLoop([&] { links_->SetPeers({{raft::BrokerId(id), {.address = address}}}); });
  }
  void Send(raft::GroupId group, raft::Message message) {
    message.from = replica();
    OnLoop([&] { links_->Send(group, std::move(message)); });
  }

  void OnMessages(raft::ReplicaId, std::vector<GroupMessage> all) override {
    std::lock_guard lock(mutex_);
    for (GroupMessage& m : all) messages_.push_back(std::move(m));
    changed_.notify_all();
  }
  void OnLeaders(raft::ReplicaId, std::vector<GroupLeader>) override {}
  void OnPeerUp(raft::ReplicaId) override { Change(&up_, 1); }
  void OnPeerDown(raft::BrokerId) override { Change(&up_, -1); }
  void OnDrained(raft::BrokerId) override {}
  void OnLost(raft::ReplicaId, raft::GroupId) override {}

  [[nodiscard]] bool WaitUntilUp(bool up) {
    return Wait([this, up] { return up_ == (up ? 1 : 0); });
  }
  std::vector<GroupMessage> WaitForMessages(size_t count) {
    EXPECT_TRUE(Wait([this, count] { return messages_.size() >= count; }));
    std::lock_guard lock(mutex_);
    return std::exchange(messages_, {});
  }

 private:
  void OnLoop(const std::function<void()>& task) {
    bool done = false;
    server_.loop(0).Post([&] {
      task();
      std::lock_guard lock(mutex_);
      done = true;
      changed_.notify_all();
    });
    EXPECT_TRUE(Wait([&] { return done; }));
  }
  void Change(int* value, int by) {
    std::lock_guard lock(mutex_);
    *value += by;
    changed_.notify_all();
  }
  bool Wait(const std::function<bool()>& condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, seconds(60), condition);
  }

  const PeerIdentity self_;
  const PeerSecret secret_{"0123456789abcdef"};
  SystemClock clock_;
  SimRandom random_;
  PeerPresence presence_{clock_};
  PeerGate gate_{self_, secret_, presence_, random_};
  ServiceRegistry services_;
  RpcServer server_;
  std::unique_ptr<GrpcTransport> transport_;
  std::unique_ptr<PeerLinks> links_;

  std::mutex mutex_;
  std::condition_variable changed_;
  int up_ = 0;                          // guarded by mutex_
  std::vector<GroupMessage> messages_;  // guarded by mutex_
};

class PeerGrpcTest : public testing::TestWithParam<int> {
 protected:
  PeerGrpcTest() {
    log::SetSink([this](std::string_view line) {
      std::lock_guard lock(mutex_);
      log_.emplace_back(line);
    });
  }
  ~PeerGrpcTest() override {
    a_.reset();
    b_.reset();
    log::SetSink(nullptr);
  }

  std::unique_ptr<GrpcNode> Node(int64_t id, uint64_t session, uint16_t port = 0) {
    return std::make_unique<GrpcNode>(
        GrpcNode::Options{.id = id, .session = session, .loops = GetParam(), .port = port});
  }
  void Connect() {
    a_->Know(2, b_->address());
    b_->Know(1, a_->address());
    ASSERT_TRUE(a_->WaitUntilUp(true));
    ASSERT_TRUE(b_->WaitUntilUp(true));
  }
  std::vector<std::string> LinesWith(const std::string& text) {
    std::lock_guard lock(mutex_);
    std::vector<std::string> lines;
    for (const std::string& line : log_) {
      if (line.find(text) != std::string::npos) lines.push_back(line);
    }
    return lines;
  }

  std::mutex mutex_;
  std::vector<std::string> log_;  // guarded by mutex_
  std::unique_ptr<GrpcNode> a_ = Node(1, 11), b_ = Node(2, 22);
};

INSTANTIATE_TEST_SUITE_P(Loops, PeerGrpcTest, testing::Values(1, 3));

TEST_P(PeerGrpcTest, MessagesArriveBothWays) {
  Connect();
  for (int64_t i = 1; i <= 20; ++i) {
    raft::AppendEntries append;
    append.entries.push_back({.payload = absl::Cord(std::string(300'000, static_cast<char>('a' + i)))});
    a_->Send(raft::GroupId(i), {.to = b_->replica(), .term = raft::Term(i), .body = std::move(append)});
    b_->Send(raft::GroupId(i), {.to = a_->replica(), .term = raft::Term(i), .body = raft::AppendReply{}});
  }
  const std::vector<GroupMessage> at_b = b_->WaitForMessages(20);
  ASSERT_THAT(at_b, SizeIs(20));
  for (int64_t i = 1; i <= 20; ++i) {
    EXPECT_EQ(at_b[i - 1].group, raft::GroupId(i));
    const auto& append = std::get<raft::AppendEntries>(at_b[i - 1].message.body);
    ASSERT_THAT(append.entries, SizeIs(1));
    EXPECT_EQ(append.entries[0].payload, std::string(300'000, static_cast<char>('a' + i)));
  }
  EXPECT_THAT(a_->WaitForMessages(20), SizeIs(20));
}

TEST_P(PeerGrpcTest, AKilledBrokerIsDownByItsClosedConnectionsAndComesBack) {
  Connect();
  const uint16_t port = b_->port();
  b_.reset();
  ASSERT_TRUE(a_->WaitUntilUp(false));
  EXPECT_THAT(LinesWith("peer is down"), Each(Not(HasSubstr("nothing was heard"))));
  b_ = Node(2, 23, port);
  b_->Know(1, a_->address());
  EXPECT_TRUE(a_->WaitUntilUp(true));
  EXPECT_TRUE(b_->WaitUntilUp(true));
}

// What the kernel does to the connections of a process that is killed.
TEST_P(PeerGrpcTest, ConnectionsThatAreClosedBelowGrpcAreNoticed) {
  auto proxy = std::make_unique<TcpProxy>(b_->address());
  a_->Know(2, proxy->address());
  b_->Know(1, a_->address());
  ASSERT_TRUE(a_->WaitUntilUp(true));
  ASSERT_TRUE(b_->WaitUntilUp(true));
  proxy.reset();
  EXPECT_TRUE(a_->WaitUntilUp(false));
  EXPECT_TRUE(b_->WaitUntilUp(false));
  EXPECT_THAT(LinesWith("peer is down"), Each(Not(HasSubstr("nothing was heard"))));
}

TEST_P(PeerGrpcTest, ANetworkThatCarriesNothingAnyMoreIsNoticedAndLeft) {
  TcpProxy to_a(a_->address()), to_b(b_->address());
  a_->Know(2, to_b.address());
  b_->Know(1, to_a.address());
  ASSERT_TRUE(a_->WaitUntilUp(true));
  ASSERT_TRUE(b_->WaitUntilUp(true));
  to_a.Freeze();
  to_b.Freeze();
  EXPECT_TRUE(a_->WaitUntilUp(false));
  EXPECT_TRUE(b_->WaitUntilUp(false));
  // New connections work.
  EXPECT_TRUE(a_->WaitUntilUp(true));
  EXPECT_TRUE(b_->WaitUntilUp(true));
  EXPECT_THAT(LinesWith("peer is down"), Contains(HasSubstr("nothing was heard of it for 1000 ms")));
}

// One way only: the end that still hears is told by the other.
TEST_P(PeerGrpcTest, LinksThatCarryNothingOneWayAreMadeAnew) {
  TcpProxy to_b(b_->address());
  a_->Know(2, to_b.address());
  b_->Know(1, a_->address());
  ASSERT_TRUE(a_->WaitUntilUp(true));
  ASSERT_TRUE(b_->WaitUntilUp(true));
  to_b.Freeze();
  EXPECT_TRUE(b_->WaitUntilUp(false));
  EXPECT_TRUE(a_->WaitUntilUp(true));
  EXPECT_TRUE(b_->WaitUntilUp(true));
}

// A stream of its own, that nobody misses.
class IdleStream : public StreamHandler {
 public:
  void OnMessage(absl::Cord) override { opened.set_value(); }
  void OnWritten() override {}
  void OnClosed(CallEnd) override { closed.set_value(); }

  std::promise<void> opened, closed;
};

TEST_P(PeerGrpcTest, ADeadConnectionEndsWithinSeconds) {
  TcpProxy to_b(b_->address());
  CompletionLoop loop(std::make_unique<grpc::CompletionQueue>());
  std::thread thread([&loop] { loop.Run(); });
  IdleStream handler;
  std::unique_ptr<GrpcTransport> transport;
  std::unique_ptr<Stream> stream;
  loop.Post([&] {
    transport = std::make_unique<GrpcTransport>(loop, GrpcTransport::Options{.connection_per_stream = true});
    stream = transport->OpenStream(to_b.address(), "/millrace.internal.v1.Peer/Link", &handler);
    stream->Read();
  });
  handler.opened.get_future().wait();
  std::promise<void> reading;
  loop.Post([&] {
    stream->Read();
    reading.set_value();
  });
  reading.get_future().wait();
  to_b.Freeze();
  // Connections that are shared take half a minute.
  EXPECT_EQ(handler.closed.get_future().wait_for(seconds(20)), std::future_status::ready);
  loop.Post([&] {
    stream.reset();
    transport.reset();
  });
  loop.Stop();
  thread.join();
}

TEST_P(PeerGrpcTest, AMessageThatIsTooLargeForThePeerEndsTheLinkWithASentence) {
  Connect();
  a_->Send(raft::GroupId(1), {.to = b_->replica(),
                              .body = raft::InstallSnapshot{.state = absl::Cord(std::string(kMessageBytesMax, 's'))}});
  EXPECT_TRUE(a_->WaitUntilUp(false));
  EXPECT_THAT(LinesWith("peer is down"), Contains(HasSubstr("larger than max")));
  EXPECT_TRUE(a_->WaitUntilUp(true));
  EXPECT_TRUE(b_->WaitUntilUp(true));
  EXPECT_THAT(b_->WaitForMessages(0), IsEmpty());
}

}  // namespace
}  // namespace millrace::server
