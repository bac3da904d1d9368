#include "server/process_limits.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <functional>
#include <thread>
#include <vector>

#include "tests/support/temp_dir.h"

namespace millrace::server {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

// A machine with 8 GiB.
class UsableResources : public ::testing::Test {
 protected:
  UsableResources() { root_.Write("proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n"); }

  int64_t MemoryMiB() const { return UsableMemoryBytes(root_.Path().string()) / kMiB; }
  int Cores() const { return UsableCores(root_.Path().string()); }

  TempDir root_;
};

int AffinityCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
}

TEST_F(UsableResources, IsTheMachineWithoutAnyGroup) {
  EXPECT_EQ(MemoryMiB(), 8192);
  EXPECT_EQ(Cores(), AffinityCores());
}

TEST_F(UsableResources, TakesTheTightestVersion2LimitOnTheWayToTheRoot) {
  root_.Write("proc/self/cgroup", "0::/kubepods/pod7/millrace\n");
  root_.Write("sys/fs/cgroup/kubepods/pod7/millrace/memory.max", "max\n");
  root_.Write("sys/fs/cgroup/kubepods/pod7/memory.max", "536870912\n");
  root_.Write("sys/fs/cgroup/kubepods/memory.max", "1073741824\n");
  root_.Write("sys/fs/cgroup/kubepods/pod7/millrace/cpu.max", "max 100000\n");
  root_.Write("sys/fs/cgroup/kubepods/pod7/cpu.max", "50000 100000\n");
  EXPECT_EQ(MemoryMiB(), 512);
  EXPECT_EQ(Cores(), 1);
}

TEST_F(UsableResources, CountsTheThrottlingLimitOfVersion2) {
  root_.Write("proc/self/cgroup", "0::/\n");
  root_.Write("sys/fs/cgroup/memory.high", "268435456\n");
  root_.Write("sys/fs/cgroup/memory.max", "536870912\n");
  EXPECT_EQ(MemoryMiB(), 256);
}

TEST_F(UsableResources, ReadsTheRootWhenTheGroupsOwnPathIsNotMounted) {
  root_.Write("proc/self/cgroup", "9:memory:/docker/0123456789ab\n2:cpu,cpuacct:/docker/0123456789ab\n");
  root_.Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n");
  root_.Write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n");
  root_.Write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(MemoryMiB(), 256);
  EXPECT_EQ(Cores(), 1);
}

TEST_F(UsableResources, TakesVersion1WithoutLimitForNone) {
  root_.Write("proc/self/cgroup", "9:memory:/\n1:cpu:/\n");
  root_.Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  root_.Write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  root_.Write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(MemoryMiB(), 8192);
  EXPECT_EQ(Cores(), AffinityCores());
}

TEST_F(UsableResources, FindsVersion2BesideVersion1) {
  root_.Write("proc/self/cgroup", "4:memory:/app\n0::/app\n");
  root_.Write("sys/fs/cgroup/memory/app/memory.limit_in_bytes", "1073741824\n");
  root_.Write("sys/fs/cgroup/unified/app/memory.max", "134217728\n");
  EXPECT_EQ(MemoryMiB(), 128);
}

TEST_F(UsableResources, IgnoresLimitsThatAreWiderThanTheMachine) {
  root_.Write("proc/self/cgroup", "0::/\n");
  root_.Write("sys/fs/cgroup/memory.max", "1099511627776\n");
  root_.Write("sys/fs/cgroup/cpu.max", "6400000 100000\n");
  EXPECT_EQ(MemoryMiB(), 8192);
  EXPECT_EQ(Cores(), AffinityCores());
}

TEST_F(UsableResources, SurvivesGarbage) {
  root_.Write("proc/self/cgroup", "hello\n::\n0::/a\n");
  root_.Write("sys/fs/cgroup/a/memory.max", "lots\n");
  root_.Write("sys/fs/cgroup/a/cpu.max", "0 0\n");
  EXPECT_EQ(MemoryMiB(), 8192);
  EXPECT_EQ(Cores(), AffinityCores());
}

TEST(UsableMemory, OfThisProcessIsPositiveAndAboveItsResidentSet) {
  EXPECT_GT(ResidentBytes(), kMiB);
  EXPECT_GT(UsableMemoryBytes(), ResidentBytes());
}

TEST(RaiseFileLimit, TakesTheSoftLimitToTheHardOne) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit lowered = before;
  lowered.rlim_cur = 64;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &lowered), 0);
  const auto limit = RaiseFileLimit();
  rlimit after{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &after), 0);
  setrlimit(RLIMIT_NOFILE, &before);
  ASSERT_TRUE(limit.ok()) << limit.status();
  EXPECT_EQ(after.rlim_cur, before.rlim_max);
  EXPECT_EQ(static_cast<rlim_t>(*limit), after.rlim_cur);
}

class PreferThisThreadTest : public ::testing::Test {
 protected:
  // What a thread of its own that runs `before` and then PreferThisThread() ends with.
  static int NiceAfter(const std::function<void()>& before) {
    int nice = 0;
    std::thread([&] {
      before();
      PreferThisThread();
      nice = getpriority(PRIO_PROCESS, 0);
    }).join();
    return nice;
  }
  static bool MayPrefer() {
    bool may = false;
    std::thread([&] { may = setpriority(PRIO_PROCESS, 0, -10) == 0; }).join();
    return may;
  }
};

TEST_F(PreferThisThreadTest, IsWhereTheProcessMay) {
  ASSERT_EQ(getpriority(PRIO_PROCESS, 0), 0) << "run the tests without nice";
  EXPECT_EQ(NiceAfter([] {}), MayPrefer() ? -10 : 0);
}

TEST_F(PreferThisThreadTest, LeavesWhatWasChosen) {
  EXPECT_EQ(NiceAfter([] { setpriority(PRIO_PROCESS, 0, 5); }), 5);
}

}  // namespace
}  // namespace millrace::server
