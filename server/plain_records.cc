#include "server/plain_records.h"

#include <string_view>

#include "absl/strings/str_cat.h"
#include "proto/wire/record_batch.h"
#include "proto/wire/utf8.h"
#include "server/errors.h"

namespace millrace::server {
namespace {

RecordView ViewOf(const v1::PlainRecord& record, UnixMillis now) {
  RecordView view;
  view.timestamp = record.timestamp() != 0 ? record.timestamp() : now;
  if (record.has_key()) view.key = record.key();
  if (record.has_value()) view.value = record.value();
  for (const v1::Header& header : record.headers()) {
    HeaderView& h = view.headers.emplace_back();
    h.key = header.key();
    if (header.has_value()) h.value = header.value();
  }
  return view;
}

void Fill(const RecordView& view, const raft::EntryHeader& entry, int32_t index, bool log_append_time,
          v1::PlainRecord* out) {
  if (view.key) out->set_key(view.key->data(), view.key->size());
  if (view.value) out->set_value(view.value->data(), view.value->size());
  for (const HeaderView& header : view.headers) {
    v1::Header* h = out->add_headers();
    h->set_key(IsUtf8(header.key) ? std::string(header.key)
                                  : MakeUtf8(header.key));  // else no stub could parse the reply
    if (header.value) h->set_value(header.value->data(), header.value->size());
  }
  out->set_timestamp(log_append_time ? entry.append_time : view.timestamp);
  out->set_offset((entry.base_offset + index).value());
  out->set_append_time(entry.append_time);
  out->set_leader_epoch(static_cast<int32_t>(entry.term.value()));
}

ErrorFrame TooLarge(raft::Offset offset, int64_t bytes, const PlainLimits& limits) {
  ErrorFrame error = MakeError(v1::Error::REPLY_TOO_LARGE,
                               absl::StrCat("the record at offset ", offset.value(), " makes a reply of ", bytes,
                                            " bytes, this client takes ", limits.reply_bytes_max,
                                            "; set max_reply_bytes in the request and the channel's option "
                                            "grpc.max_receive_message_length to at least that"));
  error.limit = limits.reply_bytes_max;
  error.size = bytes;
  return error;
}

ErrorFrame Unreadable(const raft::EntryHeader& entry, const absl::Status& cause) {
  const auto code =
      cause.code() == absl::StatusCode::kUnimplemented ? v1::Error::UNSUPPORTED_VERSION : v1::Error::CORRUPT_MESSAGE;
  return MakeError(
      code, absl::StrCat("the batch at offset ", entry.base_offset.value(), " cannot be read: ", cause.message()));
}

}  // namespace

absl::Cord BatchFromPlain(const google::protobuf::RepeatedPtrField<v1::PlainRecord>& records, UnixMillis now) {
  BatchBuilder builder;
  for (const v1::PlainRecord& record : records) builder.Add(ViewOf(record, now));
  return builder.Finish({});
}

ErrorFrame PlainFromEntries(const std::vector<raft::Entry>& entries, raft::Offset from, bool log_append_time,
                            const PlainLimits& limits, v1::ReadResponse* response) {
  constexpr int64_t kRecordOverhead = 16;
  int64_t encoded = 256;
  response->set_next_offset(from.value());
  for (const raft::Entry& entry : entries) {
    if (entry.header.record_count == 0) continue;
    absl::StatusOr<BatchView> batch = ParseBatch(entry.payload);
    if (!batch.ok()) return Unreadable(entry.header, batch.status());
    RecordReader reader(*batch);
    while (reader.Next()) {
      const raft::Offset offset = entry.header.base_offset + reader.index();
      if (offset < from) continue;
      v1::PlainRecord record;
      Fill(reader.record(), entry.header, reader.index(), log_append_time, &record);
      const int64_t bytes = static_cast<int64_t>(record.ByteSizeLong()) + kRecordOverhead;
      const bool first = response->records().empty();
      if (encoded + bytes > limits.reply_bytes_max)
        return first ? TooLarge(offset, encoded + bytes, limits) : ErrorFrame{};
      if (!first && encoded + bytes > limits.records_bytes_max) return {};
      encoded += bytes;
      *response->add_records() = std::move(record);
      response->set_next_offset((offset + 1).value());
    }
    if (!reader.status().ok()) return Unreadable(entry.header, reader.status());
  }
  return {};
}

}  // namespace millrace::server
