// HOST[:PORT] as flags, files and logs write it: a name, an IPv4 address or an IPv6 address in brackets.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace millrace::server {

struct HostPort {
  std::string host;  // IPv6 without the brackets
  uint16_t port = 0;

  bool operator==(const HostPort&) const = default;

  // Listens on every interface, and so says nothing about where clients find it: 0.0.0.0 or ::.
  bool IsWildcard() const;

  // HOST:PORT, with the brackets back around IPv6.
  std::string ToString() const;
};

// Takes HOST, HOST:PORT, [IPv6] and [IPv6]:PORT. The error says what is wrong with `text` and what is accepted, but not
// where the text came from.
absl::StatusOr<HostPort> ParseHostPort(std::string_view text, uint16_t default_port);

}  // namespace millrace::server
