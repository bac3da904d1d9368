#include "tests/conformance/differences.h"

#include "gtest/gtest.h"

namespace millrace::conformance {
namespace {

const Difference kOne = {"a.txt", "7", "node 2 commit", "12", "11"};

TEST(Differences, AreReadFromTheTable) {
  const auto declared = ReadDeclaredDifferences(
      "words | `no` row\n"
      "| file | line | what | etcd | ours | why |\n"
      "|---|---|---|---|---|---|\n"
      "| `a.txt` | `7` | `node 2 commit` | `12` | `11` | because |\n");
  ASSERT_EQ(declared.size(), 1u);
  EXPECT_EQ(declared.front(), kOne);
}

TEST(Differences, OnlyTheDeclaredOneIsExcusedAndOnlyWhileItHappens) {
  Difference other = kOne;
  other.ours = "10";
  EXPECT_TRUE(Judge("a.txt", {kOne}, {kOne}).undeclared.empty());
  EXPECT_EQ(Judge("a.txt", {kOne, other}, {kOne}).undeclared.size(), 1u);
  EXPECT_EQ(Judge("a.txt", {}, {kOne}).vanished.size(), 1u);
  EXPECT_TRUE(Judge("b.txt", {}, {kOne}).vanished.empty());
}

}  // namespace
}  // namespace millrace::conformance
