#include "tests/raft/bad_mail.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>

namespace millrace {

void BadMail::Disturb(std::vector<raft::Message>& messages) {
  std::vector<raft::Message> now;
  const auto comes = [this](const raft::Message&) { return OneIn(12); };
  const auto still_late = std::stable_partition(late_.begin(), late_.end(), std::not_fn(comes));
  std::move(still_late, late_.end(), std::back_inserter(now));
  late_.erase(still_late, late_.end());
  for (raft::Message& message : messages) {
    const bool delays = OneIn(15);
    const bool doubles = !delays && OneIn(15);
    counts_["delayed"] += delays;
    counts_["doubled"] += doubles;
    if (delays || doubles) late_.push_back(message);
    if (!delays) now.push_back(std::move(message));
  }
  if (OneIn(3)) {
    for (size_t left = now.size(); left > 1; --left)
      std::swap(now[left - 1], now[random_.UpTo(static_cast<int>(left))]);
  }
  messages = std::move(now);
}

}  // namespace millrace
