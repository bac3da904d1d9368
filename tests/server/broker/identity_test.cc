#include "server/identity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "proto/wire/crc32c.h"
#include "tests/support/sim_executor.h"
#include "tests/support/temp_dir.h"

namespace millrace::server {
namespace {

using raft::BrokerId;
using ::testing::HasSubstr;

const raft::ReplicaSet kFounders = {{BrokerId(0), 0xa}, {BrokerId(2), 0x9e3779b97f4a7c15}, {BrokerId(7), 1}};

std::string Contents(const TempDir& dir) {
  std::ifstream in(dir.Path() / "BROKER");
  return {std::istreambuf_iterator<char>(in), {}};
}

absl::StatusOr<std::optional<Identity>> Find(const TempDir& dir) { return FindIdentity(dir.Path().string(), true); }

TEST(Identity, IsReadAsItWasWritten) {
  using Stage = Identity::Stage;
  for (const Identity& identity :
       {Identity{.self = {BrokerId(2), 0}}, Identity{.self = {kNoBrokerId, 77}},
        Identity{.self = {BrokerId(2), ~uint64_t{0}}, .stage = Stage::kPledged, .founders = kFounders},
        Identity{.self = {BrokerId(2147483647), 5}, .stage = Stage::kMember, .founders = kFounders, .starts = 12}}) {
    TempDir dir;
    ASSERT_TRUE(WriteIdentity(dir.Path().string(), identity).ok());
    const auto found = Find(dir);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(*found, identity) << Contents(dir);
  }
}

TEST(Identity, IsTextThatPeopleCanRead) {
  TempDir dir;
  const Identity identity{
      .self = {BrokerId(2), 0x9e3779b97f4a7c15}, .stage = Identity::Stage::kMember, .founders = kFounders};
  ASSERT_TRUE(WriteIdentity(dir.Path().string(), identity).ok());
  EXPECT_EQ(
      Contents(dir),
      "millrace broker 1\nbroker 2\nincarnation 9e3779b97f4a7c15\ncluster " + ClusterIdOf(kFounders) +
          "\nmember\nfounder 0 000000000000000a\nfounder 2 9e3779b97f4a7c15\nfounder 7 0000000000000001\ncrc32c " +
          Contents(dir).substr(Contents(dir).size() - 9));
}

TEST(Identity, DamageOfAnyByteIsFound) {
  TempDir dir;
  ASSERT_TRUE(WriteIdentity(dir.Path().string(),
                            {.self = {BrokerId(2), 3}, .stage = Identity::Stage::kPledged, .founders = kFounders})
                  .ok());
  const std::string text = Contents(dir);
  for (size_t i = 0; i < text.size(); ++i) {
    std::string damaged = text;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << i % 8));
    dir.Write("BROKER", damaged);
    EXPECT_EQ(Find(dir).status().code(), absl::StatusCode::kDataLoss) << "byte " << i;
    dir.Write("BROKER", text.substr(0, i));
    EXPECT_EQ(Find(dir).status().code(), absl::StatusCode::kDataLoss) << "cut at " << i;
  }
  dir.Write("BROKER", text + "x");
  EXPECT_EQ(Find(dir).status().code(), absl::StatusCode::kDataLoss);
}

TEST(Identity, OneOfANewerReleaseIsLeftAlone) {
  TempDir dir;
  const std::string text = "millrace broker 2\nwhatever\n";
  dir.Write("BROKER", absl::StrCat(text, "crc32c ", absl::Hex(Crc32c(0, text), absl::kZeroPad8), "\n"));
  EXPECT_EQ(Find(dir).status().code(), absl::StatusCode::kUnimplemented);
}

TEST(Identity, AnInterruptedWriteLeavesTheOldOne) {
  TempDir dir;
  const Identity identity{.self = {BrokerId(2), 3}};
  ASSERT_TRUE(WriteIdentity(dir.Path().string(), identity).ok());
  dir.Write("BROKER.new", "millr");
  EXPECT_EQ(*Find(dir), identity);
  ASSERT_TRUE(WriteIdentity(dir.Path().string(), identity).ok());
  EXPECT_EQ(*Find(dir), identity);
}

TEST(Identity, ANewDirectoryHasNone) {
  TempDir dir;
  for (const std::string& path : {dir.Path().string(), (dir.Path() / "missing").string()}) {
    const auto found = FindIdentity(path, false);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(*found, std::nullopt);
  }
}

TEST(Identity, IsMadeForAnEmptyStoreWithANewIncarnation) {
  SimRandom random(1);
  TempDir dir, other;
  const auto made = MakeIdentity(dir.Path().string(), true, BrokerId(4), random);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->self.broker, BrokerId(4));
  EXPECT_EQ(made->stage, Identity::Stage::kNone);
  EXPECT_EQ(*Find(dir), *made);
  EXPECT_NE(MakeIdentity(other.Path().string(), true, BrokerId(4), random)->self, made->self);
}

TEST(Identity, FileAndStoreBelongTogether) {
  SimRandom random(1);
  TempDir dir;
  const absl::Status no_file = MakeIdentity(dir.Path().string(), false, BrokerId(4), random).status();
  EXPECT_EQ(no_file.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(no_file.message()), HasSubstr("the file BROKER"));
  EXPECT_EQ(Contents(dir), "");
  auto identity = MakeIdentity(dir.Path().string(), true, BrokerId(4), random);
  ASSERT_TRUE(identity.ok());
  const absl::Status unused = FindIdentity(dir.Path().string(), false).status();
  EXPECT_EQ(unused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(unused.message()), HasSubstr("has no store"));
  EXPECT_THAT(std::string(unused.message()), HasSubstr("in no cluster yet: remove it"));
  identity->stage = Identity::Stage::kMember;
  identity->founders = kFounders;
  ASSERT_TRUE(WriteIdentity(dir.Path().string(), *identity).ok());
  const absl::Status used = FindIdentity(dir.Path().string(), false).status();
  EXPECT_THAT(std::string(used.message()), HasSubstr(kLostDiskRemedy));
}

TEST(Identity, WhatCannotBeWrittenIsTold) {
  TempDir dir;
  const absl::Status status = WriteIdentity((dir.Path() / "missing").string(), {.self = {BrokerId(2), 3}});
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("No such file or directory"));
}

TEST(ClusterId, IsOfTheseVeryDisks) {
  const std::string id = ClusterIdOf(kFounders);
  EXPECT_EQ(id.size(), 32u);
  EXPECT_EQ(id, ClusterIdOf(kFounders));
  raft::ReplicaSet others = kFounders;
  ++others[1].incarnation;
  EXPECT_NE(ClusterIdOf(others), id);
  others = kFounders;
  others.pop_back();
  EXPECT_NE(ClusterIdOf(others), id);
  // printf '\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0' | sha256sum
  EXPECT_EQ(ClusterIdOf({{BrokerId(1), 2}}), "0c730b69905c5ef7a4ca5269f7236540");
}

}  // namespace
}  // namespace millrace::server
