#include "tests/conformance/datadriven.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace millrace::conformance {
namespace {

std::string ErrorOf(std::string_view text) { return std::string(ParseDataDriven("f.txt", text).status().message()); }

TEST(DataDriven, ReadsCommandArgumentsInputAndOutput) {
  const auto directives = ParseDataDriven("f.txt",
                                          "# a comment\n\n"
                                          "deliver-msgs 1 type=MsgApp drop=(2, 3)\n"
                                          "r1 v4\n"
                                          "----\n"
                                          "dropped\n"
                                          "  more\n"
                                          "\n"
                                          "stabilize\n"
                                          "----\n"
                                          "ok");
  ASSERT_TRUE(directives.ok()) << directives.status();
  ASSERT_EQ(directives->size(), 2u);
  const Directive& d = directives->front();
  EXPECT_EQ(d.where, "f.txt:3");
  EXPECT_EQ(d.command, "deliver-msgs");
  ASSERT_EQ(d.arguments.size(), 3u);
  EXPECT_EQ(d.arguments[0].key, "1");
  EXPECT_TRUE(d.arguments[0].values.empty());
  EXPECT_EQ(d.arguments[1].values, std::vector<std::string>{"MsgApp"});
  EXPECT_EQ(d.arguments[2].values, (std::vector<std::string>{"2", "3"}));
  EXPECT_EQ(d.input, "r1 v4");
  EXPECT_EQ(d.expected, "dropped\n  more\n");
  EXPECT_EQ(directives->back().where, "f.txt:9");
  EXPECT_EQ(directives->back().expected, "ok\n");
}

TEST(DataDriven, TakesContinuedLinesAndOutputWithBlankLines) {
  const auto directives =
      ParseDataDriven("f.txt", "vote \\\n  cfg=(1)\n----\n----\na\n\nb\n----\n----\n\nvote\n----\n");
  ASSERT_TRUE(directives.ok()) << directives.status();
  ASSERT_EQ(directives->size(), 2u);
  EXPECT_EQ(directives->front().arguments.at(0).key, "cfg");
  EXPECT_EQ(directives->front().expected, "a\n\nb\n");
  EXPECT_EQ(directives->back().expected, "");
}

TEST(DataDriven, ErrorsNameFileAndLine) {
  EXPECT_EQ(ErrorOf("\nvote\nno separator\n"), "f.txt:2: no ---- follows");
  EXPECT_EQ(ErrorOf("vote cfg=(1,2\n----\nok\n"), "f.txt:1: a list without )");
  EXPECT_EQ(ErrorOf("vote cfg=(1)x\n----\nok\n"), "f.txt:1: cannot read \"x\"");
  EXPECT_EQ(ErrorOf("cfg=1\n----\nok\n"), "f.txt:1: a command was expected");
  EXPECT_EQ(ErrorOf("vote\n----\n----\nok\n"), "f.txt:1: the output's closing ---- is missing");
}

}  // namespace
}  // namespace millrace::conformance
