#include "tests/support/sim_connection.h"

#include <algorithm>
#include <utility>

namespace millrace {
namespace {

constexpr size_t kWindow = 2;  // messages that were written and not read

}  // namespace

SimConnection::SimConnection(SimNetwork& network, uint64_t number, Place client, std::string address, std::string host)
    : network_(network),
      number_(number),
      address_(std::move(address)),
      client_place_(std::move(client)),
      broker_place_{nullptr, std::move(host)} {}

bool SimConnection::Between(const std::string& one, const std::string& other) const {
  return (client_place_.host == one && broker_place_.host == other) ||
         (client_place_.host == other && broker_place_.host == one);
}

// ---- Ways

void SimConnection::Travel(bool from_client, Executor::Task arrive) {
  Direction& direction = from_client ? to_broker_ : to_client_;
  const std::string& from = PlaceOf(from_client).host;
  const std::string& to = PlaceOf(!from_client).host;
  if (!direction.held.empty() || network_.cuts_.contains({from, to})) {
    direction.held.push_back(std::move(arrive));
  } else if (network_.travel_time_ == nullptr) {
    network_.executor_.Post(std::move(arrive));
  } else {
    const std::chrono::nanoseconds now = network_.executor_.clock().Monotonic();
    direction.last_arrival = std::max(direction.last_arrival, now + network_.travel_time_(from, to));
    network_.executor_.After(direction.last_arrival - now, std::move(arrive));
  }
}

void SimConnection::Send(bool from_client, Executor::Task arrive) {
  from_client && !connected_ ? early_.push_back(std::move(arrive)) : Travel(from_client, std::move(arrive));
}

void SimConnection::Resume(const std::string& from, const std::string& to) {
  for (const bool from_client : {true, false}) {
    if (PlaceOf(from_client).host != from || PlaceOf(!from_client).host != to) continue;
    std::deque<Executor::Task> held = std::exchange((from_client ? to_broker_ : to_client_).held, {});
    for (Executor::Task& arrive : held) Travel(from_client, std::move(arrive));
  }
}

void SimConnection::At(bool client, Executor::Task task) {
  SimProcess* const process = PlaceOf(client).process;
  process == nullptr ? task() : process->Enter(std::move(task));
}

void SimConnection::Soon(bool client, Executor::Task task) {
  SimProcess* const process = PlaceOf(client).process;
  process == nullptr ? network_.executor_.Post(std::move(task)) : process->Post(std::move(task));
}

// ---- The beginning

std::unique_ptr<Stream> SimConnection::Open(const std::string& method, StreamHandler* handler) {
  auto client = std::make_unique<End>(*this, true);
  client->keep = shared_from_this();
  client->handler = handler;
  client_ = client.get();
  Travel(true, [self = shared_from_this(), method] { self->Accept(method); });
  if (client_place_.process != nullptr) {
    network_.executor_.After(SimNetwork::kConnectTimeout, [weak = weak_from_this()] {
      const auto self = weak.lock();
      if (self != nullptr && !self->connected_) self->Refuse(absl::UnavailableError("no connection in time"));
    });
  }
  return client;
}

// At the broker's host.
void SimConnection::Accept(const std::string& method) {
  const auto listener = network_.listeners_.find(address_);
  if (listener == network_.listeners_.end()) {
    Travel(false, [self = shared_from_this()] { self->Refuse(absl::UnavailableError("connection refused")); });
    return;
  }
  const server::ServiceRegistry& services = *listener->second.services;
  broker_place_.process = listener->second.process;
  At(false, [self = shared_from_this(), this, &services, method] {
    if (broker_.closed) return;
    Executor& executor =
        broker_place_.process == nullptr ? static_cast<Executor&>(network_.executor_) : *broker_place_.process;
    call_ = services.NewCall(method, executor);
    if (call_ == nullptr) {
      broker_.closed = true;
      Travel(false, [self, method] { self->CloseSoon(true, {absl::UnimplementedError("no method " + method), {}}); });
      return;
    }
    broker_.handler = call_.get();
    Travel(false, [self] { self->OnConnected(); });
    call_->Start(broker_);
    Deliver(false);
  });
}

void SimConnection::OnConnected() {
  if (client_ == nullptr || client_->closed) return;
  connected_ = true;
  for (Executor::Task& arrive : std::exchange(early_, {})) Travel(true, std::move(arrive));
  MaybeWritten(true);
}

// Nothing of it was ever sent.
void SimConnection::Refuse(absl::Status status) {
  connected_ = true;
  early_.clear();
  CloseSoon(true, {std::move(status), {}, /*never_sent=*/true});
  Travel(true, [self = shared_from_this()] {
    self->CloseSoon(false, {absl::CancelledError("the client went away"), {}});
  });
}

// ---- Messages

void SimConnection::Read(End& end) {
  end.read_wanted = true;
  Soon(end.is_client, [self = shared_from_this(), client = end.is_client] { self->Deliver(client); });
}

void SimConnection::Write(End& end, absl::Cord message) {
  ++network_.messages_;
  ++end.under_way;
  end.write_blocked = true;
  Send(end.is_client, [self = shared_from_this(), client = end.is_client, message = std::move(message)]() mutable {
    self->Arrive(client, std::move(message));
  });
  MaybeWritten(end.is_client);
}

void SimConnection::Arrive(bool from_client, absl::Cord message) {
  if (End* const from = FindEnd(from_client)) --from->under_way;
  End* const to = FindEnd(!from_client);
  if (to == nullptr || to->closed) return;
  network_.NoteArrival(number_, from_client, message);
  to->incoming.push_back(std::move(message));
  At(!from_client, [self = shared_from_this(), client = !from_client] { self->Deliver(client); });
}

// A write is complete when the window has room again; a client's first one not before there is a connection.
void SimConnection::MaybeWritten(bool client) {
  End* const end = FindEnd(client);
  End* const peer = FindEnd(!client);
  if (end == nullptr || end->closed || !end->write_blocked || (client && !connected_)) return;
  if (peer != nullptr && peer->incoming.size() + end->under_way > kWindow) return;
  end->write_blocked = false;
  Soon(client, [self = shared_from_this(), client] {
    End* const end = self->FindEnd(client);
    if (end == nullptr || end->closed) return;
    if (!client && self->finish_) return;
    end->handler->OnWritten();
  });
}

void SimConnection::Deliver(bool client) {
  End* const end = FindEnd(client);
  if (end == nullptr || end->closed) return;
  if (end->read_wanted && !end->incoming.empty()) {
    end->read_wanted = false;
    const absl::Cord message = std::move(end->incoming.front());
    end->incoming.pop_front();
    MaybeWritten(!client);
    end->handler->OnMessage(message);
  }
  client ? DeliverFinish() : DeliverHalfClose();
}

// ---- The end

void SimConnection::Finish(End& end, CallEnd call_end) {
  if (end.is_client) {
    Send(true, [self = shared_from_this()] {
      self->half_closed_ = true;
      self->At(false, [self] { self->DeliverHalfClose(); });
    });
    return;
  }
  if (finish_) return;
  finish_ = std::move(call_end);
  Travel(false, [self = shared_from_this()] {
    self->finish_arrived_ = true;
    self->At(true, [self] { self->DeliverFinish(); });
  });
}

void SimConnection::DeliverHalfClose() {
  if (!half_closed_ || broker_.closed || broker_.handler == nullptr || !broker_.incoming.empty() ||
      !broker_.read_wanted || std::exchange(reads_done_, true)) {
    return;
  }
  broker_.handler->OnReadsDone();
}

// The status follows the messages.
void SimConnection::DeliverFinish() {
  if (!finish_arrived_ || client_ == nullptr || client_->closed || !client_->incoming.empty()) return;
  CloseSoon(true, *finish_);
  CloseSoon(false, *finish_);
}

void SimConnection::Abort(CallEnd end) {
  if (broker_.closed) return;
  Travel(false, [self = shared_from_this()] {
    self->CloseSoon(true, {absl::CancelledError("the broker cancelled the call"), {}});
  });
  CloseSoon(false, std::move(end));
}

// The client let go of its end.
void SimConnection::Abandon() {
  const bool was_open = !client_->closed;
  client_ = nullptr;
  early_.clear();
  client_place_.process = nullptr;  // it may end before the call does
  if (was_open && !orphan_) {
    Travel(true, [self = shared_from_this()] {
      self->CloseSoon(false, {absl::CancelledError("the client went away"), {}});
    });
  }
  ForgetIfClosed();
}

void SimConnection::Break(const absl::Status& status) {
  CloseSoon(true, {status, {}});
  CloseSoon(false, {absl::CancelledError("the client went away"), {}});
}

void SimConnection::CloseSoon(bool client, CallEnd end) {
  Soon(client, [self = shared_from_this(), client, end = std::move(end)] { self->Close(client, end); });
}

void SimConnection::Close(bool client, const CallEnd& call_end) {
  End* const end = FindEnd(client);
  if (end == nullptr || end->closed) return;
  end->closed = true;
  const auto self = shared_from_this();
  if (end->handler != nullptr) end->handler->OnClosed(call_end);
  if (!client) {
    call_.reset();
    broker_place_.process = nullptr;
  }
  ForgetIfClosed();
}

void SimConnection::ForgetIfClosed() {
  if (broker_.closed && (client_ == nullptr || client_->closed)) network_.connections_.erase(number_);
}

void SimConnection::OnDeath(SimProcess& process, SimNetwork::Death death) {
  const bool client_dies = client_place_.process == &process;
  const bool broker_dies = broker_place_.process == &process;
  if (!client_dies && !broker_dies) return;
  orphan_ |= death == SimNetwork::Death::kSilent;
  if (!broker_dies) return;
  Close(false, {absl::CancelledError("the broker is gone"), {}});
  if (orphan_) return;
  Travel(false, [self = shared_from_this()] {
    self->CloseSoon(true, {absl::UnavailableError("connection lost"), {}});
  });
}

void SimConnection::OnRevival(const std::string& host) {
  if (!orphan_) return;
  if (broker_place_.host == host) CloseSoon(true, {absl::UnavailableError("connection reset"), {}});
  if (client_place_.host == host) CloseSoon(false, {absl::CancelledError("the client went away"), {}});
}

}  // namespace millrace
