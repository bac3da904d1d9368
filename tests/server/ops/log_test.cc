#include "server/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <string>
#include <thread>
#include <vector>

namespace millrace::log {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::SizeIs;

class Log : public ::testing::Test {
 protected:
  Log() {
    SetSink([this](std::string_view line) { lines_.emplace_back(line); });
  }
  ~Log() override {
    SetSink(nullptr);
    SetLevel(Level::kInfo);
  }

  std::vector<std::string> lines_;
};

TEST_F(Log, WritesBothClocksTheLevelThePlaceAndTheFields) {
  MILLRACE_LOG(kInfo, "store opened", {"data", "/var/lib/millrace"}, {"ms", 41});
  ASSERT_THAT(lines_, SizeIs(1));
  EXPECT_THAT(
      lines_[0],
      MatchesRegex(
          "ts=[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6}Z up=[0-9]+\\.[0-9]{6} level=info "
          "at=log_test\\.cc:[0-9]+ msg=\"store opened\" data=/var/lib/millrace ms=41"));
}

TEST_F(Log, WritesEveryKindOfValue) {
  const std::string owned = "text";
  MILLRACE_LOG(kError, "kinds", {"i", int8_t{-3}}, {"u", uint64_t{18446744073709551615u}}, {"d", 0.5}, {"b", true},
               {"s", owned}, {"v", std::string_view("view")});
  EXPECT_THAT(lines_.at(0), EndsWith(" msg=kinds i=-3 u=18446744073709551615 d=0.5 b=true s=text v=view"));
}

TEST_F(Log, QuotesWhatWouldBreakALine) {
  MILLRACE_LOG(kInfo, "m", {"a", "two words"}, {"b", "say \"hi\"\n"}, {"c", ""}, {"d", "x=y"}, {"e", "back\\slash"},
               {"f", "\x01"}, {"g", "Zürich"});
  EXPECT_THAT(lines_.at(0),
              EndsWith(R"(msg=m a="two words" b="say \"hi\"\n" c="" d="x=y" e="back\\slash" f="\x01" g=Zürich)"));
}

TEST_F(Log, EvaluatesNothingBelowTheLevel) {
  int evaluations = 0;
  const auto costly = [&evaluations] { return ++evaluations; };
  MILLRACE_LOG(kDebug, "quiet", {"n", costly()});
  MILLRACE_LOG_EVERY(std::chrono::seconds(1), kDebug, "quiet", {"n", costly()});
  EXPECT_EQ(evaluations, 0);
  SetLevel(Level::kDebug);
  MILLRACE_LOG(kDebug, "heard", {"n", costly()});
  EXPECT_EQ(evaluations, 1);
  EXPECT_THAT(lines_, SizeIs(1));
}

TEST_F(Log, LimitsACallSiteAndCountsWhatItSuppressed) {
  const auto from_one_place = [](std::chrono::nanoseconds interval) { MILLRACE_LOG_EVERY(interval, kInfo, "often"); };
  from_one_place(std::chrono::nanoseconds(0));
  for (int i = 0; i < 3; ++i) from_one_place(std::chrono::hours(0));
  EXPECT_THAT(lines_, SizeIs(4)) << "an interval of nothing suppresses nothing";

  lines_.clear();
  internal::RateLimit limit;
  uint64_t suppressed = 0;
  EXPECT_TRUE(limit.Allow(std::chrono::hours(1), suppressed));
  EXPECT_EQ(suppressed, 0u);
  EXPECT_FALSE(limit.Allow(std::chrono::hours(1), suppressed));
  EXPECT_FALSE(limit.Allow(std::chrono::hours(1), suppressed));
}

TEST_F(Log, SaysHowManyLinesWereSuppressed) {
  internal::Write(Level::kWarning, "a/b.cc", 7, "again", 12, {{"k", 1}});
  EXPECT_THAT(lines_, ElementsAre(EndsWith("level=warn at=b.cc:7 msg=again k=1 suppressed=12")));
}

TEST_F(Log, KeepsLinesOfSeveralThreadsWhole) {
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([] {
        for (int i = 0; i < 100; ++i) MILLRACE_LOG(kInfo, "line", {"i", i});
      });
    }
  }
  EXPECT_THAT(lines_, SizeIs(400));
}

TEST(Levels, HaveNamesThatAreReadBack) {
  for (const Level level : {Level::kDebug, Level::kInfo, Level::kWarning, Level::kError}) {
    EXPECT_EQ(ParseLevel(LevelName(level)), level);
  }
  EXPECT_EQ(ParseLevel("loud"), std::nullopt);
}

// Standard error is a pipe that nobody reads.
class UnreadPipe : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(pipe(pipe_.data()), 0);
    saved_ = dup(STDERR_FILENO);
    ASSERT_GE(dup2(pipe_[1], STDERR_FILENO), 0);
  }
  void TearDown() override {
    dup2(saved_, STDERR_FILENO);
    close(saved_);
    close(pipe_[0]);
    close(pipe_[1]);
  }

  // Everything that is in the pipe now.
  std::string Drain() {
    std::string text;
    std::array<char, 65536> chunk;
    fcntl(pipe_[0], F_SETFL, O_NONBLOCK);
    for (ssize_t n; (n = read(pipe_[0], chunk.data(), chunk.size())) > 0;)
      text.append(chunk.data(), static_cast<size_t>(n));
    return text;
  }

  std::array<int, 2> pipe_{};
  int saved_ = -1;
};

TEST_F(UnreadPipe, DropsLinesInsteadOfBlockingAndSaysSoLater) {
  for (int i = 0; i < 2000; ++i) MILLRACE_LOG(kInfo, "nobody reads this", {"filler", std::string(100, 'x')});
  EXPECT_THAT(Drain(), Not(HasSubstr("dropped=")));
  MILLRACE_LOG(kInfo, "read again");
  EXPECT_THAT(Drain(), ::testing::ContainsRegex("msg=\"read again\" dropped=[0-9]+\n$"));
}

TEST_F(UnreadPipe, ShortensALineThatCouldBlock) {
  MILLRACE_LOG(kInfo, "long", {"v", std::string(100'000, 'x')});
  const std::string line = Drain();
  EXPECT_EQ(line.size(), 4096u);
  EXPECT_THAT(line, EndsWith("...\n"));
}

}  // namespace
}  // namespace millrace::log
