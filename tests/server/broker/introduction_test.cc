#include "server/introduction.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/server/broker/seeds.h"

namespace millrace::server {
namespace {

using raft::BrokerId;
using Stage = Identity::Stage;

const Introduction kMember{.self = {BrokerId(2147483647), ~uint64_t{0}},
                           .cluster = {{BrokerId(0), "a:1"}, {BrokerId(7), "[::1]:9470"}},
                           .stage = Stage::kMember,
                           .founders = {{BrokerId(0), 1}, {BrokerId(7), 0}},
                           .counts_you = true};

TEST(Introduction, ComesOutAsItWentIn) {
  for (const Introduction& introduction :
       {Introduction(), kMember,
        Introduction{
            .self = {BrokerId(1), 2}, .cluster = kMember.cluster, .seen = {{BrokerId(0), 5}, {BrokerId(7), 6}}},
        Introduction{.self = {BrokerId(1), 2}, .stage = Stage::kPledged, .founders = {{BrokerId(1), 2}}}}) {
    const auto back = DecodeIntroduction(EncodeIntroduction(introduction));
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(*back, introduction);
  }
}

TEST(Introduction, WhatContradictsItselfIsRefused) {
  const auto refused = [](auto change) {
    Introduction introduction = kMember;
    change(introduction);
    return DecodeIntroduction(EncodeIntroduction(introduction)).status().code() == absl::StatusCode::kInvalidArgument;
  };
  EXPECT_FALSE(refused([](Introduction&) {}));
  EXPECT_TRUE(refused([](Introduction& i) { std::swap(i.founders[0], i.founders[1]); }));
  EXPECT_TRUE(refused([](Introduction& i) { i.founders[1].broker = i.founders[0].broker; }));
  EXPECT_TRUE(refused([](Introduction& i) { i.cluster[1].id = i.cluster[0].id; }));
  EXPECT_TRUE(refused([](Introduction& i) { i.seen = {{BrokerId(2), 1}, {BrokerId(1), 1}}; }));
  EXPECT_TRUE(refused([](Introduction& i) { i.founders.clear(); }));
  EXPECT_TRUE(refused([](Introduction& i) { i.stage = Stage::kNone; }));
  EXPECT_TRUE(refused([](Introduction& i) { i.stage = static_cast<Stage>(9); }));
}

TEST(Introduction, TakesAnyBytes) {
  const std::string bytes = EncodeIntroduction(kMember);
  for (uint64_t seed : Seeds(2000)) {
    std::mt19937_64 random(seed);
    std::string changed = bytes.substr(0, random() % (bytes.size() + 1));
    for (char& c : changed) {
      if (random() % 8 == 0) c = static_cast<char>(random());
    }
    const auto decoded = DecodeIntroduction(changed);
    if (!decoded.ok()) continue;
    EXPECT_EQ(*DecodeIntroduction(EncodeIntroduction(*decoded)), *decoded) << "seed " << seed;
  }
}

}  // namespace
}  // namespace millrace::server
