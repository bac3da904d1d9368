// Settings given as a map of strings, with the names, bounds and refusals that users are told about.
//
//     Settings settings(map);
//     settings.Duration("linger.ms", options.linger);
//     settings.Choice("acks", options.acks, {{"none", AckLevel::kNone}, ...});
//     return settings.Finish();   // the first bad value, or an unknown name with the nearest known one, if one is near
#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "client/status.h"

namespace millrace::client {

class Settings {
 public:
  explicit Settings(const std::map<std::string, std::string>& values) : values_(values) {}

  // Each takes the setting's value, where it is given, into `target`, and makes the name a known one.
  void Text(std::string_view name, std::string& target);
  void Duration(std::string_view name, std::chrono::milliseconds& target);
  void Bytes(std::string_view name, int64_t& target);
  void Count(std::string_view name, int32_t& target);
  void Switch(std::string_view name, bool& target);

  template <typename Enum>
  void Choice(std::string_view name, Enum& target, std::initializer_list<std::pair<std::string_view, Enum>> choices) {
    const std::string* value = Take(name);
    if (value == nullptr) return;
    std::string known;
    for (const auto& [text, choice] : choices) {
      if (*value == text) {
        target = choice;
        return;
      }
      known += known.empty() ? "" : ", ";
      known += text;
    }
    Fail(name, *value, known);
  }

  // The value itself, for settings with a form of their own; nullptr when not given.
  const std::string* Take(std::string_view name);

  // A name of Kafka's that has no meaning here; `reason` is a sentence.
  void Refuse(std::string_view name, std::string_view reason);

  // Records that `value` is bad.
  void Fail(std::string_view name, const std::string& value, std::string_view expected);

  absl::Status Finish() const;

 private:
  const std::map<std::string, std::string>& values_;
  std::vector<std::string> known_;
  absl::Status status_;  // the first failure
};

}  // namespace millrace::client
