#include "tests/support/sim_network.h"

#include <optional>
#include <utility>
#include <vector>

namespace millrace {
namespace {

constexpr size_t kWindow = 2;  // messages that were written and not read

}  // namespace

// One call: two ends, a queue each way.
class SimConnection : public std::enable_shared_from_this<SimConnection> {
 public:
  SimConnection(SimNetwork& network, std::string address) : network_(network), address_(std::move(address)) {}

  const std::string& address() const { return address_; }

  // What an end's owner holds. The client's is destroyed by the client; the broker's belongs to the connection.
  struct End : Stream {
    End(std::shared_ptr<SimConnection> c, bool is_client) : connection(std::move(c)), is_client(is_client) {}
    ~End() override {
      if (is_client) connection->Abandon();
    }
    void Read() override { connection->Read(*this); }
    void Write(absl::Cord message) override { connection->Write(*this, std::move(message)); }
    void Finish(CallEnd end) override { connection->Finish(*this, std::move(end)); }
    void Abort(CallEnd end) override { connection->Abort(std::move(end)); }

    const std::shared_ptr<SimConnection> connection;
    const bool is_client;
    StreamHandler* handler = nullptr;
    std::deque<absl::Cord> incoming;
    bool read_wanted = false;
    bool write_blocked = false;  // our last write is beyond the peer's window
  };

  std::unique_ptr<Stream> Open(const server::ServiceRegistry* services, const std::string& method,
                               StreamHandler* handler) {
    auto client = std::make_unique<End>(shared_from_this(), true);
    client_ = client.get();
    client_->handler = handler;
    network_.executor_.Post([self = shared_from_this(), services, method] { self->Accept(services, method); });
    return client;
  }

  void Abort(CallEnd end) {
    if (ended_) return;
    ended_ = true;
    CloseLater(client_, {absl::CancelledError("the broker cancelled the call"), {}});
    CloseLater(broker_.get(), std::move(end));
    Forget();
  }

  // Both ends hear the end, whatever was under way.
  void Break(absl::Status status) {
    if (ended_) return;
    ended_ = true;
    CloseLater(client_, {status, {}});
    CloseLater(broker_.get(), {absl::CancelledError("the client went away"), {}});
    Forget();
  }

 private:
  void Accept(const server::ServiceRegistry* services, const std::string& method) {
    if (ended_) return;
    if (services == nullptr) return Break(absl::UnavailableError("connection refused"));
    call_ = services->NewCall(method, network_.executor_);
    if (call_ == nullptr) return Break(absl::UnimplementedError("no method " + method));
    broker_ = std::make_unique<End>(shared_from_this(), false);
    broker_->handler = call_.get();
    for (absl::Cord& message : early_) broker_->incoming.push_back(std::move(message));
    call_->Start(*broker_);
    Deliver(*broker_);
    if (half_closed_) network_.executor_.Post([self = shared_from_this()] { self->DeliverHalfClose(); });
  }

  End* PeerOf(const End& end) { return end.is_client ? broker_.get() : client_; }

  void Read(End& end) {
    end.read_wanted = true;
    network_.executor_.Post([self = shared_from_this(), is_client = end.is_client] {
      if (End* end = is_client ? self->client_ : self->broker_.get()) self->Deliver(*end);
    });
  }

  void Write(End& end, absl::Cord message) {
    ++network_.messages_;
    if (!end.is_client) ++replies_under_way_;
    network_.executor_.Post([self = shared_from_this(), is_client = end.is_client,
                             message = std::move(message)]() mutable { self->Arrive(is_client, std::move(message)); });
  }

  void Arrive(bool from_client, absl::Cord message) {
    if (!from_client) --replies_under_way_;
    if (ended_) return;
    End* from = from_client ? client_ : broker_.get();
    End* to = from_client ? broker_.get() : client_;
    if (to == nullptr && !from_client) return;
    if (to == nullptr) {
      early_.push_back(std::move(message));
    } else {
      to->incoming.push_back(std::move(message));
      Deliver(*to);
    }
    if (from == nullptr) return;
    if (to != nullptr && to->incoming.size() > kWindow) {
      from->write_blocked = true;
    } else {
      Written(*from);
    }
  }

  void Written(End& end) {
    end.write_blocked = false;
    network_.executor_.Post([self = shared_from_this(), is_client = end.is_client] {
      End* end = is_client ? self->client_ : self->broker_.get();
      if (end == nullptr || self->ended_) return;
      if (!is_client && self->finish_) return self->SendFinish();
      end->handler->OnWritten();
    });
  }

