#include "proto/wire/utf8.h"

#include "gtest/gtest.h"

namespace millrace {
namespace {

TEST(Utf8, TakesWhatUnicodeDefines) {
  for (std::string_view text :
       {"", "plain", "é", "界", "🚀", "long enough for a word: é", "\xed\x9f\xbf", "\xee\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(IsUtf8(text)) << text;
    EXPECT_EQ(MakeUtf8(text), text);
  }
  EXPECT_TRUE(IsUtf8(std::string_view("\0", 1)));
}

TEST(Utf8, RefusesOverlongSurrogatesAndTheRest) {
  struct {
    std::string_view bytes, replaced;
  } const bad[] = {
      {"\x80", "?"},                 // continuation without a start
      {"\xc0\xaf", "??"},            // overlong
      {"\xe0\x80\xaf", "???"},       // overlong
      {"\xf0\x80\x80\xaf", "????"},  // overlong
      {"\xed\xa0\x80", "???"},       // surrogate
      {"\xf4\x90\x80\x80", "????"},  // above U+10FFFF
      {"\xff", "?"},
      {"\xe7\x95", "??"},  // cut off
      {"twelve bytes\xc3", "twelve bytes?"},
      {"topic \xfe\xc3\xa9", "topic ?\xc3\xa9"},
  };
  for (const auto& [bytes, replaced] : bad) {
    EXPECT_FALSE(IsUtf8(bytes)) << replaced;
    EXPECT_EQ(MakeUtf8(bytes), replaced);
  }
}

}  // namespace
}  // namespace millrace
