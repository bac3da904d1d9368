// A group of one replica that commits one entry: what a program needs that links raft/ and nothing else of this tree.
#include <cstdio>
#include <utility>

#include "raft/core.h"
#include "raft/random.h"

using namespace millrace::raft;

int main() {
  const Config config;
  const ReplicaId self{BrokerId(1), 1};
  PersistedState state;
  state.memberships = {{.index = LogIndex(0), .membership = {.voters = {self}}}};
  SeededRandom random(1);
  Core core(config, GroupId(1), self, state, random);
  core.Campaign();
  bool proposed = false;
  LogIndex committed;
  while (core.HasReady()) {
    Ready ready = core.TakeReady();
    if (!ready.committed.empty()) core.OnApplied(committed = ready.committed.last);
    core.OnPersisted(ready.seq);  // nothing is kept by this program
    if (core.role() == Role::kLeader && !std::exchange(proposed, true)) {
      Entry entry;
      entry.header.type = EntryType::kRecords;
      entry.header.record_count = 1;
      entry.payload = absl::Cord("hello");
      if (!core.Propose(std::move(entry)).ok()) return 1;
    }
  }
  std::printf("committed up to %lld\n", static_cast<long long>(committed.value()));
  return committed == LogIndex(2) ? 0 : 1;
}
