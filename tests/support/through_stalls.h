// For callers of a LogStore that may wait: does what a stall refuses again until it is taken.
//
//     ThroughStalls(store, [&] { return store.Write(*round); });
#pragma once

#include <future>

#include "raft/log_store.h"

namespace millrace {

template <typename Change>
absl::Status ThroughStalls(raft::LogStore& store, Change change) {
  absl::Status status = change();
  while (raft::IsStalled(status)) {
    std::promise<void> writable;
    store.WhenWritable([&writable] { writable.set_value(); });
    writable.get_future().wait();
    status = change();
  }
  return status;
}

}  // namespace millrace
