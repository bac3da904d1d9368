#include "server/cluster_flags.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "proto/wire/setting_value.h"
#include "server/secret_file.h"

namespace millrace::server {
namespace {

// They are the first voters of the metadata (ARCHITECTURE D5).
constexpr size_t kFoundersMax = 5;

std::optional<int32_t> ParseBrokerId(std::string_view text) {
  const auto id = ParseInteger(text);
  if (!id || *id < 0 || *id > std::numeric_limits<int32_t>::max()) return std::nullopt;
  return static_cast<int32_t>(*id);
}

// 2 for "millrace-2" and for "millrace-2.millrace.default.svc".
std::optional<int32_t> TrailingNumber(std::string_view host_name) {
  const std::string_view first = host_name.substr(0, host_name.find('.'));
  return ParseBrokerId(first.substr(first.find_last_not_of("0123456789") + 1));
}

absl::Status ReadBrokerId(const Sources& sources, const Host& host, Config& config) {
  const Given* given = sources.Flag("broker-id");
  if (given == nullptr) return absl::OkStatus();
  const bool by_name = given->value == "hostname";
  config.broker_id = by_name ? TrailingNumber(host.name) : ParseBrokerId(given->value);
  if (config.broker_id) return absl::OkStatus();
  if (!by_name) return BadValue(*given, "a number from 0 to 2147483647, or hostname");
  return Refuse(given->source,
                absl::StrCat("the host's name \"", host.name,
                             "\" does not end in a number from 0 to 2147483647; give the number itself"));
}

// Of another broker, beside those that are known.
absl::StatusOr<HostPort> ReadPeer(const Given& given, std::vector<HostPort>& known) {
  const auto address = ReadAddress(given, kDefaultPort);
  if (!address.ok()) return address;
  if (address->port == 0) return BadValue(given, "a port that others can connect to");
  if (std::ranges::find(known, *address) != known.end()) {
    return Refuse(given.source, absl::StrCat(address->ToString(), " is named twice"));
  }
  known.push_back(*address);
  return address;
}

absl::Status ParseCluster(const Given& given, Config& config) {
  std::vector<HostPort> addresses;
  const std::vector<std::string> entries = absl::StrSplit(given.value, ',');
  for (const std::string& entry : entries) {
    const size_t at = entry.find('@');
    const auto id = at == std::string::npos ? std::nullopt : ParseBrokerId(entry.substr(0, at));
    if (!id) return BadValue({entry, given.source}, "ID@HOST[:PORT] of each broker, separated by commas");
    const auto address = ReadPeer({entry.substr(at + 1), given.source}, addresses);
    if (!address.ok()) return address.status();
    if (!config.cluster.emplace(*id, *address).second) {
      return Refuse(given.source, absl::StrCat("broker ", *id, " is named twice"));
    }
  }
  if (addresses.size() <= kFoundersMax) return absl::OkStatus();
  return Refuse(given.source, absl::StrCat("names ", addresses.size(), " brokers; at most ", kFoundersMax,
                                           " form a cluster, and the others join it (--join)"));
}

// Which of the list this broker is, if nobody said: the only one, or the only one at its address.
std::optional<int32_t> FindSelf(const Config& config) {
  if (config.cluster.size() == 1) return config.cluster.begin()->first;
  std::optional<int32_t> found;
  for (const auto& [id, address] : config.cluster) {
    if (address != config.advertise && address != config.listen) continue;
    if (found) return std::nullopt;
    found = id;
  }
  return found;
}

absl::Status ReadCluster(const Sources& sources, Config& config) {
  const Given* given = sources.Flag("cluster");
  if (given == nullptr) return absl::OkStatus();
  if (absl::Status status = ParseCluster(*given, config); !status.ok()) return status;
  if (!config.broker_id) config.broker_id = FindSelf(config);
  if (!config.broker_id) {
    return Refuse(given->source, absl::StrCat("names no broker at ", config.advertise.ToString(),
                                              ", where this one is; --broker-id tells which of them it is"));
  }
  const auto self = config.cluster.find(*config.broker_id);
  if (self == config.cluster.end()) {
    return Refuse(given->source,
                  absl::StrCat("does not name broker ", *config.broker_id, ", which this is by --broker-id"));
  }
  const uint16_t port = self->second.port;
  if (port == config.advertise.port || port == config.listen.port) return absl::OkStatus();
  return Refuse(given->source, absl::StrCat("names ", self->second.ToString(), ", but this broker is at ",
                                            config.advertise.ToString(), "; the ports have to agree"));
}

absl::Status ReadJoin(const Sources& sources, Config& config) {
  const Given* given = sources.Flag("join");
  if (given == nullptr) return absl::OkStatus();
  if (!config.cluster.empty()) {
    return Refuse(given->source, "a broker either forms a cluster with others (--cluster) or joins one; leave one out");
  }
  const std::vector<std::string> entries = absl::StrSplit(given->value, ',');
  for (const std::string& entry : entries) {
    const auto address = ReadPeer({entry, given->source}, config.join);
    if (!address.ok()) return address.status();
  }
  return absl::OkStatus();
}

absl::Status ReadSecret(const Sources& sources, Config& config) {
  const Given* given = sources.Flag("peer-secret-file");
  if (given != nullptr) {
    const auto secret = ReadSecretFile(given->value);
    if (!secret.ok()) return Refuse(given->source, absl::StrCat(given->value, " ", secret.status().message()));
    config.peer_secret_file = std::filesystem::absolute(given->value).lexically_normal().string();
    config.peer_secret = *secret;
    return absl::OkStatus();
  }
  const char* needed_by = config.cluster.size() > 1 ? "cluster" : !config.join.empty() ? "join" : nullptr;
  if (needed_by == nullptr) return absl::OkStatus();
  return Refuse(
      sources.Flag(needed_by)->source,
      "the brokers of a cluster recognise each other by a secret; give each the same --peer-secret-file (openssl "
      "rand -hex 32 > FILE && chmod 600 FILE)");
}

}  // namespace

absl::Status ReadClusterFlags(const Sources& sources, const Host& host, Config& config) {
  absl::Status status = ReadBrokerId(sources, host, config);
  if (status.ok()) status = ReadCluster(sources, config);
  if (status.ok()) status = ReadJoin(sources, config);
  if (status.ok()) status = ReadSecret(sources, config);
  return status;
}

}  // namespace millrace::server
