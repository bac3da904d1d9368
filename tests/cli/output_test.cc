#include "client/cli/output.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

namespace millrace::cli {
namespace {

TEST(Table, LinesUp) {
  Table table({{"NAME"}, {"PARTITIONS", Table::Align::kRight}, {"NOTE"}});
  table.Add({"orders", "16", ""});
  table.Add({"a-much-longer-name", "4", "new"});
  EXPECT_EQ(table.Text(),
            "NAME                PARTITIONS  NOTE\n"
            "orders                      16\n"
            "a-much-longer-name           4  new\n");
}

TEST(Table, WithoutRowsIsItsHeading) { EXPECT_EQ(Table({{"A"}, {"B"}}).Text(), "A  B\n"); }

TEST(OutputBuffer, WritesAllOfItThroughASmallPipe) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const std::string data(50'000, 'x');
  OutputBuffer out(ends[1]);
  out.buffer() += data;
  ASSERT_TRUE(out.Flush());
  std::string got(data.size(), '\0');
  ASSERT_EQ(read(ends[0], got.data(), got.size()), static_cast<ssize_t>(data.size()));
  EXPECT_EQ(got, data);
  close(ends[0]);
  close(ends[1]);
}

TEST(OutputBuffer, KnowsAClosedPipeFromAnError) {
  std::signal(SIGPIPE, SIG_IGN);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  OutputBuffer out(ends[1]);
  EXPECT_FALSE(out.closed());
  close(ends[0]);
  EXPECT_TRUE(out.closed());  // noticed without writing
  OutputBuffer other(ends[1]);
  other.buffer() = "x";
  EXPECT_FALSE(other.Flush());
  EXPECT_TRUE(other.closed());
  EXPECT_TRUE(other.status().ok());
  close(ends[1]);

  int full = open("/dev/full", O_WRONLY);
  OutputBuffer disk(full);
  disk.buffer() = "x";
  EXPECT_FALSE(disk.Flush());
  EXPECT_FALSE(disk.closed());
  EXPECT_FALSE(disk.status().ok());
  close(full);
}

}  // namespace
}  // namespace millrace::cli
