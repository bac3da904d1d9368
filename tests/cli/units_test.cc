// Durations, sizes, times and positions as people write them.
#include "client/cli/units.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "client/cli/position.h"

namespace millrace::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using testing::HasSubstr;

template <class T>
std::string MessageOf(const absl::StatusOr<T>& result) {
  return std::string(result.status().message());
}

TEST(Duration, TakesUnitsAndCombinations) {
  using namespace std::chrono_literals;
  EXPECT_EQ(*ParseDuration("0"), 0s);
  EXPECT_EQ(*ParseDuration("250us"), 250us);
  EXPECT_EQ(*ParseDuration("5ms"), 5ms);
  EXPECT_EQ(*ParseDuration("10s"), 10s);
  EXPECT_EQ(*ParseDuration("1.5s"), 1500ms);
  EXPECT_EQ(*ParseDuration("15m"), 15min);
  EXPECT_EQ(*ParseDuration("1h30m"), 90min);
  EXPECT_EQ(*ParseDuration("7d"), 168h);
  EXPECT_EQ(*ParseDuration("2w"), 336h);
}

TEST(Duration, RefusesWhatItCannotRead) {
  for (const char* text : {"", "s", "-5s", "5 s", "5x", "1m1h", "1s1s", "1..5s", "5s ", "10sec"}) {
    EXPECT_FALSE(ParseDuration(text).ok()) << text;
  }
  EXPECT_THAT(MessageOf(ParseDuration("10")), HasSubstr("write 10s or 10ms"));
  EXPECT_THAT(MessageOf(ParseDuration("999999999d")), HasSubstr("too long"));
}

TEST(Size, KnowsDecimalAndBinaryUnits) {
  EXPECT_EQ(*ParseSize("0"), 0);
  EXPECT_EQ(*ParseSize("1000"), 1000);
  EXPECT_EQ(*ParseSize("1KB"), 1000);
  EXPECT_EQ(*ParseSize("256KiB"), 262144);
  EXPECT_EQ(*ParseSize("1MiB"), 1 << 20);
  EXPECT_EQ(*ParseSize("2GiB"), int64_t{2} << 30);
  for (const char* text : {"", "KiB", "-1", "1.5MB", "1M", "1PB", "9999999999999GB"})
    EXPECT_FALSE(ParseSize(text).ok()) << text;
}

TEST(Time, IsIsoWithZoneOrMilliseconds) {
  EXPECT_EQ(*ParseTime("2013-07-04T00:00:00Z"), 1372896000000);
  EXPECT_EQ(*ParseTime("2013-07-04T02:00:00+02:00"), 1372896000000);
  EXPECT_EQ(*ParseTime("2013-07-03T19:00-0500"), 1372896000000);
  EXPECT_EQ(*ParseTime("2013-07-04 00:00:00.125Z"), 1372896000125);
  EXPECT_EQ(*ParseTime("2013-07-04T00:00:00.123456789Z"), 1372896000123);
  EXPECT_EQ(*ParseTime("1969-12-31T23:59:59Z"), -1000);
  EXPECT_EQ(*ParseTime("2024-02-29T00:00:00Z"), 1709164800000);
  EXPECT_EQ(*ParseTime("1372896000000"), 1372896000000);
}

TEST(Time, RefusesDatesThatDoNotExistAndTrailingText) {
  for (const char* text :
       {"2013-02-29T00:00:00Z", "2013-13-01T00:00:00Z", "2013-07-04T25:00:00Z", "2013-07-04T00:60:00Z",
        "2013-07-04T00:00:00Zx", "2013-07-04T00:00:00+99:00", "2013-7-4T00:00:00Z", "yesterday", ""}) {
    EXPECT_FALSE(ParseTime(text).ok()) << text;
  }
}

TEST(Time, AsksForTheZoneWhereItIsMissing) {
  EXPECT_THAT(MessageOf(ParseTime("2013-07-04T00:00:00")), HasSubstr("write 2013-07-04T00:00:00Z for UTC"));
  EXPECT_THAT(MessageOf(ParseTime("2013-07-04")), HasSubstr("write 2013-07-04T00:00:00Z for UTC"));
}

TEST(Time, IsWrittenAsItIsRead) {
  for (int64_t millis : {int64_t{0}, int64_t{1372896000125}, int64_t{-1}, int64_t{253402300799999}}) {
    EXPECT_EQ(*ParseTime(FormatTime(millis)), millis) << FormatTime(millis);
  }
}

TEST(Position, TakesEveryForm) {
  EXPECT_EQ(*ParsePosition("beginning"), Position::Beginning());
  EXPECT_EQ(*ParsePosition("earliest"), Position::Beginning());
  EXPECT_EQ(*ParsePosition("end"), Position::End());
  EXPECT_EQ(*ParsePosition("latest"), Position::End());
  EXPECT_EQ(*ParsePosition("0"), Position::Offset(0));
  EXPECT_EQ(*ParsePosition("9223372036854775807"), Position::Offset(9223372036854775807));
  EXPECT_EQ(*ParsePosition("@2013-07-04T00:00:00Z"), Position::Time(1372896000000));
  EXPECT_EQ(*ParsePosition("@1372896000000"), Position::Time(1372896000000));
  EXPECT_EQ(*ParsePosition("-15m"), Position::Ago(milliseconds(900000)));
  EXPECT_EQ(*ParsePosition("@-1h"), Position::Ago(milliseconds(3600000)));
  EXPECT_EQ(*ParsePosition("-100"), Position::BeforeEnd(100));
}

TEST(Position, NamesTheFormsWhenItCannotBeRead) {
  for (const char* text :
       {"", "middle", "12x", "-", "--5", "-5x", "@", "@yesterday", "9223372036854775808", "+5", "1.5"}) {
    EXPECT_FALSE(ParsePosition(text).ok()) << text;
  }
  EXPECT_THAT(MessageOf(ParsePosition("middle")), HasSubstr("beginning, end, an offset"));
}

TEST(Numbers, AreReadableWhenLarge) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(336776), "336,776");
  EXPECT_EQ(FormatCount(-1000), "-1,000");
  EXPECT_EQ(FormatCount(-100), "-100");
  EXPECT_EQ(FormatBytes(999), "999 B");
  EXPECT_EQ(FormatBytes(54216838), "54.2 MB");
  EXPECT_EQ(FormatBytes(150e6), "150 MB");
  EXPECT_EQ(FormatSeconds(0.84), "0.8 s");
  EXPECT_EQ(FormatSeconds(200), "3 min 20 s");
}

}  // namespace
}  // namespace millrace::cli
