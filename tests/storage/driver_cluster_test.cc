// Goal: groups of drivers on RocksDB do what they do in memory (tests/raft/cluster_test.cc).
#include <gtest/gtest.h>

#include <future>
#include <memory>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"
#include "storage/rocks_log_store.h"
#include "tests/storage/temp_dir.h"
#include "tests/support/cluster_scenarios.h"

namespace millrace::storage {
namespace {

class DriverCluster : public testing::Test {
 protected:
  // Opened anew as after a kill: nothing closes them.
  TestCluster::OpenDisk Opener() {
    return [this](int broker) {
      RocksLogStore::Options options;
      options.directory = directory_ / absl::StrCat("broker-", broker);
      auto opened = RocksLogStore::Open(options);
      MILLRACE_CHECK(opened.ok()) << opened.status().ToString();
      const std::shared_ptr<RocksLogStore> store = *std::move(opened);
      return TestCluster::Disk{store, [store = store.get()] {
                                 std::promise<void> done;  // behind all that were asked for before
                                 store->Sync([&done](const absl::Status&) { done.set_value(); });
                                 done.get_future().wait();
                               }};
    };
  }

  TempDir directory_;
};

TEST_F(DriverCluster, ElectsReplicatesAndRestarts) { ElectsReplicatesAndRestarts(Opener()); }
TEST_F(DriverCluster, TruncatesAConflictingSuffix) { TruncatesAConflictingSuffix(Opener()); }
TEST_F(DriverCluster, InstallsASnapshotBehindTheLogStart) { InstallsASnapshotBehindTheLogStart(Opener()); }
TEST_F(DriverCluster, AddsAMemberAndRemovesAnother) { AddsAMemberAndRemovesAnother(Opener()); }

}  // namespace
}  // namespace millrace::storage
