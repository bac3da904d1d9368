#include "storage/log_meta.h"

#include "absl/strings/str_cat.h"
#include "storage/little_endian.h"

namespace millrace::storage {
namespace {

constexpr uint8_t kVersion = 1;

// Big enough for all of them.
constexpr size_t kBytesMax = 160;

template <typename Fill>
std::string EncodeWith(Fill fill) {
  char bytes[kBytesMax];
  LittleEndianWriter out(bytes);
  out.Put<uint8_t>(kVersion);
  fill(out);
  return std::string(bytes, out.end() - bytes);
}

template <typename Meta, typename Fill>
absl::StatusOr<Meta> DecodeWith(std::string_view what, std::string_view value, Fill fill) {
  LittleEndianReader in(value);
  const auto version = in.Get<uint8_t>();
  Meta meta;
  if (version == kVersion) fill(in, meta);
  if (version != kVersion || !in.complete()) {
    return absl::DataLossError(absl::StrCat("the stored ", absl::string_view(what.data(), what.size()), " of version ",
                                            version, " and ", value.size(), " bytes is damaged"));
  }
  return meta;
}

void Put(LittleEndianWriter& out, const LogPosition& position) {
  out.Put<int64_t>(position.index.value())
      .Put<int64_t>(position.term.value())
      .Put<int64_t>(position.end_offset.value())
      .Put<int64_t>(position.append_time)
      .Put<uint32_t>(position.chain)
      .Put<int64_t>(position.log_bytes)
      .Put<uint8_t>(position.after_records);
}

void Get(LittleEndianReader& in, LogPosition& position) {
  position.index = raft::LogIndex(in.Get<int64_t>());
  position.term = raft::Term(in.Get<int64_t>());
  position.end_offset = raft::Offset(in.Get<int64_t>());
  position.append_time = in.Get<int64_t>();
  position.chain = in.Get<uint32_t>();
  position.log_bytes = in.Get<int64_t>();
  position.after_records = in.Get<uint8_t>() != 0;
}

}  // namespace

LogPosition LogPosition::After(const StoredHeader& header) {
  return {.index = header.entry.index,
          .term = header.entry.term,
          .end_offset = header.entry.end_offset(),
          .append_time = header.entry.append_time,
          .chain = header.entry.chain,
          .log_bytes = header.log_bytes,
          .after_records = header.entry.record_count > 0};
}

std::string Encode(const raft::SegmentLimits& limits) {
  return EncodeWith(
      [&](LittleEndianWriter& out) { out.Put<int64_t>(limits.bytes_max).Put<int64_t>(limits.age_ms_max); });
}

std::string Encode(const raft::TermAndVote& state) {
  return EncodeWith([&](LittleEndianWriter& out) {
    out.Put<int64_t>(state.term.value())
        .Put<int64_t>(state.voted_for.broker.value())
        .Put<uint64_t>(state.voted_for.incarnation)
        .Put<int64_t>(state.commit_index.value())
        .Put<uint8_t>(state.abstaining);
  });
}

std::string Encode(const LogStart& start) {
  return EncodeWith([&](LittleEndianWriter& out) {
    out.Put<int64_t>(start.offset.value());
    Put(out, start.before);
  });
}

std::string Encode(const SegmentMeta& segment) {
  return EncodeWith([&](LittleEndianWriter& out) {
    Put(out, segment.before);
    Put(out, segment.last);
    out.Put<int64_t>(segment.first_append_time).Put<int64_t>(segment.max_timestamp).Put<uint8_t>(segment.sealed);
  });
}

std::string Encode(const IntervalMeta& interval) {
  return EncodeWith([&](LittleEndianWriter& out) {
    out.Put<int64_t>(interval.first_index.value())
        .Put<int64_t>(interval.last_index.value())
        .Put<int64_t>(interval.first_offset.value())
        .Put<int64_t>(interval.end_offset.value())
        .Put<int64_t>(interval.end_log_bytes)
        .Put<int64_t>(interval.max_timestamp);
  });
}

absl::StatusOr<raft::SegmentLimits> DecodeLimits(std::string_view value) {
  return DecodeWith<raft::SegmentLimits>("segment limits", value,
                                         [](LittleEndianReader& in, raft::SegmentLimits& limits) {
                                           limits.bytes_max = in.Get<int64_t>();
                                           limits.age_ms_max = in.Get<int64_t>();
                                         });
}

absl::StatusOr<raft::TermAndVote> DecodeTermAndVote(std::string_view value) {
  return DecodeWith<raft::TermAndVote>("term and vote", value, [](LittleEndianReader& in, raft::TermAndVote& state) {
    state.term = raft::Term(in.Get<int64_t>());
    state.voted_for.broker = raft::BrokerId(in.Get<int64_t>());
    state.voted_for.incarnation = in.Get<uint64_t>();
    state.commit_index = raft::LogIndex(in.Get<int64_t>());
    state.abstaining = in.Get<uint8_t>() != 0;
  });
}

absl::StatusOr<LogStart> DecodeLogStart(std::string_view value) {
  return DecodeWith<LogStart>("log start", value, [](LittleEndianReader& in, LogStart& start) {
    start.offset = raft::Offset(in.Get<int64_t>());
    Get(in, start.before);
  });
}

absl::StatusOr<SegmentMeta> DecodeSegment(std::string_view value) {
  return DecodeWith<SegmentMeta>("segment", value, [](LittleEndianReader& in, SegmentMeta& segment) {
    Get(in, segment.before);
    Get(in, segment.last);
    segment.first_append_time = in.Get<int64_t>();
    segment.max_timestamp = in.Get<int64_t>();
    segment.sealed = in.Get<uint8_t>() != 0;
  });
}

absl::StatusOr<IntervalMeta> DecodeInterval(std::string_view value) {
  return DecodeWith<IntervalMeta>("interval", value, [](LittleEndianReader& in, IntervalMeta& interval) {
    interval.first_index = raft::LogIndex(in.Get<int64_t>());
    interval.last_index = raft::LogIndex(in.Get<int64_t>());
    interval.first_offset = raft::Offset(in.Get<int64_t>());
    interval.end_offset = raft::Offset(in.Get<int64_t>());
    interval.end_log_bytes = in.Get<int64_t>();
    interval.max_timestamp = in.Get<int64_t>();
  });
}

}  // namespace millrace::storage
