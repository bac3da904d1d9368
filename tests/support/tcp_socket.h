// A blocking client socket for what no client library would send.
#pragma once

#include <gtest/gtest.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <string>

namespace millrace {

class TcpSocket {
 public:
  TcpSocket(const std::string& host, uint16_t port) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return;
    fd_ = socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, found->ai_protocol);
    error_ = connect(fd_, found->ai_addr, found->ai_addrlen) == 0 ? 0 : errno;
    freeaddrinfo(found);
  }
  ~TcpSocket() { close(fd_); }
  TcpSocket(const TcpSocket&) = delete;
  TcpSocket& operator=(const TcpSocket&) = delete;

  bool connected() const { return error_ == 0; }
  int error() const { return error_; }  // errno of connecting; 0: connected

  void Send(const std::string& text) {
    EXPECT_EQ(send(fd_, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }

  // The same to a peer that may close, or take no more, before the end.
  void SendSome(const std::string& text) { send(fd_, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT); }

  // Until `text` came, or the other end closes.
  std::string ReadUntil(const std::string& text) {
    std::string all;
    std::array<char, 4096> chunk;
    for (ssize_t n; all.find(text) == std::string::npos && (n = recv(fd_, chunk.data(), chunk.size(), 0)) > 0;)
      all.append(chunk.data(), static_cast<size_t>(n));
    return all;
  }

  // Until the other end closes.
  std::string ReadAll() {
    std::string text;
    std::array<char, 4096> chunk;
    for (ssize_t n; (n = recv(fd_, chunk.data(), chunk.size(), 0)) > 0;)
      text.append(chunk.data(), static_cast<size_t>(n));
    return text;
  }

 private:
  int fd_ = -1;
  int error_ = EADDRNOTAVAIL;
};

}  // namespace millrace
