#include "tests/raft_sim/disk.h"

#include <gtest/gtest.h>

namespace millrace::raft::sim {
namespace {

Batch Appending(int64_t index, Term term = Term(1)) {
  Batch batch{.seq = ReadySeq(index)};
  Entry entry{.header = {.type = EntryType::kNoop, .term = term, .index = LogIndex(index)}};
  batch.append.push_back(std::move(entry));
  return batch;
}

void Finish(Disk& disk) {
  Batch done;
  while (disk.busy()) ASSERT_EQ(disk.FinishNext(&done), nullptr);
}

LogIndex Last(const Image& image) { return image.chain().last(); }

TEST(Disk, IsAckedWhenTheRoundIsOver) {
  Disk disk(/*async=*/false);
  disk.Queue(Appending(1));
  EXPECT_TRUE(disk.BeginRound());
  EXPECT_EQ(Last(disk.acked()), LogIndex(0));
  Finish(disk);
  EXPECT_EQ(Last(disk.acked()), LogIndex(1));
  EXPECT_EQ(Last(disk.synced()), LogIndex(1));
}

TEST(Disk, ACrashKeepsAPrefixOfWholeBatches) {
  bool all = false, none = false;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Disk disk(/*async=*/false);
    Dice dice(seed);
    for (int i = 1; i <= 3; ++i) disk.Queue(Appending(i));
    const Disk::Loss loss = disk.Crash(Disk::Level::kMachine, dice);
    EXPECT_EQ(Last(disk.acked()).value() + static_cast<int64_t>(loss.queued), 3);
    all |= loss.queued == 0;
    none |= loss.queued == 3;
  }
  EXPECT_TRUE(all);
  EXPECT_TRUE(none);
}

TEST(Disk, AsyncKeepsWhatWasWrittenWhenTheProcessDiesAndNotWhenTheMachineDoes) {
  bool lost = false;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Disk disk(/*async=*/true);
    Dice dice(seed);
    disk.Queue(Appending(1));
    EXPECT_FALSE(disk.BeginRound());
    Finish(disk);
    disk.Crash(Disk::Level::kProcess, dice);
    EXPECT_EQ(Last(disk.acked()), LogIndex(1));
    disk.Crash(Disk::Level::kMachine, dice);
    lost |= Last(disk.acked()) == LogIndex(0);
  }
  EXPECT_TRUE(lost);
}

TEST(Disk, AsyncSyncsAllThatWasWrittenBeforeABatchThatMustBe) {
  Disk disk(/*async=*/true);
  Dice dice(1);
  disk.Queue(Appending(1));
  disk.BeginRound();
  Finish(disk);
  Batch vote{.seq = ReadySeq(2), .term_and_vote = TermAndVote{.term = Term(2)}, .must_sync = true};
  disk.Queue(std::move(vote));
  EXPECT_TRUE(disk.BeginRound());
  Finish(disk);
  disk.Crash(Disk::Level::kMachine, dice);
  EXPECT_EQ(Last(disk.acked()), LogIndex(1));
  EXPECT_EQ(disk.acked().term_and_vote().term, Term(2));
}

TEST(Image, NamesABrokenPromise) {
  Image image;
  Batch vote{.term_and_vote = TermAndVote{.term = Term(2), .voted_for = {BrokerId(1), 1}}};
  EXPECT_EQ(image.Apply(vote), nullptr);
  vote.term_and_vote->voted_for = {BrokerId(2), 1};
  EXPECT_STREQ(image.Apply(vote), "the vote on disk changes within a term");
  vote.term_and_vote = TermAndVote{.term = Term(1)};
  EXPECT_STREQ(image.Apply(vote), "the term on disk goes back");
  EXPECT_STREQ(image.Apply(Appending(2)), "index does not follow");
}

TEST(Image, ForgetsACutWithWhatCameAfterIt) {
  Image image;
  image.SetFirstMembership({.voters = {{BrokerId(1), 1}}});
  for (int64_t index = 1; index <= 3; ++index) ASSERT_EQ(image.Apply(Appending(index)), nullptr);
  Batch cut = Appending(2, Term(2));
  cut.truncate_from = LogIndex(2);
  cut.term_and_vote = TermAndVote{.term = Term(2), .commit_index = LogIndex(2)};
  ASSERT_EQ(image.Apply(cut), nullptr);
  ASSERT_TRUE(image.Forget(LogIndex(1)));
  EXPECT_TRUE(image.chain().Holds({Term(1), LogIndex(3)}));
  EXPECT_EQ(image.EntryAt(LogIndex(2)).header.term, Term(1));
  EXPECT_EQ(image.term_and_vote().commit_index, LogIndex(1));
}

TEST(Image, ASnapshotIsOfTheLogsStart) {
  Image image;
  EXPECT_EQ(image.Apply(Appending(1)), nullptr);
  Batch remove{.remove_prefix = LogIndex(1)};
  EXPECT_EQ(image.Apply(remove), nullptr);
  const InstallSnapshot snapshot = image.Snapshot({LogIndex(7), {.voters = {{BrokerId(1), 1}}}});
  EXPECT_EQ(snapshot.last, (EntryId{Term(1), LogIndex(1)}));
  EXPECT_EQ(snapshot.membership_index, LogIndex(1));
  EXPECT_EQ(image.ToState().terms.before_first(), LogIndex(1));
}

}  // namespace
}  // namespace millrace::raft::sim
