#include "server/config.h"

#include <unistd.h>
#include <yaml-cpp/emitter.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <iterator>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "proto/wire/setting_value.h"
#include "server/cluster_flags.h"
#include "server/config_sources.h"
#include "server/flags.h"
#include "server/process_limits.h"

namespace millrace::server {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMinMemory = int64_t{16} << 20;
constexpr int64_t kMaxDefaultMemory = int64_t{2} << 30;
constexpr int64_t kMaxDefaultDiskFloor = int64_t{1} << 30;
constexpr int kMaxDefaultThreads = 8;
constexpr int kMaxThreads = 64;
constexpr size_t kMaxRackBytes = 255;

constexpr const char* kNotYet = " is not implemented in this version; leave it out";

absl::StatusOr<bool> ReadSwitch(const Sources& sources, std::string_view flag) {
  const Given* given = sources.Flag(flag);
  if (given == nullptr || given->value == "false" || given->value == "0" || given->value == "no") return false;
  if (given->value == "true" || given->value == "1" || given->value == "yes") return true;
  return BadValue(*given, "true or false");
}

// What has its place on the command line, but is not there yet.
absl::Status RefuseWhatIsNotImplemented(const Sources& sources) {
  constexpr std::pair<const char*, const char*> kRefused[] = {
      {"tls-cert", "TLS"},
      {"tls-key", "TLS"},
      {"tls-ca", "TLS"},
      {"tls-client-auth", "TLS"},
  };
  for (const auto& [flag, what] : kRefused) {
    if (const Given* given = sources.Flag(flag)) return Refuse(given->source, absl::StrCat(what, kNotYet));
  }
  const auto resync = ReadSwitch(sources, "resync");
  if (!resync.ok()) return resync.status();
  if (*resync) {
    return Refuse(sources.Flag("resync")->source, absl::StrCat("taking the data anew from other brokers", kNotYet));
  }
  return absl::OkStatus();
}

absl::Status ReadListen(const Sources& sources, Config& config) {
  config.listen = {"127.0.0.1", kDefaultPort};
  const Given* given = sources.Flag("listen");
  if (given == nullptr) return absl::OkStatus();
  const auto address = ReadAddress(*given, kDefaultPort);
  if (!address.ok()) return address.status();
  config.listen = *address;
  return absl::OkStatus();
}

absl::Status ReadAdvertise(const Sources& sources, const Host& host, Config& config) {
  config.advertise = config.listen;
  if (const Given* given = sources.Flag("advertise")) {
    const auto address = ReadAddress(*given, config.listen.port);
    if (!address.ok()) return address.status();
    if (address->IsWildcard()) return BadValue(*given, "an address that clients can connect to");
    config.advertise = *address;
  } else if (config.listen.IsWildcard()) {
    config.advertise.host = host.name;
    config.notices.push_back(absl::StrCat("listening on every address of this host and telling clients to connect to ",
                                          host.name, "; --advertise changes that"));
  }
  return absl::OkStatus();
}

absl::Status ReadHttp(const Sources& sources, Config& config) {
  const bool last_port = config.listen.port == std::numeric_limits<uint16_t>::max();
  const uint16_t next = config.listen.port == 0 || last_port ? 0 : config.listen.port + 1;
  const Given* given = sources.Flag("http");
  if (given == nullptr) {
    if (last_port) return BadValue(*sources.Flag("listen"), "a port below 65535, or one for --http beside it");
    config.http = {config.listen.host, next};
    return absl::OkStatus();
  }
  const auto address = ReadAddress(*given, next);
  if (!address.ok()) return address.status();
  config.http = *address;
  if (config.http == config.listen && config.http.port != 0) {
    return BadValue(*given, "another address than that of --listen");
  }
  return absl::OkStatus();
}

absl::Status ReadRack(const Sources& sources, Config& config) {
  const Given* given = sources.Flag("rack");
  if (given == nullptr) return absl::OkStatus();
  const auto printable = [](unsigned char c) { return c >= ' ' && c != 0x7f; };
  if (given->value.empty() || given->value.size() > kMaxRackBytes || !std::ranges::all_of(given->value, printable)) {
    return BadValue(*given, "a name of 1 to 255 printable bytes");
  }
  config.rack = given->value;
  return absl::OkStatus();
}

absl::Status ReadDataDir(const Sources& sources, Config& config) {
  const Given* found = sources.Flag("data-dir");
  const Given given = found == nullptr ? Given{"millrace-data", "--data-dir"} : *found;
  if (given.value.empty()) return BadValue(given, "a folder; it is made if it does not exist");
  std::error_code error;
  const fs::path path = fs::absolute(given.value, error).lexically_normal();
  if (error) return Refuse(given.source, absl::StrCat("no absolute path for \"", given.value, "\": ", error.message()));
  config.data_dir = (path.has_filename() || path == path.root_path() ? path : path.parent_path()).string();
  return absl::OkStatus();
}

// Of the file system that the data directory is, or will be, on.
int64_t DefaultDiskFloor(const std::string& data_dir) {
  std::error_code error;
  fs::path path = data_dir;
  while (!fs::exists(path, error) && path.has_relative_path()) path = path.parent_path();
  const fs::space_info space = fs::space(path, error);
  return error ? kMaxDefaultDiskFloor
               : std::min<int64_t>(kMaxDefaultDiskFloor, static_cast<int64_t>(space.capacity / 20));
}

struct BrokerSetting {
  std::string_view name;
  absl::Status (*read)(const Given& given, const Host& host, Config& config);
};

absl::Status ReadDiskFreeFloor(const Given& given, const Host&, Config& config) {
  const auto bytes = ParseBytes(given.value);
  if (!bytes || *bytes < 0) return BadValue(given, "a size such as 1GiB, or 0 for none");
  config.disk_free_floor = *bytes;
  return absl::OkStatus();
}

absl::Status ReadIoThreads(const Given& given, const Host&, Config& config) {
  const auto threads = ParseInteger(given.value);
  if (!threads || *threads < 1 || *threads > kMaxThreads) {
    return BadValue(given, absl::StrCat("a number from 1 to ", kMaxThreads));
  }
  config.io_threads = static_cast<int>(*threads);
  return absl::OkStatus();
}

absl::Status ReadLogLevel(const Given& given, const Host&, Config& config) {
  const auto level = log::ParseLevel(given.value);
  if (!level) return BadValue(given, "debug, info, warn or error");
  config.log_level = *level;
  return absl::OkStatus();
}

absl::Status ReadMemoryLimit(const Given& given, const Host& host, Config& config) {
  const auto bytes = ParseBytes(given.value);
  if (!bytes || *bytes < kMinMemory || *bytes > host.usable_memory) {
    return BadValue(given, absl::StrCat("a size such as 512MiB, from ", FormatBytes(kMinMemory), " to ",
                                        FormatBytes(host.usable_memory), ", which is all that this process may use"));
  }
  config.memory_limit = *bytes;
  return absl::OkStatus();
}

absl::Status ReadPayloadsOnce(const Given& given, const Host&, Config& config) {
  if (given.value != "true" && given.value != "false") return BadValue(given, "true or false");
  config.payloads_once = given.value == "true";
  return absl::OkStatus();
}

constexpr BrokerSetting kBrokerSettings[] = {
    {"disk.free.floor", ReadDiskFreeFloor},
    {"io.threads", ReadIoThreads},
    {"log.level", ReadLogLevel},
    {"memory.limit", ReadMemoryLimit},
    {"store.payloads.once", ReadPayloadsOnce},
};

std::vector<std::string_view> SettingNames() {
  std::vector<std::string_view> names(TopicSettingNames().begin(), TopicSettingNames().end());
  for (const BrokerSetting& setting : kBrokerSettings) names.push_back(setting.name);
  return names;
}

absl::Status ReadSettings(const Sources& sources, const Host& host, Config& config) {
  const int64_t two_fifths = host.usable_memory / 5 * 2;  // in this order: it may be the largest number there is
  config.memory_limit = std::max(kMinMemory, std::min(kMaxDefaultMemory, two_fifths));
  config.disk_free_floor = DefaultDiskFloor(config.data_dir);
  config.io_threads = host.usable_cores < 4 ? 1 : std::min(kMaxDefaultThreads, host.usable_cores / 2);

  for (const auto& [name, given] : sources.settings) {
    const auto setting = std::ranges::find(kBrokerSettings, std::string_view(name), &BrokerSetting::name);
    absl::Status status;
    if (setting != std::end(kBrokerSettings)) {
      status = setting->read({given.value, absl::StrCat(given.source, ", ", name)}, host, config);
    } else if (IsTopicSetting(name)) {
      status = SetTopicSetting(name, given.value, config.topic_defaults);
      if (!status.ok()) status = Refuse(given.source, std::string(status.message()));
    } else {
      status = Refuse(given.source, absl::StrCat("unknown setting \"", name, "\"", DidYouMean(name, SettingNames())));
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<Config> BuildConfig(const Sources& sources, const Host& host) {
  Config config;
  absl::Status status = RefuseWhatIsNotImplemented(sources);
  if (status.ok()) status = ReadListen(sources, config);
  if (status.ok()) status = ReadAdvertise(sources, host, config);
  if (status.ok()) status = ReadHttp(sources, config);
  if (status.ok()) status = ReadClusterFlags(sources, host, config);
  if (status.ok()) status = ReadRack(sources, config);
  if (status.ok()) status = ReadDataDir(sources, config);
  if (status.ok()) status = ReadSettings(sources, host, config);
  if (!status.ok()) return status;
  return config;
}

// The file below the environment below the command line.
absl::StatusOr<Sources> ReadSources(Sources arguments, const Host& host, std::vector<std::string>& unknown_variables) {
  auto sources = ReadEnvironment(host.environment, unknown_variables);
  if (!sources.ok()) return sources;
  sources->Override(arguments);
  const Given* file = sources->Flag("config");
  if (file == nullptr) return sources;
  auto all = ReadFile(file->value, SettingNames());
  if (all.ok()) all->Override(*sources);
  return all;
}

CommandLine Print(std::string text) { return {.exit_code = 0, .output = std::move(text)}; }

CommandLine UsageError(const absl::Status& status) {
  std::string text =
      absl::StrCat("millraced: ", status.message(), "\n(millraced --help lists the flags and settings)\n");
  return {.exit_code = 2, .error = std::move(text)};
}

// --help and the like, which act before anything else is looked at.
std::optional<CommandLine> PrintOnly(const Sources& arguments) {
  if (const Given* help = arguments.Flag("help")) return Print(help->value);
  if (arguments.Flag("version") != nullptr) return Print(absl::StrCat("millraced ", MILLRACE_VERSION, "\n"));
  if (const Given* shell = arguments.Flag("completion")) {
    auto script = CompletionScript(shell->value);
    return script ? Print(*std::move(script)) : UsageError(BadValue(*shell, "bash or zsh"));
  }
  return std::nullopt;
}

std::string HostName() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 && name[0] != '\0' ? name.data() : "localhost";
}

// As --cluster and --join take them.
std::string ListOf(const std::map<int32_t, HostPort>& brokers) {
  return absl::StrJoin(brokers, ",", [](std::string* out, const auto& broker) {
    absl::StrAppend(out, broker.first, "@", broker.second.ToString());
  });
}
std::string ListOf(const std::vector<HostPort>& addresses) {
  return absl::StrJoin(addresses, ",",
                       [](std::string* out, const HostPort& address) { out->append(address.ToString()); });
}

}  // namespace

std::string Config::ToYaml() const {
  YAML::Emitter out;
  const auto entry = [&out](std::string_view name, const auto& value) {
    out << YAML::Key << std::string(name) << YAML::Value << value;
  };
  out << YAML::BeginMap;
  entry("data-dir", data_dir);
  entry("listen", listen.ToString());
  entry("advertise", advertise.ToString());
  entry("http", http.ToString());
  if (broker_id) entry("broker-id", *broker_id);
  if (!cluster.empty()) entry("cluster", ListOf(cluster));
  if (!join.empty()) entry("join", ListOf(join));
  if (!peer_secret_file.empty()) entry("peer-secret-file", peer_secret_file);
  if (!rack.empty()) entry("rack", rack);
  entry("memory.limit", FormatBytes(memory_limit));
  entry("disk.free.floor", FormatBytes(disk_free_floor));
  entry("io.threads", io_threads);
  entry("store.payloads.once", payloads_once ? "true" : "false");
  entry("log.level", std::string(log::LevelName(log_level)));
  for (const auto& [name, value] : topic_defaults.ToMap()) entry(name, value);
  out << YAML::EndMap;
  return absl::StrCat(out.c_str(), "\n");
}

Host Host::Current() {
  Host host{.name = HostName(), .usable_memory = UsableMemoryBytes(), .usable_cores = UsableCores()};
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string_view::npos) host.environment.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return host;
}

CommandLine ParseCommandLine(int argc, const char* const* argv, const Host& host) {
  auto arguments = ReadArguments(argc, argv);
  if (!arguments.ok()) return UsageError(arguments.status());
  if (auto printed = PrintOnly(*arguments)) return *std::move(printed);

  std::vector<std::string> unknown_variables;
  const auto sources = ReadSources(*std::move(arguments), host, unknown_variables);
  if (!sources.ok()) return UsageError(sources.status());
  const auto check_only = ReadSwitch(*sources, "check-config");
  if (!check_only.ok()) return UsageError(check_only.status());
  auto config = BuildConfig(*sources, host);
  if (!config.ok()) return UsageError(config.status());
  if (!unknown_variables.empty()) {
    config->notices.push_back(absl::StrCat("ignored environment variables that are no flags of millraced: ",
                                           absl::StrJoin(unknown_variables, ", ")));
  }

  CommandLine command;
  if (*check_only) {
    command = Print(config->ToYaml());
    for (const std::string& notice : config->notices) absl::StrAppend(&command.error, "millraced: ", notice, "\n");
  }
  command.config = *std::move(config);
  return command;
}

}  // namespace millrace::server
