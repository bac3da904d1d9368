// Where configuration comes from: the command line, MILLRACE_* variables and a YAML file, as text with its origin. What the
// values mean is config.cc's business.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/host_port.h"

namespace millrace::server {

// A value and where it was found, as errors name it: `--listen`, `MILLRACE_LISTEN`, `/etc/millrace.yaml line 3, listen`.
struct Given {
  std::string value;
  std::string source;
};

// What was given for flags and for settings, by name.
struct Sources {
  using Values = std::map<std::string, Given, std::less<>>;

  Values flags;     // a flag without a value has "true"
  Values settings;  // from --set and its equals

  const Given* Flag(std::string_view name) const;

  // NAME=VALUE, as --set takes it.
  absl::Status AddSetting(std::string_view text, const std::string& source);

  // Name by name, what `stronger` has replaces what is here.
  void Override(const Sources& stronger);
};

// kInvalidArgument: "SOURCE: why".
absl::Status Refuse(const std::string& source, const std::string& why);
// And that the value "is not accepted; accepted: ...".
absl::Status BadValue(const Given& given, const std::string& accepted);
absl::StatusOr<HostPort> ReadAddress(const Given& given, uint16_t default_port);

// In arguments.cc, apart from the rest for its compile time. "--help" comes back as the flag `help`, with the text as its value.
absl::StatusOr<Sources> ReadArguments(int argc, const char* const* argv);

// `unknown` gets the MILLRACE_* variables that are no flags.
absl::StatusOr<Sources> ReadEnvironment(const std::map<std::string, std::string>& environment,
                                        std::vector<std::string>& unknown);

// `settings` are the names that the file may hold besides flags.
absl::StatusOr<Sources> ReadFile(const std::string& file, std::span<const std::string_view> settings);

}  // namespace millrace::server
