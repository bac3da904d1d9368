// The checker finds what it is there to find, and the commands that no file of etcd-raft/ uses mean what etcd means by them.
#include "tests/conformance/transcript_check.h"

#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

namespace millrace::conformance {
namespace {

std::vector<std::string> DifferencesOf(std::string_view text) {
  const auto found = CheckTranscript("f.txt", text);
  if (!found.ok()) return {std::string(found.status().message())};
  std::vector<std::string> lines;
  for (const Difference& d : *found) lines.push_back(d.ToString());
  return lines;
}

using Lines = std::vector<std::string>;

// Three nodes, of which node 1 leads at term 1 with entry 11.
constexpr std::string_view kElected =
    "log-level none\n----\nok\n\n"
    "add-nodes 3 voters=(1,2,3) index=10\n----\nok\n\n"
    "campaign 1\n----\nok\n\n"
    "stabilize\n----\nok\n\n"
    "log-level debug\n----\nok\n\n";

std::string After(std::string_view text) { return std::string(kElected) + std::string(text); }

TEST(TranscriptCheck, FindsAWrongLog) {
  EXPECT_EQ(DifferencesOf(After("raft-log 2\n----\n1/11 EntryNormal \"\"\n")), Lines());
  EXPECT_EQ(DifferencesOf(After("raft-log 2\n----\n1/11 EntryNormal \"x\"\n1/12 EntryNormal \"\"\n")),
            (Lines{"f.txt:21: raft-log 2, line 1: etcd has 1/11 EntryNormal \"x\", ours 1/11 EntryNormal \"\"",
                   "f.txt:21: raft-log 2, line 2: etcd has 1/12 EntryNormal \"\", ours nothing",
                   "f.txt:end: node 2 last index: etcd has 12, ours 11",
                   "f.txt:end: node 2 entry 11: etcd has 1/11 EntryNormal \"x\", ours 1/11 EntryNormal \"\"",
                   "f.txt:end: node 2 entry 12: etcd has 1/12 EntryNormal \"\", ours nothing"}));
}

TEST(TranscriptCheck, FindsAWrongRoleAndProgress) {
  EXPECT_EQ(
      DifferencesOf(After("status 1\n----\n1: StateReplicate match=11 next=12\n2: StateProbe match=11 next=12 paused\n"
                          "3: StateReplicate match=9 next=12\n")),
      (Lines{"f.txt:21: status 1, line 2: etcd has 2: StateProbe match=11, ours 2: StateReplicate match=11",
             "f.txt:21: status 1, line 3: etcd has 3: StateReplicate match=9, ours 3: StateReplicate match=11"}));
  EXPECT_EQ(DifferencesOf(After(
                "raft-state\n----\n1: StateFollower (Voter) Term:1 Lead:1\n2: StateFollower (Voter) Term:1 Lead:1\n"
                "3: StateFollower (Voter) Term:1 Lead:1\n")),
            (Lines{"f.txt:21: raft-state, line 1: etcd has 1: StateFollower (Voter) Term:1 Lead:1, ours "
                   "1: StateLeader (Voter) Term:1 Lead:1",
                   "f.txt:end: node 1 role: etcd has StateFollower, ours StateLeader"}));
}

TEST(TranscriptCheck, FindsAWrongStateInATrace) {
  const std::string trace = After(
      "propose 1 data\n----\nok\n\n"
      "stabilize\n----\n"
      "> 2 handling Ready\n"
      "  Ready MustSync=true:\n"
      "  HardState Term:2 Vote:3 Commit:13\n"
      "  Entries:\n"
      "  1/12 EntryNormal \"data\"\n"
      "  2/13 EntryNormal \"\"\n"
      "  INFO 2 switched to configuration voters=(1 2)\n");
  EXPECT_EQ(DifferencesOf(trace),
            (Lines{"f.txt:25: node 2 term: etcd has 2, ours 1", "f.txt:25: node 2 vote: etcd has 3, ours 1",
                   "f.txt:25: node 2 commit: etcd has 13, ours 12",
                   "f.txt:25: node 2 configuration: etcd has voters=(1 2), ours voters=(1 2 3)",
                   "f.txt:25: node 2 last index: etcd has 13, ours 12",
                   "f.txt:25: node 2 entry 13: etcd has 2/13 EntryNormal \"\", ours nothing",
                   "f.txt:end: node 2 term: etcd has 2, ours 1", "f.txt:end: node 2 vote: etcd has 3, ours 1",
                   "f.txt:end: node 2 commit: etcd has 13, ours 12",
                   "f.txt:end: node 2 configuration: etcd has voters=(1 2), ours voters=(1 2 3)",
                   "f.txt:end: node 2 last index: etcd has 13, ours 12",
                   "f.txt:end: node 2 entry 13: etcd has 2/13 EntryNormal \"\", ours nothing"}));
}

TEST(TranscriptCheck, ForgetsWhatASilentCommandMayHaveChanged) {
  EXPECT_EQ(DifferencesOf("add-nodes 1 voters=(1) index=5\n----\n"
                          "INFO 1 switched to configuration voters=(1)\n"
                          "INFO newRaft 1 [peers: [1], term: 0, commit: 5, applied: 5, lastindex: 5, lastterm: 1]\n\n"
                          "log-level none\n----\nok\n\n"
                          "campaign 1\n----\nok\n\n"
                          "stabilize\n----\nok\n"),
            Lines());
}

TEST(TranscriptCheck, WhatIsNotKnownIsAnError) {
  EXPECT_EQ(DifferencesOf(After("crash 1\n----\nok\n")), Lines{"f.txt:21: unknown command crash"});
  EXPECT_EQ(DifferencesOf("add-nodes 1 voters=(1) index=5 colour=red\n----\nok\n"),
            Lines{"f.txt:1: unknown argument colour"});
  EXPECT_EQ(DifferencesOf(After("stabilize 1 speed=2\n----\nok\n")), Lines{"f.txt:21: unknown argument speed"});
  EXPECT_EQ(DifferencesOf(After("deliver-msgs 1 type=MsgParty\n----\nok\n")),
            Lines{"f.txt:21: unknown message type MsgParty"});
  EXPECT_EQ(DifferencesOf(After("campaign 4\n----\nok\n")), Lines{"f.txt:21: there is no node 4"});
}

TEST(Transcript, TheTimeoutThatIsSetIsTheOneThatRuns) {
  constexpr std::string_view kTimeouts =
      "set-randomized-election-timeout 2 timeout=4\n----\nok\n\n"
      "tick-election 2\n----\nok\n\n"
      "raft-state\n----\n1: StateLeader (Voter) Term:1 Lead:1\n2: StateFollower (Voter) Term:1 Lead:1\n"
      "3: StateFollower (Voter) Term:1 Lead:1\n\n"
      "tick-heartbeat 2\n----\nok\n\n"
      "raft-state\n----\n1: StateLeader (Voter) Term:1 Lead:1\n2: StateCandidate (Voter) Term:2 Lead:0\n"
      "3: StateFollower (Voter) Term:1 Lead:1\n\n"
      "set-randomized-election-timeout 2 timeout=3\n----\nok\n\n"
      "tick-election 2\n----\nok\n\n"
      "raft-state\n----\n1: StateLeader (Voter) Term:1 Lead:1\n2: StateCandidate (Voter) Term:3 Lead:0\n"
      "3: StateFollower (Voter) Term:1 Lead:1\n";
  EXPECT_EQ(DifferencesOf(After(kTimeouts)), Lines());
  EXPECT_EQ(DifferencesOf(After("set-randomized-election-timeout 2 timeout=4\n----\nok\n\n"
                                "set-randomized-election-timeout 2 timeout=5\n----\nok\n")),
            Lines{"f.txt:25: the timer has been running since the last such command, and our core cannot set it while "
                  "it runs"});
}

TEST(Transcript, AFollowerPassesProposalsOnAndADroppedOneIsTold) {
  EXPECT_EQ(DifferencesOf(After("propose 3 data\n----\nok\n\n"
                                "stabilize\n----\nok\n\n"
                                "raft-log 2\n----\n1/11 EntryNormal \"\"\n1/12 EntryNormal \"data\"\n\n"
                                "campaign 2\n----\nok\n\n"
                                "propose 2 lost\n----\nraft proposal dropped\n")),
            Lines());
}

TEST(Transcript, OnlyMessagesOfTheTypeAreDelivered) {
  EXPECT_EQ(DifferencesOf(After("propose 1 data\n----\nok\n\n"
                                "tick-heartbeat 1\n----\nok\n\n"
                                "process-ready 1\n----\nok\n\n"
                                "deliver-msgs 2 type=MsgHeartbeat drop=3\n----\nok\n\n"
                                "stabilize 2\n----\nok\n\n"
                                "raft-log 2\n----\n1/11 EntryNormal \"\"\n1/12 EntryNormal \"data\"\n\n"
                                "raft-log 3\n----\n1/11 EntryNormal \"\"\n")),
            Lines());
}

TEST(Transcript, ASnapshotCanBeSentByHand) {
  EXPECT_EQ(
      DifferencesOf(After("propose 1 data\n----\nok\n\n"
                          "stabilize 1 2\n----\nok\n\n"
                          "deliver-msgs drop=3\n----\nok\n\n"
                          "send-snapshot 1 3\n----\nok\n\n"
                          "stabilize 1 3\n----\nok\n\n"
                          "raft-log 3\n----\nlog is empty: first index=13, last index=12\n\n"
                          "status 1\n----\n1: StateReplicate match=12 next=13\n2: StateReplicate match=12 next=13\n"
                          "3: StateReplicate match=12 next=13\n")),
      Lines());
}

TEST(Transcript, ASnapshotOlderThanTheOneWaitedForWillDo) {
  EXPECT_EQ(DifferencesOf("log-level none\n----\nok\n\n"
                          "add-nodes 2 voters=(1,2,3) index=10\n----\nok\n\n"
                          "campaign 1\n----\nok\n\n"
                          "stabilize\n----\nok\n\n"
                          "compact 1 11\n----\nok\n\n"
                          "deliver-msgs drop=(3)\n----\nok\n\n"
                          "add-nodes 1\n----\nok\n\n"
                          "send-snapshot 1 3\n----\nok\n\n"
                          "propose 1 foo\n----\nok\n\n"
                          "stabilize 1 2\n----\nok\n\n"
                          "tick-heartbeat 1\n----\nok\n\n"
                          "process-ready 1\n----\nok\n\n"
                          "deliver-msgs 3 type=MsgHeartbeat\n----\nok\n\n"
                          "process-ready 3\n----\nok\n\n"
                          "deliver-msgs 1 type=MsgHeartbeatResp\n----\nok\n\n"
                          "log-level debug\n----\nok\n\n"
                          "status 1\n----\n1: StateReplicate match=12 next=13\n2: StateReplicate match=12 next=13\n"
                          "3: StateSnapshot match=0 next=13 paused pendingSnap=12\n\n"
                          "stabilize 3\n----\nok\n\n"
                          "deliver-msgs 1\n----\nok\n\n"
                          "status 1\n----\n1: StateReplicate match=12 next=13\n2: StateReplicate match=12 next=13\n"
                          "3: StateReplicate match=11 next=13 inflight=1\n"),
            Lines());
}

TEST(Transcript, ChangesAreEntriesOfTheirNamesAlsoThoseWithoutEffect) {
  EXPECT_EQ(DifferencesOf(
                After("propose-conf-change 1 v1=true\nv1\n----\nok\n\n"
                      "stabilize\n----\nok\n\n"
                      "propose-conf-change 1 transition=implicit\nl3 u2\n----\nok\n\n"
                      "propose-conf-change 1\nv4\n----\nok\n\n"
                      "stabilize\n----\nok\n\n"
                      "raft-log 3\n----\n"
                      "1/11 EntryNormal \"\"\n"
                      "1/12 EntryConfChange v1\n"
                      "1/13 EntryConfChangeV2 l3 u2\n"
                      "1/14 EntryNormal \"\"\n"
                      "1/15 EntryConfChangeV2\n\n"
                      "raft-state\n----\n1: StateLeader (Voter) Term:1 Lead:1\n2: StateFollower (Voter) Term:1 Lead:1\n"
                      "3: StateFollower (Non-Voter) Term:1 Lead:1\n")),
            Lines());
}

TEST(Transcript, CommittedEntriesAreAppliedInPieces) {
  constexpr std::string_view kPieces =
      "log-level none\n----\nok\n\n"
      "add-nodes 1 voters=(1) index=5 max-committed-size-per-ready=1\n----\nok\n\n"
      "campaign 1\n----\nok\n\n"
      "process-ready 1\n----\nok\n\n"
      "propose-conf-change 1\nl2\n----\nok\n\n"
      "log-level debug\n----\nok\n\n"
      "process-ready 1\n----\nok\n\n"  // writes the leader's first entry
      "process-ready 1\n----\nok\n\n"  // applies it, and writes the change
      "process-ready 1\n----\nok\n\n"  // applies that
      "raft-log 1\n----\n1/6 EntryNormal \"\"\n1/7 EntryConfChangeV2 l2\n\n"
      "status 1\n----\n1: StateReplicate match=7 next=8\n2: StateProbe match=0 next=7 learner\n";
  EXPECT_EQ(DifferencesOf(kPieces), Lines());
}

TEST(Transcript, AFollowerForgetsItsLeaderUntilItHearsOfIt) {
  EXPECT_EQ(DifferencesOf(
                After("forget-leader 1\n----\nok\n\n"
                      "forget-leader 2\n----\nok\n\n"
                      "raft-state\n----\n1: StateLeader (Voter) Term:1 Lead:1\n2: StateFollower (Voter) Term:1 Lead:0\n"
                      "3: StateFollower (Voter) Term:1 Lead:1\n\n"
                      "log-level none\n----\nok\n\n"
                      "tick-heartbeat 1\n----\nok\n\n"
                      "stabilize\n----\nok\n\n"
                      "log-level debug\n----\nok\n\n"
                      "raft-state\n----\n1: StateLeader (Voter) Term:1 Lead:1\n2: StateFollower (Voter) Term:1 Lead:1\n"
                      "3: StateFollower (Voter) Term:1 Lead:1\n")),
            Lines());
}

}  // namespace
}  // namespace millrace::conformance
