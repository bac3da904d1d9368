#include "millrace/record.h"

namespace millrace {
namespace {

std::optional<std::string> Owned(const std::optional<std::string_view>& view) {
  if (!view) return std::nullopt;
  return std::string(*view);
}

}  // namespace

OwnedRecord::OwnedRecord(const ConsumerRecord& record)
    : topic(record.topic),
      partition(record.partition),
      leader_epoch(record.leader_epoch),
      offset(record.offset),
      timestamp(record.timestamp),
      append_time(record.append_time),
      key(Owned(record.key)),
      value(Owned(record.value)) {
  headers.reserve(record.headers.size());
  for (const Header& header : record.headers) {
    headers.push_back({std::string(header.key), Owned(header.value)});
  }
}

std::string_view GapReasonName(Gap::Reason reason) {
  switch (reason) {
    case Gap::Reason::kUnknown:
      return "unknown";
    case Gap::Reason::kRetention:
      return "retention";
    case Gap::Reason::kTruncated:
      return "truncated";
    case Gap::Reason::kCorrupt:
      return "corrupt";
  }
  return "unknown";
}

}  // namespace millrace
