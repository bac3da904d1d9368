// What a group of drivers must do on any log store: run on the one in memory (tests/raft) and on RocksDB (tests/storage).
#pragma once

#include "tests/support/test_cluster.h"

namespace millrace {

// Each adds test failures.
void ElectsReplicatesAndRestarts(const TestCluster::OpenDisk& open_disk);
void TruncatesAConflictingSuffix(const TestCluster::OpenDisk& open_disk);
void InstallsASnapshotBehindTheLogStart(const TestCluster::OpenDisk& open_disk);
void AddsAMemberAndRemovesAnother(const TestCluster::OpenDisk& open_disk);

}  // namespace millrace
