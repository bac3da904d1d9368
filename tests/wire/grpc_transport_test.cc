// Goal: calls to an address share a connection, until it is forgotten.
// Method: a server that takes connections and answers nothing on them.
#include "proto/transport/grpc_transport.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "proto/transport/completion_loop.h"

namespace millrace {
namespace {

class SilentServer {
 public:
  SilentServer() : listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_, 10), 0);
    EXPECT_EQ(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    address_ = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
  }
  ~SilentServer() {
    for (int connection : connections_) close(connection);
    close(listener_);
  }

  const std::string& address() const { return address_; }
  // Waits for the next, and greets it: one that is not greeted is given up, and another takes its place.
  void Accept() {
    constexpr unsigned char kSettings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};  // RFC 9113, 6.5, empty
    connections_.push_back(accept(listener_, nullptr, nullptr));
    EXPECT_EQ(write(connections_.back(), kSettings, sizeof kSettings), static_cast<ssize_t>(sizeof kSettings));
  }
  bool HasAnother() {
    pollfd waiting{.fd = listener_, .events = POLLIN};
    return poll(&waiting, 1, 0) == 1;
  }

 private:
  const int listener_;
  std::string address_;
  std::vector<int> connections_;
};

TEST(GrpcTransport, WhatIsForgottenIsConnectedToAnew) {
  SilentServer server;
  CompletionLoop loop(std::make_unique<grpc::CompletionQueue>());
  std::thread thread([&loop] { loop.Run(); });
  auto transport = std::make_unique<GrpcTransport>(loop, GrpcTransport::Options());
  const auto call = [&] {
    transport->Call(server.address(), "/test/Method", absl::Cord(), std::chrono::minutes(1), [](const CallReply&) {});
  };
  loop.Post(call);
  server.Accept();
  loop.Post([&] {
    call();  // over the same
    transport->Forget(server.address());
    call();
  });
  server.Accept();
  EXPECT_FALSE(server.HasAnother());
  loop.Post([&] { transport.reset(); });
  loop.Stop();
  thread.join();
}

}  // namespace
}  // namespace millrace
