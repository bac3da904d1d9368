#include "tests/integration/tcp_proxy.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "proto/wire/check.h"

namespace millrace {
namespace {

sockaddr_in Loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// False: one end has closed, or takes nothing any more.
bool Forward(int from, int to) {
  std::array<char, 64 << 10> bytes;
  const ssize_t got = recv(from, bytes.data(), bytes.size(), 0);
  for (ssize_t sent = 0; sent < got;) {
    const ssize_t n = send(to, bytes.data() + sent, static_cast<size_t>(got - sent), MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += n;
  }
  return got > 0;
}

}  // namespace

TcpProxy::TcpProxy(const std::string& target)
    : target_(static_cast<uint16_t>(std::stoi(target.substr(target.rfind(':') + 1)))),
      listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
      wake_(eventfd(0, EFD_CLOEXEC)) {
  sockaddr_in address = Loopback(0);
  socklen_t length = sizeof address;
  const bool listens = bind(listener_, reinterpret_cast<sockaddr*>(&address), length) == 0 &&
                       listen(listener_, 16) == 0 &&
                       getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length) == 0;
  MILLRACE_CHECK(listens) << std::strerror(errno);
  address_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  thread_ = std::thread([this] { Run(); });
}

TcpProxy::~TcpProxy() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  Wake();
  thread_.join();
  for (const Link& link : links_) {
    close(link.client);
    close(link.broker);
  }
  close(listener_);
  close(wake_);
}

void TcpProxy::Wake() {
  const uint64_t one = 1;
  MILLRACE_CHECK(write(wake_, &one, sizeof one) == sizeof one) << std::strerror(errno);
}

void TcpProxy::Freeze() {
  {
    std::lock_guard lock(mutex_);
    for (Link& link : links_) link.frozen = true;
  }
  Wake();
}

// With mutex_ held.
void TcpProxy::Accept() {
  const Link link = {.client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC),
                     .broker = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const sockaddr_in address = Loopback(target_);
  if (connect(link.broker, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    links_.push_back(link);
    return;
  }
  close(link.client);
  close(link.broker);
}

void TcpProxy::Run() {
  std::vector<pollfd> polled;
  for (;;) {
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return;
      polled = {{.fd = listener_, .events = POLLIN, .revents = 0}, {.fd = wake_, .events = POLLIN, .revents = 0}};
      for (const Link& link : links_) {
        // poll() passes over negative descriptors.
        polled.push_back({.fd = link.frozen ? -1 : link.client, .events = POLLIN, .revents = 0});
        polled.push_back({.fd = link.frozen ? -1 : link.broker, .events = POLLIN, .revents = 0});
      }
    }
    poll(polled.data(), polled.size(), -1);
    if (uint64_t count = 0; polled[1].revents != 0 && read(wake_, &count, sizeof count) < 0) return;
    std::lock_guard lock(mutex_);
    for (size_t i = (polled.size() - 2) / 2; i-- > 0;) {
      Link& link = links_[i];
      if (link.frozen) continue;
      const bool to_broker = polled[2 + 2 * i].revents == 0 || Forward(link.client, link.broker);
      const bool to_client = polled[3 + 2 * i].revents == 0 || Forward(link.broker, link.client);
      if (to_broker && to_client) continue;
      close(link.client);
      close(link.broker);
      links_.erase(links_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (polled[0].revents != 0) Accept();
  }
}

}  // namespace millrace
