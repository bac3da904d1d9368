// One gRPC call over a TCP connection of its own, as bytes: what a client library would not do. It takes whatever the peer
// grants, grants as much as there is, and reads only when told to.
//
//     RawCall call(broker.address(), "/millrace.v1.Broker/Fetch");
//     call.Send(SerializeFetchRequest(request));       // and never read: the broker's frames stay in the socket
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/strings/cord.h"
#include "tests/support/tcp_socket.h"

namespace millrace {

class RawCall {
 public:
  // HOST:PORT; HOST is a name or an IPv4 address.
  RawCall(const std::string& address, std::string_view method)
      : socket_(address.substr(0, address.rfind(':')),
                static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)))) {
    EXPECT_TRUE(socket_.connected()) << address;
    constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    constexpr std::string_view kInitialWindowMax("\x00\x04\x7f\xff\xff\xff", 6);
    constexpr std::string_view kWindowIncrement("\x7f\x00\x00\x00", 4);
    socket_.Send(std::string(kPreface) + Frame(kSettings, 0, 0, kInitialWindowMax) +
                 Frame(kWindowUpdate, 0, 0, kWindowIncrement) + Frame(kHeaders, kEndHeaders, 1, Headers(method)));
  }

  // One message, of less than the 64 KiB that may be sent before the peer grants more.
  void Send(const absl::Cord& message) {
    const std::string bytes(message);
    const auto size = static_cast<uint32_t>(bytes.size());
    socket_.Send(Frame(kData, 0, 1, std::string(1, '\0') + BigEndian(size) + bytes));
  }

  // Frames as they came, until `text` was in them or the peer closed.
  std::string ReadUntil(const std::string& text) { return socket_.ReadUntil(text); }

 private:
  static constexpr char kData = 0, kHeaders = 1, kSettings = 4, kWindowUpdate = 8;
  static constexpr char kEndHeaders = 4;

  static std::string BigEndian(uint32_t value) {
    std::string bytes;
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
    return bytes;
  }

  static std::string Frame(char type, char flags, uint32_t stream, std::string_view payload) {
    std::string frame = BigEndian(static_cast<uint32_t>(payload.size())).substr(1);
    frame += type;
    frame += flags;
    return frame.append(BigEndian(stream)).append(payload);
  }

  // HPACK: literals that enter no table.
  static std::string Headers(std::string_view method) {
    std::string block;
    const auto add = [&block](std::string_view text) {
      block += static_cast<char>(text.size());
      block += text;
    };
    for (const auto& [name, value] : {std::pair<std::string_view, std::string_view>{":method", "POST"},
                                      {":scheme", "http"},
                                      {":path", method},
                                      {":authority", "broker"},
                                      {"te", "trailers"},
                                      {"content-type", "application/grpc"}}) {
      block += '\0';
      add(name);
      add(value);
    }
    return block;
  }

  TcpSocket socket_;
};

}  // namespace millrace
