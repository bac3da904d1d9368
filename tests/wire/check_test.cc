#include "proto/wire/check.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace millrace {
namespace {

TEST(CheckDeathTest, SaysWhereWhatAndWhy) {
  EXPECT_DEATH(MILLRACE_CHECK(1 + 1 == 3) << "segment " << 7,
               "check_test.cc:[0-9]+: check failed: 1 \\+ 1 == 3 segment 7");
}

TEST(CheckDeathTest, ComparisonPrintsBothValues) {
  const int64_t applied = 5;
  EXPECT_DEATH(MILLRACE_CHECK_LE(applied, 4) << "after restart", "applied <= 4 \\(5 vs. 4\\) after restart");
}

TEST(Check, HoldsWithoutEvaluatingTheMessage) {
  int evaluated = 0;
  MILLRACE_CHECK(true) << ++evaluated;
  MILLRACE_CHECK_EQ(2, 2) << ++evaluated;
  EXPECT_EQ(evaluated, 0);
}

TEST(Check, EvaluatesArgumentsOnce) {
  int n = 0;
  MILLRACE_CHECK(++n == 1);
  MILLRACE_CHECK_EQ(++n, 2);
  EXPECT_EQ(n, 2);
}

TEST(Check, IntegersCompareByValueWhateverTheirSigns) {
  MILLRACE_CHECK_LT(-1, size_t{0});
  MILLRACE_CHECK_NE(-1, UINT64_MAX);
}

TEST(Check, IsOneStatement) {
  bool other_branch = false;
  if (false)
    MILLRACE_CHECK(false);
  else
    other_branch = true;
  EXPECT_TRUE(other_branch);
}

}  // namespace
}  // namespace millrace
