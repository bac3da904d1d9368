#include "tests/support/sim_network.h"

#include <vector>

#include "proto/wire/crc32c.h"
#include "tests/support/sim_connection.h"

namespace millrace {
namespace {

// A unary call, for a client that does not want a stream. Its timer holds it.
struct UnaryClient : StreamHandler, std::enable_shared_from_this<UnaryClient> {
  std::unique_ptr<Stream> stream;
  CallReply reply;
  std::function<void(CallReply)> done;
  Executor* executor = nullptr;
  Executor::TimerId timer = 0;

  void OnMessage(absl::Cord message) override { reply.message = std::move(message); }
  void OnWritten() override { stream->Finish({}); }
  void OnClosed(CallEnd end) override {
    reply.end = std::move(end);
    Complete();
  }
  void Complete() {
    const auto keep = shared_from_this();
    executor->Cancel(timer);
    executor->Post([keep] {
      keep->stream.reset();
      keep->done(std::move(keep->reply));
    });
  }
};

}  // namespace

class SimNetwork::WayOut : public ClientTransport {
 public:
  WayOut(SimNetwork& network, SimProcess& process) : network_(network), process_(process) {}

  std::unique_ptr<Stream> OpenStream(const std::string& address, const std::string& method,
                                     StreamHandler* handler) override {
    return network_.Open(&process_, address, method, handler);
  }
  void Call(const std::string& address, const std::string& method, absl::Cord request, std::chrono::nanoseconds timeout,
            std::function<void(CallReply)> done) override {
    network_.CallFrom(&process_, address, method, std::move(request), timeout, std::move(done));
  }

 private:
  SimNetwork& network_;
  SimProcess& process_;
};

SimNetwork::SimNetwork(SimExecutor& executor) : executor_(executor) {}

SimNetwork::~SimNetwork() = default;

void SimNetwork::Attach(const std::string& address, const server::ServiceRegistry& services) {
  listeners_[address] = {&services, nullptr};
}

void SimNetwork::Attach(const std::string& address, const server::ServiceRegistry& services, SimProcess& process) {
  listeners_[address] = {&services, &process};
  hosts_[address] = process.name();
  const auto connections = connections_;
  for (const auto& [number, connection] : connections) connection->OnRevival(process.name());
}

void SimNetwork::Detach(const std::string& address) {
  listeners_.erase(address);
  Break(address);
}

void SimNetwork::Break(const std::string& address) {
  const auto connections = connections_;
  for (const auto& [number, connection] : connections) {
    if (connection->address() == address) connection->Break(absl::UnavailableError("connection lost"));
  }
}

void SimNetwork::BreakBetween(const std::string& one, const std::string& other) {
  const auto connections = connections_;
  for (const auto& [number, connection] : connections) {
    if (connection->Between(one, other)) connection->Break(absl::UnavailableError("connection lost"));
  }
}

void SimNetwork::Heal(const std::string& from, const std::string& to) {
  if (cuts_.erase({from, to}) == 0) return;
  for (const auto& [number, connection] : connections_) connection->Resume(from, to);
}

void SimNetwork::Kill(SimProcess& process, Death death) {
  std::erase_if(listeners_, [&process](const auto& entry) { return entry.second.process == &process; });
  const auto connections = connections_;
  for (const auto& [number, connection] : connections) connection->OnDeath(process, death);
}

std::unique_ptr<ClientTransport> SimNetwork::WayOutOf(SimProcess& process) {
  return std::make_unique<WayOut>(*this, process);
}

std::unique_ptr<Stream> SimNetwork::Open(SimProcess* from, const std::string& address, const std::string& method,
                                         StreamHandler* handler) {
  if (from != nullptr && on_open_ != nullptr) on_open_(from->name(), method);
  const auto host = hosts_.find(address);
  auto connection = std::make_shared<SimConnection>(*this, ++last_connection_,
                                                    SimConnection::Place{from, from == nullptr ? "" : from->name()},
                                                    address, host == hosts_.end() ? "" : host->second);
  connections_.emplace(last_connection_, connection);
  return connection->Open(method, handler);
}

std::unique_ptr<Stream> SimNetwork::OpenStream(const std::string& address, const std::string& method,
                                               StreamHandler* handler) {
  return Open(nullptr, address, method, handler);
}

void SimNetwork::Call(const std::string& address, const std::string& method, absl::Cord request,
                      std::chrono::nanoseconds timeout, std::function<void(CallReply)> done) {
  CallFrom(nullptr, address, method, std::move(request), timeout, std::move(done));
}

void SimNetwork::CallFrom(SimProcess* from, const std::string& address, const std::string& method, absl::Cord request,
                          std::chrono::nanoseconds timeout, std::function<void(CallReply)> done) {
  auto client = std::make_shared<UnaryClient>();
  client->done = std::move(done);
  client->executor = from == nullptr ? static_cast<Executor*>(&executor_) : from;
  client->stream = Open(from, address, method, client.get());
  client->timer = client->executor->After(timeout, [client] {
    client->reply.end.status = absl::DeadlineExceededError("no answer in time");
    client->Complete();
  });
  client->stream->Read();
  client->stream->Write(std::move(request));
}

void SimNetwork::NoteArrival(uint64_t connection, bool from_client, const absl::Cord& message) {
  const auto mix = [this](uint64_t value) { hash_ = (hash_ ^ value) * 0x9e3779b97f4a7c15 + (hash_ >> 29); };
  mix(connection * 2 + (from_client ? 1 : 0));
  mix(static_cast<uint64_t>(executor_.clock().Monotonic().count()));
  mix(message.size());
  bytes_ += static_cast<int64_t>(message.size());
}

}  // namespace millrace
