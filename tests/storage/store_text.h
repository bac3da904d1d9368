// All that can be asked of logs, as text: the same for a store and for the models of its logs exactly when both hold the same.
//
//     absl::StatusOr<std::string> text = TextOf(store);
//     if (text.ok() && *text != TextOf(models)) ...      // one line a log
//
// For a store this reads every entry, checks its payload, and finds it again by offset.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "storage/rocks_log_store.h"
#include "tests/storage/workload.h"

namespace millrace::storage {

std::string TextOf(const Workload::Logs& logs);
// Opens the logs. The first error met, or kDataLoss for what contradicts itself.
absl::StatusOr<std::string> TextOf(RocksLogStore& store);

}  // namespace millrace::storage
