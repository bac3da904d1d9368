#include "server/topic_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

namespace millrace::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kHourMs = 3'600'000;
constexpr int64_t kDayMs = 24 * kHourMs;

std::string ErrorOf(const std::map<std::string, std::string>& overrides) {
  const auto config = ParseTopicConfig(overrides, TopicConfig());
  return config.ok() ? "accepted" : std::string(config.status().message());
}

TEST(TopicConfig, HasTheDocumentedDefaults) {
  const std::map<std::string, std::string> expected = {
      {"cleanup.policy", "delete"},
      {"flush", "commit"},
      {"max.message.bytes", "1048576"},
      {"message.timestamp.after.max.ms", "3600000"},
      {"message.timestamp.type", "CreateTime"},
      {"retention.bytes", "-1"},
      {"retention.ms", "604800000"},
      {"segment.bytes", "268435456"},
      {"segment.ms", "60480000"},
  };
  EXPECT_EQ(TopicConfig().ToMap(), expected);
}

TEST(TopicConfig, EverySettingIsInTheTableOfTheProtocol) {
  std::ifstream in(MILLRACE_ADMIN_PROTO);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  for (const std::string_view name : TopicSettingNames()) {
    EXPECT_THAT(text, HasSubstr("\n//   " + std::string(name) + " ")) << MILLRACE_ADMIN_PROTO;
  }
}

TEST(TopicConfig, TakesOverridesOverDefaults) {
  TopicConfig defaults;
  defaults.flush = FlushPolicy::kAsync;
  defaults.retention_ms = 5 * kDayMs;
  const auto config = ParseTopicConfig({{"retention.ms", "2d"},
                                        {"segment.bytes", "64MiB"},
                                        {"max.message.bytes", "64MiB"},
                                        {"message.timestamp.type", "LogAppendTime"},
                                        {"cleanup.policy", "delete"}},
                                       defaults);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->retention_ms, 2 * kDayMs);
  EXPECT_EQ(config->segment_bytes, 64 << 20);
  EXPECT_EQ(config->max_message_bytes, kMaxMessageBytesLimit);
  EXPECT_EQ(config->timestamp_type, TimestampType::kLogAppendTime);
  EXPECT_EQ(config->flush, FlushPolicy::kAsync);
}

TEST(TopicConfig, ToMapIsReadBackAsTheSameConfig) {
  const auto config = ParseTopicConfig({{"retention.ms", "-1"},
                                        {"retention.bytes", "1GB"},
                                        {"segment.bytes", "1MB"},
                                        {"segment.ms", "90s"},
                                        {"flush", "async"}},
                                       TopicConfig());
  ASSERT_TRUE(config.ok()) << config.status();
  const auto again = ParseTopicConfig(config->ToMap(), TopicConfig());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, *config);
}

TEST(TopicConfig, SealsSegmentsOf256MiBOrATenthOfTheRetention) {
  TopicConfig config;
  EXPECT_EQ(config.SegmentBytes(), 256 << 20);
  config.retention_bytes = int64_t{1} << 40;
  EXPECT_EQ(config.SegmentBytes(), 256 << 20);
  config.retention_bytes = 100 << 20;
  EXPECT_EQ(config.SegmentBytes(), 10 << 20);
  config.retention_bytes = 1;
  EXPECT_EQ(config.SegmentBytes(), 16 << 10);
  config.segment_bytes = 77 << 20;
  EXPECT_EQ(config.SegmentBytes(), 77 << 20);
}

TEST(TopicConfig, SealsSegmentsAfterADayOrATenthOfTheRetention) {
  TopicConfig config;
  config.retention_ms = kUnlimited;
  EXPECT_EQ(config.SegmentMillis(), kDayMs);
  config.retention_ms = 100 * kDayMs;
  EXPECT_EQ(config.SegmentMillis(), kDayMs);
  config.retention_ms = 10 * kHourMs;
  EXPECT_EQ(config.SegmentMillis(), kHourMs);
  config.retention_ms = 1;
  EXPECT_EQ(config.SegmentMillis(), 1);
  config.segment_ms = 77;
  EXPECT_EQ(config.SegmentMillis(), 77);
}

TEST(TopicConfig, NamesTheNearestKnownSetting) {
  EXPECT_EQ(ErrorOf({{"retention.mss", "1"}}),
            "unknown topic setting \"retention.mss\"; did you mean \"retention.ms\"?");
  EXPECT_EQ(ErrorOf({{"colour", "blue"}}), "unknown topic setting \"colour\"");
}

TEST(TopicConfig, RefusesBadValuesWithWhatIsAccepted) {
  EXPECT_EQ(ErrorOf({{"max.message.bytes", "65MiB"}}),
            "\"65MiB\" is no value for max.message.bytes; accepted: a size such as 64MiB, from 1B to 64MiB");
  EXPECT_EQ(ErrorOf({{"segment.bytes", "1B"}}),
            "\"1B\" is no value for segment.bytes; accepted: a size such as 64MiB, from 16KiB to 4GiB");
  EXPECT_EQ(ErrorOf({{"retention.ms", "0"}}),
            "\"0\" is no value for retention.ms; accepted: milliseconds, or a time such as 12h or 7d, at least 1 ms, "
            "or -1 for "
            "no limit");
  EXPECT_EQ(ErrorOf({{"retention.bytes", "-2"}}),
            "\"-2\" is no value for retention.bytes; accepted: a size such as 64MiB, at least 1B, or -1 for no limit");
  EXPECT_EQ(ErrorOf({{"segment.ms", "-1"}}),
            "\"-1\" is no value for segment.ms; accepted: milliseconds, or a time such as 12h or 7d, at least 1 ms");
  EXPECT_EQ(ErrorOf({{"message.timestamp.after.max.ms", "soon"}}),
            "\"soon\" is no value for message.timestamp.after.max.ms; accepted: milliseconds, or a time such as 12h or "
            "7d, at "
            "least 0 ms");
  EXPECT_EQ(ErrorOf({{"flush", "fsync"}}), "\"fsync\" is no value for flush; accepted: commit or async");
  EXPECT_EQ(ErrorOf({{"message.timestamp.type", "createtime"}}),
            "\"createtime\" is no value for message.timestamp.type; accepted: CreateTime or LogAppendTime");
  EXPECT_THAT(ErrorOf({{"retention.ms", ""}}), HasSubstr("\"\" is no value for retention.ms; accepted: "));
}

TEST(TopicConfig, ExplainsWhatIsRefusedOnPurpose) {
  EXPECT_THAT(ErrorOf({{"min.insync.replicas", "2"}}),
              AllOf(HasSubstr("majority"), HasSubstr("leave the setting out")));
  EXPECT_THAT(ErrorOf({{"cleanup.policy", "compact"}}), HasSubstr("compact is not implemented yet"));
}

}  // namespace
}  // namespace millrace::server
