// One GET, with the whole answer as it came.
#pragma once

#include <cstdint>
#include <string>

#include "tests/support/tcp_socket.h"

namespace millrace {

inline std::string HttpGet(const std::string& address, const std::string& path) {
  const size_t colon = address.rfind(':');
  TcpSocket socket(address.substr(0, colon), static_cast<uint16_t>(std::stoi(address.substr(colon + 1))));
  EXPECT_TRUE(socket.connected()) << address;
  socket.Send("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  return socket.ReadAll();
}

}  // namespace millrace
