#include "proto/wire/setting_value.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace millrace {
namespace {

TEST(ParseBytes, TakesDecimalAndBinaryUnitsInAnyCase) {
  EXPECT_EQ(ParseBytes("0"), 0);
  EXPECT_EQ(ParseBytes("-1"), -1);
  EXPECT_EQ(ParseBytes("17B"), 17);
  EXPECT_EQ(ParseBytes("64MiB"), 64 << 20);
  EXPECT_EQ(ParseBytes("64mib"), 64 << 20);
  EXPECT_EQ(ParseBytes("64 MiB"), 64 << 20);
  EXPECT_EQ(ParseBytes("64Mi"), 64 << 20);
  EXPECT_EQ(ParseBytes("1GB"), 1'000'000'000);
  EXPECT_EQ(ParseBytes("3kB"), 3'000);
  EXPECT_EQ(ParseBytes("2TiB"), int64_t{2} << 40);
  EXPECT_EQ(ParseBytes("9223372036854775807"), std::numeric_limits<int64_t>::max());
}

TEST(ParseBytes, RefusesWhatIsAmbiguousOrDoesNotFit) {
  for (const char* text : {"", "M", "1M", "1K", "1G", "1.5GiB", "1 0", "0x10", "1MiBs", "9223372036854775808",
                           "9000000TiB", "+5", "five", "1  MiB"}) {
    EXPECT_EQ(ParseBytes(text), std::nullopt) << text;
  }
}

TEST(ParseMillis, TakesUnitsOfTime) {
  EXPECT_EQ(ParseMillis("250"), 250);
  EXPECT_EQ(ParseMillis("250ms"), 250);
  EXPECT_EQ(ParseMillis("90s"), 90'000);
  EXPECT_EQ(ParseMillis("5m"), 300'000);
  EXPECT_EQ(ParseMillis("12h"), 43'200'000);
  EXPECT_EQ(ParseMillis("7d"), 604'800'000);
  EXPECT_EQ(ParseMillis("1w"), std::nullopt);
  EXPECT_EQ(ParseMillis("200000000000d"), std::nullopt);
}

TEST(ParseInteger, TakesNoUnit) {
  EXPECT_EQ(ParseInteger("-7"), -7);
  EXPECT_EQ(ParseInteger("7B"), std::nullopt);
  EXPECT_EQ(ParseInteger(""), std::nullopt);
}

TEST(FormatBytes, UsesTheLargestUnitThatDividesAndIsReadBack) {
  EXPECT_EQ(FormatBytes(0), "0B");
  EXPECT_EQ(FormatBytes(1000), "1000B");
  EXPECT_EQ(FormatBytes(64 << 20), "64MiB");
  EXPECT_EQ(FormatBytes((1 << 20) + 1024), "1025KiB");
  for (const int64_t bytes : {int64_t{1}, int64_t{1} << 30, int64_t{5} << 50})
    EXPECT_EQ(ParseBytes(FormatBytes(bytes)), bytes);
}

TEST(NearestName, FindsASlipOfTheFingerAndNothingElse) {
  const std::vector<std::string_view> names = {"retention.ms", "retention.bytes", "flush", "io.threads"};
  EXPECT_EQ(NearestName("retention.mss", names), "retention.ms");
  EXPECT_EQ(NearestName("retenton.byte", names), "retention.bytes");
  EXPECT_EQ(NearestName("fluhs", names), "flush");
  EXPECT_EQ(NearestName("color", names), std::nullopt);
  EXPECT_EQ(NearestName("", names), std::nullopt);
  EXPECT_EQ(NearestName("linger", std::vector<std::string_view>{"acks", "linger.ms"}), "linger.ms");
  EXPECT_EQ(NearestName("--form", std::vector<std::string_view>{"--until", "--from"}), "--from");
  EXPECT_EQ(DidYouMean("io.thread", names), "; did you mean \"io.threads\"?");
  EXPECT_EQ(DidYouMean("color", names), "");
}

}  // namespace
}  // namespace millrace
