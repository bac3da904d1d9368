#include "server/host_port.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace millrace::server {
namespace {

absl::Status Refuse(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", absl::string_view(text.data(), text.size()), "\" ", absl::string_view(why.data(), why.size()),
                   "; accepted: HOST or HOST:PORT, where HOST is a name, an IPv4 address or an "
                   "IPv6 address in brackets, and PORT is 0 to 65535"));
}

std::optional<uint16_t> ParsePort(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return port;
}

bool IsIpv6(const std::string& text) {
  in6_addr address;
  return inet_pton(AF_INET6, text.substr(0, text.find('%')).c_str(), &address) == 1;
}

bool IsName(std::string_view text) {
  constexpr size_t kDnsNameMax = 253;
  const auto allowed = [](unsigned char c) { return std::isalnum(c) || c == '.' || c == '-' || c == '_'; };
  return !text.empty() && text.size() <= kDnsNameMax && std::ranges::all_of(text, allowed);
}

}  // namespace

bool HostPort::IsWildcard() const { return host == "0.0.0.0" || host == "::" || host == "0:0:0:0:0:0:0:0"; }

std::string HostPort::ToString() const {
  const bool brackets = host.find(':') != std::string::npos;
  return absl::StrCat(brackets ? "[" : "", host, brackets ? "]:" : ":", port);
}

absl::StatusOr<HostPort> ParseHostPort(std::string_view text, uint16_t default_port) {
  if (text.find("://") != std::string_view::npos) return Refuse(text, "is a URL, not an address");
  std::string_view host = text;
  std::optional<std::string_view> port;
  const bool brackets = text.starts_with('[');
  if (brackets) {
    const size_t close = text.find(']');
    if (close == std::string_view::npos) return Refuse(text, "has no closing bracket");
    host = text.substr(1, close - 1);
    const std::string_view rest = text.substr(close + 1);
    if (!rest.empty() && !rest.starts_with(':')) {
      return Refuse(text, "has something other than :PORT after the bracket");
    }
    if (!rest.empty()) port = rest.substr(1);
  } else if (const size_t colon = text.find(':'); colon != std::string_view::npos) {
    if (text.find(':', colon + 1) != std::string_view::npos) {
      return Refuse(text, "looks like an IPv6 address without its brackets");
    }
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
  }

  HostPort result{std::string(host), default_port};
  if (host.empty()) return Refuse(text, "names no host (0.0.0.0 or [::] listens everywhere)");
  if (brackets && !IsIpv6(result.host)) return Refuse(text, "has no IPv6 address between its brackets");
  if (!brackets && !IsName(host)) return Refuse(text, "is not a host name or address");
  if (port) {
    const auto number = ParsePort(*port);
    if (!number) return Refuse(text, "has no valid port");
    result.port = *number;
  }
  return result;
}

}  // namespace millrace::server
