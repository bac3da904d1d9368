#include "server/config_sources.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "proto/wire/setting_value.h"
#include "server/flags.h"
#include "server/topic_config.h"

namespace millrace::server {
namespace {

// A plain value, or a list of them joined by commas.
absl::StatusOr<std::string> TextOf(const YAML::Node& node, const std::string& source) {
  if (node.IsScalar()) return node.Scalar();
  if (!node.IsSequence()) return Refuse(source, "has no plain value; accepted: NAME: VALUE");
  std::vector<std::string> items;
  for (const YAML::Node& item : node) {
    if (!item.IsScalar()) return Refuse(source, "has a list of something other than plain values");
    items.push_back(item.Scalar());
  }
  return absl::StrJoin(items, ",");
}

class FileReader {
 public:
  FileReader(const std::string& file, std::span<const std::string_view> settings)
      : file_(file), settings_(settings.begin(), settings.end()) {
    for (const Flag& flag : Flags()) {
      if (flag.from == Flag::From::kAnywhere) flags_.insert(flag.name);
    }
  }

  absl::Status Add(const YAML::Node& key, const YAML::Node& node) {
    const std::string line = absl::StrCat(file_, " line ", key.Mark().line + 1);
    if (!key.IsScalar()) return Refuse(line, "the key is not plain text");
    const std::string& name = key.Scalar();
    const std::string source = absl::StrCat(line, ", ", name);
    const bool is_setting = settings_.contains(name) || IsTopicSetting(name);
    if (!is_setting && !flags_.contains(name)) {
      std::vector<std::string_view> names(settings_.begin(), settings_.end());
      names.insert(names.end(), flags_.begin(), flags_.end());
      return Refuse(line, absl::StrCat("unknown key \"", name, "\"", DidYouMean(name, names)));
    }
    if (!seen_.insert(name).second) return Refuse(source, "is given twice");
    auto text = TextOf(node, source);
    if (!text.ok()) return text.status();
    if (is_setting) {
      result_.settings[name] = {*std::move(text), line};
    } else {
      result_.flags[name] = {*std::move(text), source};
    }
    return absl::OkStatus();
  }

  Sources Result() && { return std::move(result_); }

 private:
  const std::string file_;
  const std::set<std::string_view> settings_;
  std::set<std::string_view> flags_;
  std::set<std::string> seen_;
  Sources result_;
};

}  // namespace

absl::Status Refuse(const std::string& source, const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat(source, ": ", why));
}

absl::Status BadValue(const Given& given, const std::string& accepted) {
  return Refuse(given.source, absl::StrCat("\"", given.value, "\" is not accepted; accepted: ", accepted));
}

absl::StatusOr<HostPort> ReadAddress(const Given& given, uint16_t default_port) {
  auto address = ParseHostPort(given.value, default_port);
  if (!address.ok()) return Refuse(given.source, std::string(address.status().message()));
  return address;
}

const Given* Sources::Flag(std::string_view name) const {
  const auto it = flags.find(name);
  return it == flags.end() ? nullptr : &it->second;
}

absl::Status Sources::AddSetting(std::string_view text, const std::string& source) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    return Refuse(source, absl::StrCat("\"", std::string(text), "\" is not accepted; accepted: NAME=VALUE"));
  }
  settings[std::string(text.substr(0, equals))] = {std::string(text.substr(equals + 1)), source};
  return absl::OkStatus();
}

void Sources::Override(const Sources& stronger) {
  for (const auto& [name, given] : stronger.flags) flags[name] = given;
  for (const auto& [name, given] : stronger.settings) settings[name] = given;
}

absl::StatusOr<Sources> ReadEnvironment(const std::map<std::string, std::string>& environment,
                                        std::vector<std::string>& unknown) {
  std::map<std::string, std::string_view> flag_of;
  for (const Flag& flag : Flags()) {
    if (flag.from != Flag::From::kFlagOnly) flag_of.emplace(EnvironmentName(flag.name), flag.name);
  }
  Sources sources;
  for (const auto& [variable, value] : environment) {
    if (!variable.starts_with("MILLRACE_")) continue;
    const auto it = flag_of.find(variable);
    if (it == flag_of.end()) {
      unknown.push_back(variable);
    } else if (value.empty()) {
      continue;  // how compose and unit files say "not set"
    } else if (it->second != "set") {
      sources.flags[std::string(it->second)] = {value, variable};
    } else {
      for (absl::string_view text : absl::StrSplit(value, ',', absl::SkipWhitespace())) {
        text = absl::StripAsciiWhitespace(text);
        if (auto status = sources.AddSetting({text.data(), text.size()}, variable); !status.ok()) return status;
      }
    }
  }
  return sources;
}

absl::StatusOr<Sources> ReadFile(const std::string& file, std::span<const std::string_view> settings) {
  std::error_code error;
  const bool is_file = !std::filesystem::is_directory(file, error);
  std::ifstream in(file);
  if (!is_file || !in) return Refuse(file, absl::StrCat("cannot be read: ", std::strerror(is_file ? errno : EISDIR)));
  YAML::Node root;
  try {
    root = YAML::Load(in);
  } catch (const YAML::Exception& bad) {
    return Refuse(absl::StrCat(file, " line ", bad.mark.line + 1), absl::StrCat("not valid YAML: ", bad.msg));
  }
  FileReader reader(file, settings);
  if (root.IsNull()) return Sources();
  if (!root.IsMap()) return Refuse(file, "is not made of NAME: VALUE lines");
  for (const auto& entry : root) {
    if (auto status = reader.Add(entry.first, entry.second); !status.ok()) return status;
  }
  return std::move(reader).Result();
}

}  // namespace millrace::server
