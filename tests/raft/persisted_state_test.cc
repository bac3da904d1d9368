#include "raft/persisted_state.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/support/fake_log_store.h"

namespace millrace::raft {
namespace {

constexpr GroupId kGroup{1};

std::vector<MembershipAt> SomeMemberships() {
  Membership joint = {.voters = {{BrokerId(1), 7}, {BrokerId(4), 9}},
                      .outgoing = {{BrokerId(1), 7}, {BrokerId(2), 8}},
                      .learners = {{BrokerId(5), 1}},
                      .promote = {{BrokerId(5), 1}},
                      .auto_leave = true};
  return {{LogIndex(0), {}}, {LogIndex(5), {.voters = {{BrokerId(1), 7}}}}, {LogIndex(1'000'000), joint}};
}

TEST(Memberships, ComeBackAsTheyWere) {
  for (const std::vector<MembershipAt>& memberships : {SomeMemberships(), std::vector<MembershipAt>()}) {
    const auto decoded = DecodeMemberships(EncodeMemberships(memberships));
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(*decoded, memberships);
  }
}

TEST(Memberships, BytesAreAsDescribed) {
  const std::string bytes = EncodeMemberships({{LogIndex(0x1234), {}}});
  EXPECT_EQ(bytes, std::string("\x01"
                               "\x01\x00"
                               "\x34\x12\0\0\0\0\0\0"
                               "\0\0\0\0",
                               15));
}

TEST(Memberships, DamagedOnesAreToldApart) {
  const std::string bytes = EncodeMemberships(SomeMemberships());
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_TRUE(absl::IsDataLoss(DecodeMemberships(bytes.substr(0, length)).status())) << length;
  }
  EXPECT_TRUE(absl::IsDataLoss(DecodeMemberships(bytes + '\0').status()));
  std::vector<MembershipAt> falling = SomeMemberships();
  std::swap(falling[0], falling[1]);
  EXPECT_TRUE(absl::IsDataLoss(DecodeMemberships(EncodeMemberships(falling)).status()));
}

TEST(Memberships, AnyBytesAreRefusedOrComeBack) {
  std::mt19937_64 random(1);
  const std::string good = EncodeMemberships(SomeMemberships());
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = good;
    for (int changes = 0; changes <= i % 4; ++changes) bytes[random() % bytes.size()] = static_cast<char>(random());
    const auto decoded = DecodeMemberships(bytes);
    if (decoded.ok()) {
      EXPECT_EQ(EncodeMemberships(*decoded), bytes);
    }
  }
}

class PersistedStateTest : public testing::Test {
 protected:
  PersistedStateTest() {
    EXPECT_TRUE(store_.Create(kGroup, {.bytes_max = 1}).ok());
    EXPECT_TRUE(store_.Open(kGroup).ok());
  }
  void Append(int64_t term, int count) {
    for (; count > 0; --count) {
      const LogState state = store_.State(kGroup);
      Entry entry;
      entry.header.term = Term(term);
      entry.header.index = state.last_index + 1;
      entry.header.base_offset = state.log_end;
      entry.header.record_count = 2;
      entry.header.append_time = state.last_append_time;
      entry.payload = absl::Cord("payload");
      round_->Append(kGroup, std::move(entry));
      Write();
    }
  }
  void Write() { ASSERT_TRUE(store_.Write(*round_).ok()); }

  FakeLogStore store_;
  std::unique_ptr<Round> round_ = store_.NewRound();
};

TEST_F(PersistedStateTest, OfANewGroup) {
  const Membership first = {.voters = {{BrokerId(1), 7}}};
  StageMemberships(*round_, kGroup, {{LogIndex(0), first}});
  Write();
  const auto state = LoadPersistedState(store_, kGroup);
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->memberships, (std::vector<MembershipAt>{{LogIndex(0), first}}));
  EXPECT_EQ(state->terms.last_index(), LogIndex(0));
  EXPECT_EQ(state->end_offset, Offset(0));
  EXPECT_EQ(LoadPersistedState(store_, GroupId(2)).status().code(), absl::StatusCode::kNotFound);
}

// Held against a walk over all entries.
TEST_F(PersistedStateTest, TermsAreFoundWhateverTheirRunsAre) {
  std::mt19937_64 random(1);
  for (int64_t term = 1; term < 40; ++term) Append(term, static_cast<int>(random() % 3 == 0 ? 70 : random() % 4));
  round_->SetTermAndVote(kGroup, {.term = Term(50), .commit_index = LogIndex(3)});
  Write();
  for (Offset log_start; log_start < store_.State(kGroup).log_end; log_start += 301) {
    round_->SetLogStart(kGroup, log_start);
    Write();
    const auto state = LoadPersistedState(store_, kGroup);
    ASSERT_TRUE(state.ok()) << state.status();
    const LogState log = store_.State(kGroup);
    EXPECT_EQ(state->terms.last_index(), log.last_index);
    EXPECT_EQ(state->end_offset, log.log_end);
    for (LogIndex i = log.begin.before.index; i <= log.last_index; ++i) {
      ASSERT_EQ(state->terms.At(i), store_.TermAt(kGroup, i).value()) << i;
    }
    for (size_t run = 1; run < state->terms.runs().size(); ++run) {
      ASSERT_LT(state->terms.runs()[run - 1].term, state->terms.runs()[run].term);
    }
  }
}

TEST_F(PersistedStateTest, OfALogThatWasReset) {
  round_->Reset(kGroup, {.before = {Term(4), LogIndex(90)}, .end_offset = Offset(500), .append_time = 8});
  round_->SetTermAndVote(kGroup, {.term = Term(5), .commit_index = LogIndex(90)});
  Write();
  Append(5, 3);
  const auto state = LoadPersistedState(store_, kGroup);
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->terms.runs(), (std::vector<EntryId>{{Term(4), LogIndex(90)}, {Term(5), LogIndex(91)}}));
  EXPECT_EQ(state->last_append_time, 8);
}

TEST_F(PersistedStateTest, AbstainingIsStoredBeforeTheDriverStarts) {
  round_->SetTermAndVote(kGroup, {.term = Term(5), .voted_for = {BrokerId(3), 3}});
  Write();
  StageAbstaining(store_, *round_, kGroup);
  Write();
  const auto state = LoadPersistedState(store_, kGroup);
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->term_and_vote, (TermAndVote{.term = Term(5), .voted_for = {BrokerId(3), 3}, .abstaining = true}));
}

TEST_F(PersistedStateTest, ContradictionsAreDataLoss) {
  Append(3, 2);
  EXPECT_EQ(LoadPersistedState(store_, kGroup).status().code(), absl::StatusCode::kDataLoss) << "no term is stored";
  round_->SetTermAndVote(kGroup, {.term = Term(3)});
  StageMemberships(*round_, kGroup, {{LogIndex(3), {.voters = {{BrokerId(1), 7}}}}});
  Write();
  EXPECT_EQ(LoadPersistedState(store_, kGroup).status().code(), absl::StatusCode::kDataLoss) << "behind the log";
  round_->PutValue(kGroup, kMembershipsKey, "x");
  Write();
  EXPECT_EQ(LoadPersistedState(store_, kGroup).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace millrace::raft
