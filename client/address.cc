#include "client/address.h"

#include <algorithm>
#include <charconv>

#include "client/status.h"

namespace millrace::client {
namespace {

constexpr std::string_view kDefaultPort = "9470";

std::string_view Trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

bool IsPort(std::string_view text) {
  int port = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port >= 1 && port <= 65535;
}

absl::StatusOr<std::string> ParseAddress(std::string_view text) {
  std::string_view host = text;
  std::string_view port = kDefaultPort;
  const size_t colon = text.rfind(':');
  const bool bracketed = text.starts_with('[');
  const size_t bracket = text.find(']');
  if (bracketed && (bracket == std::string_view::npos || (bracket + 1 != text.size() && colon != bracket + 1))) {
    return InvalidConfig("bootstrap.servers: bad address '" + std::string(text) + "', expected [IPV6]:PORT");
  }
  if (!bracketed && colon != text.find(':')) {
    return InvalidConfig("bootstrap.servers: bad address '" + std::string(text) +
                         "', write an IPv6 address in brackets: [" + std::string(text) + "]:9470");
  }
  if (colon != std::string_view::npos && (!bracketed || colon > bracket)) {
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
  }
  if (host.empty() || host == "[]" || !IsPort(port)) {
    return InvalidConfig("bootstrap.servers: bad address '" + std::string(text) + "', expected HOST:PORT");
  }
  return std::string(host) + ":" + std::string(port);
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ParseAddresses(std::string_view list) {
  std::vector<std::string> addresses;
  while (!list.empty()) {
    const size_t comma = list.find(',');
    const std::string_view item = Trim(list.substr(0, comma));
    list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
    if (item.empty()) continue;
    absl::StatusOr<std::string> address = ParseAddress(item);
    if (!address.ok()) return address.status();
    if (std::find(addresses.begin(), addresses.end(), *address) == addresses.end()) {
      addresses.push_back(*std::move(address));
    }
  }
  if (addresses.empty()) return InvalidConfig("bootstrap.servers: no address given, expected HOST:PORT[,HOST:PORT...]");
  return addresses;
}

}  // namespace millrace::client