  void Deliver(End& end) {
    if (ended_ || !end.read_wanted || end.incoming.empty()) return;
    end.read_wanted = false;
    absl::Cord message = std::move(end.incoming.front());
    end.incoming.pop_front();
    if (End* peer = PeerOf(end); peer != nullptr && peer->write_blocked) Written(*peer);
    StreamHandler* handler = end.handler;
    handler->OnMessage(std::move(message));
    if (half_closed_) DeliverHalfClose();
    if (finish_) SendFinish();
  }

  void Finish(End& end, CallEnd call_end) {
    if (end.is_client) {
      half_closed_ = true;
      network_.executor_.Post([self = shared_from_this()] { self->DeliverHalfClose(); });
      return;
    }
    finish_ = std::move(call_end);
    network_.executor_.Post([self = shared_from_this()] { self->SendFinish(); });
  }

  void DeliverHalfClose() {
    if (ended_ || broker_ == nullptr || !broker_->incoming.empty() || !broker_->read_wanted || reads_done_) return;
    reads_done_ = true;
    broker_->handler->OnReadsDone();
  }

  // The status follows the messages.
  void SendFinish() {
    if (ended_ || !finish_ || replies_under_way_ > 0) return;
    if (client_ != nullptr && (!client_->incoming.empty() || (broker_ != nullptr && broker_->write_blocked))) return;
    ended_ = true;
    CloseLater(client_, *finish_);
    CloseLater(broker_.get(), *finish_);
    Forget();
  }

  void CloseLater(End* end, CallEnd call_end) {
    if (end == nullptr) return;
    network_.executor_.Post([self = shared_from_this(), is_client = end->is_client, call_end = std::move(call_end)] {
      End* end = is_client ? self->client_ : self->broker_.get();
      if (end == nullptr) return;
      end->handler->OnClosed(call_end);
      if (!is_client) {
        self->call_.reset();
        self->broker_.reset();
      }
    });
  }

  void Abandon() {
    client_ = nullptr;
    if (ended_) return;
    ended_ = true;
    CloseLater(broker_.get(), {absl::CancelledError("the client went away"), {}});
    Forget();
  }

  void Forget() {
    network_.executor_.Post([self = shared_from_this()] { self->network_.connections_.erase(self); });
  }

  SimNetwork& network_;
  const std::string address_;
  End* client_ = nullptr;
  std::unique_ptr<server::Call> call_;
  std::unique_ptr<End> broker_;
  std::vector<absl::Cord> early_;  // written before the call was accepted
  int replies_under_way_ = 0;
  bool half_closed_ = false;
  bool reads_done_ = false;
  bool ended_ = false;
  std::optional<CallEnd> finish_;
};

namespace {

// A unary call, for a client that does not want a stream.
struct UnaryClient : StreamHandler {
  std::unique_ptr<Stream> stream;
  CallReply reply;
  std::function<void(CallReply)> done;
  Executor* executor = nullptr;
  Executor::TimerId timer = 0;
  std::shared_ptr<UnaryClient> self;

  void OnMessage(absl::Cord message) override { reply.message = std::move(message); }
  void OnWritten() override { stream->Finish({}); }
  void OnClosed(CallEnd end) override {
    reply.end = std::move(end);
    Complete();
  }
  void Complete() {
    executor->Cancel(timer);
    auto keep = std::move(self);
    executor->Post([keep] {
      keep->stream.reset();
      keep->done(std::move(keep->reply));
    });
  }
};

}  // namespace

SimNetwork::SimNetwork(SimExecutor& executor) : executor_(executor) {}

SimNetwork::~SimNetwork() = default;

void SimNetwork::Attach(const std::string& address, const server::ServiceRegistry& services) {
  brokers_[address] = &services;
}

void SimNetwork::Detach(const std::string& address) {
  brokers_.erase(address);
  Break(address);
}

void SimNetwork::Break(const std::string& address) {
  const auto connections = connections_;
  for (const auto& connection : connections) {
    if (connection->address() == address) connection->Break(absl::UnavailableError("connection lost"));
  }
}

std::unique_ptr<Stream> SimNetwork::OpenStream(const std::string& address, const std::string& method,
                                               StreamHandler* handler) {
  auto connection = std::make_shared<SimConnection>(*this, address);
  connections_.insert(connection);
  auto broker = brokers_.find(address);
  return connection->Open(broker == brokers_.end() ? nullptr : broker->second, method, handler);
}

void SimNetwork::Call(const std::string& address, const std::string& method, absl::Cord request,
                      std::chrono::nanoseconds timeout, std::function<void(CallReply)> done) {
  auto client = std::make_shared<UnaryClient>();
  client->self = client;
  client->done = std::move(done);
  client->executor = &executor_;
  client->stream = OpenStream(address, method, client.get());
  client->timer = executor_.After(timeout, [client] {
    client->reply.end.status = absl::DeadlineExceededError("no answer in time");
    client->Complete();
  });
  client->stream->Read();
  client->stream->Write(std::move(request));
}

}  // namespace millrace
