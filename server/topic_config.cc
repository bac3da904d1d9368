#include "server/topic_config.h"

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "proto/wire/setting_value.h"

namespace millrace::server {
namespace {

constexpr int64_t kDayMs = int64_t{24} * 60 * 60 * 1000;
constexpr int64_t kSegmentBytes = int64_t{256} << 20;
constexpr int64_t kSegmentBytesMin = int64_t{16} << 10;
constexpr int64_t kMaxMillis = std::numeric_limits<int64_t>::max() / 1'000'000;  // so that nanoseconds fit, too

constexpr std::string_view kMinInsyncReplicas = "min.insync.replicas";  // known only to be refused

enum class Kind { kBytes, kMillis };

struct Range {
  int64_t first;
  int64_t last;
  bool unlimited;  // -1 is accepted, too

  bool Has(int64_t value) const { return (value >= first && value <= last) || (unlimited && value == kUnlimited); }
};

struct Setting {
  std::string_view name;
  std::string accepted;
  std::function<bool(std::string_view value, TopicConfig& config)> set;  // false: not accepted
  std::function<std::string(const TopicConfig& config)> get;
};

std::string Describe(Kind kind, const Range& range) {
  const auto bound = [kind](int64_t value) {
    return kind == Kind::kBytes ? FormatBytes(value) : absl::StrCat(value, " ms");
  };
  const bool open = range.last >= kMaxMillis;
  return absl::StrCat(kind == Kind::kBytes ? "a size such as 64MiB" : "milliseconds, or a time such as 12h or 7d", ", ",
                      open ? "at least " : "from ", bound(range.first), open ? "" : " to ",
                      open ? "" : bound(range.last), range.unlimited ? ", or -1 for no limit" : "");
}

template <typename Member>
Setting Number(std::string_view name, Kind kind, Range range, Member TopicConfig::*member,
               int64_t (*get)(const TopicConfig&)) {
  return {name, Describe(kind, range),
          [=](std::string_view text, TopicConfig& config) {
            const auto value = kind == Kind::kBytes ? ParseBytes(text) : ParseMillis(text);
            if (!value || !range.Has(*value)) return false;
            config.*member = *value;
            return true;
          },
          [=](const TopicConfig& config) { return absl::StrCat(get(config)); }};
}

template <typename Enum>
Setting Choice(std::string_view name, std::string_view first, std::string_view second, Enum TopicConfig::*member) {
  return {name, absl::StrCat(std::string(first), " or ", std::string(second)),
          [=](std::string_view text, TopicConfig& config) {
            if (text != first && text != second) return false;
            config.*member = text == first ? Enum{0} : Enum{1};
            return true;
          },
          [=](const TopicConfig& config) { return std::string(config.*member == Enum{0} ? first : second); }};
}

std::vector<Setting> MakeSettings() {
  static_assert(int{FlushPolicy::kCommit == FlushPolicy{0}} && int{TimestampType::kCreateTime == TimestampType{0}});
  std::vector<Setting> settings;
  settings.push_back({"cleanup.policy", "delete (compact is not implemented yet)",
                      [](std::string_view text, TopicConfig&) { return text == "delete"; },
                      [](const TopicConfig&) { return std::string("delete"); }});
  settings.push_back(Choice("flush", "commit", "async", &TopicConfig::flush));
  settings.push_back(Number("max.message.bytes", Kind::kBytes, {1, kMaxMessageBytesLimit, false},
                            &TopicConfig::max_message_bytes, [](const TopicConfig& c) { return c.max_message_bytes; }));
  settings.push_back(Number("message.timestamp.after.max.ms", Kind::kMillis, {0, kMaxMillis, false},
                            &TopicConfig::timestamp_after_max_ms,
                            [](const TopicConfig& c) { return c.timestamp_after_max_ms; }));
  settings.push_back(Choice("message.timestamp.type", "CreateTime", "LogAppendTime", &TopicConfig::timestamp_type));
  settings.push_back(Number("retention.bytes", Kind::kBytes, {1, std::numeric_limits<int64_t>::max(), true},
                            &TopicConfig::retention_bytes, [](const TopicConfig& c) { return c.retention_bytes; }));
  settings.push_back(Number("retention.ms", Kind::kMillis, {1, kMaxMillis, true}, &TopicConfig::retention_ms,
                            [](const TopicConfig& c) { return c.retention_ms; }));
  settings.push_back(Number("segment.bytes", Kind::kBytes, {kSegmentBytesMin, int64_t{4} << 30, false},
                            &TopicConfig::segment_bytes, [](const TopicConfig& c) { return c.SegmentBytes(); }));
  settings.push_back(Number("segment.ms", Kind::kMillis, {1, kMaxMillis, false}, &TopicConfig::segment_ms,
                            [](const TopicConfig& c) { return c.SegmentMillis(); }));
  return settings;
}

const std::vector<Setting>& Settings() {
  static const std::vector<Setting> settings = MakeSettings();
  return settings;
}

absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

int64_t TopicConfig::SegmentBytes() const {
  if (segment_bytes) return *segment_bytes;
  if (retention_bytes == kUnlimited) return kSegmentBytes;
  return std::clamp(retention_bytes / 10, kSegmentBytesMin, kSegmentBytes);
}

int64_t TopicConfig::SegmentMillis() const {
  if (segment_ms) return *segment_ms;
  if (retention_ms == kUnlimited) return kDayMs;
  return std::clamp<int64_t>(retention_ms / 10, 1, kDayMs);
}

std::map<std::string, std::string> TopicConfig::ToMap() const {
  std::map<std::string, std::string> values;
  for (const Setting& setting : Settings()) values.emplace(setting.name, setting.get(*this));
  return values;
}

std::span<const std::string_view> TopicSettingNames() {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> result;
    for (const Setting& setting : Settings()) result.push_back(setting.name);
    return result;
  }();
  return names;
}

bool IsTopicSetting(std::string_view name) {
  return name == kMinInsyncReplicas || std::ranges::find(TopicSettingNames(), name) != TopicSettingNames().end();
}

absl::Status SetTopicSetting(std::string_view name, std::string_view value, TopicConfig& config) {
  if (name == kMinInsyncReplicas) {
    return absl::InvalidArgumentError(
        "min.insync.replicas does not exist here: a record is committed once a majority of its replicas has it, "
        "and that is the rule for every topic; leave the setting out");
  }
  const auto it = std::ranges::find(Settings(), name, &Setting::name);
  if (it == Settings().end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown topic setting \"", ToAbsl(name), "\"", DidYouMean(name, TopicSettingNames())));
  }
  if (!it->set(value, config)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", ToAbsl(value), "\" is no value for ", ToAbsl(name), "; accepted: ", it->accepted));
  }
  return absl::OkStatus();
}

absl::StatusOr<TopicConfig> ParseTopicConfig(const std::map<std::string, std::string>& overrides,
                                             const TopicConfig& defaults) {
  TopicConfig config = defaults;
  for (const auto& [name, value] : overrides) {
    if (auto status = SetTopicSetting(name, value, config); !status.ok()) return status;
  }
  return config;
}

}  // namespace millrace::server
