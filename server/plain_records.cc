#include "server/plain_records.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "proto/wire/record_batch.h"
#include "proto/wire/utf8.h"
#include "server/errors.h"

namespace millrace::server {
namespace {

using v1::Error;

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

PlainFailure RecordTooLarge(const PartitionName& name, raft::Offset offset, int64_t bytes, const PlainLimits& limits) {
  PlainFailure failure;
  failure.error = MakeError(Error::REPLY_TOO_LARGE, name.topic, name.partition,
                            absl::StrCat("the record at offset ", offset.value(), " makes a reply of ", bytes,
                                         " bytes, this client takes ", limits.reply_bytes_max,
                                         "; set max_reply_bytes in the request and the channel's option "
                                         "grpc.max_receive_message_length to at least that"));
  failure.error.limit = limits.reply_bytes_max;
  failure.error.size = bytes;
  return failure;
}

// What keeps the records of a batch from offset `from` on from being read.
PlainFailure Unreadable(const PartitionName& name, const BatchView& batch, const raft::EntryHeader& entry,
                        raft::Offset from, const absl::Status& cause, const PlainLimits& limits) {
  PlainFailure failure;
  const auto error = [&](ErrorCode code, std::string text) {
    failure.error = MakeError(code, name.topic, name.partition,
                              absl::StrCat("the batch at offset ", entry.base_offset.value(), text));
  };
  if (absl::IsResourceExhausted(cause)) {
    error(Error::REPLY_TOO_LARGE,
          absl::StrCat(" decompresses to more than the ", limits.batch_bytes_max,
                       " bytes that the broker takes for it; read it with Fetch, which gives batches as they are"));
    failure.error.limit = limits.batch_bytes_max;
    failure.error.size = batch.header.uncompressed_bytes;
  } else if (absl::IsUnimplemented(cause)) {
    error(Error::UNSUPPORTED_VERSION, absl::StrCat(" is of a kind that this release does not read: ", cause.message()));
  } else {
    failure.loss = LossFrom(from, entry.end_offset());
    failure.error = DamagedError(name, from, failure.loss, ToStdString(cause.message()));
  }
  return failure;
}

}  // namespace

absl::Cord BatchFromPlain(const google::protobuf::RepeatedPtrField<v1::PlainRecord>& records, UnixMillis now) {
  BatchBuilder builder;
  for (const v1::PlainRecord& record : records) builder.Add(ViewOf(record, now));
  return builder.Finish({});
}

PlainFailure PlainFromEntries(const PartitionName& name, const std::vector<raft::Entry>& entries, raft::Offset from,
                              bool log_append_time, const PlainLimits& limits, v1::ReadResponse* response) {
  constexpr int64_t kRecordOverhead = 16;
  int64_t encoded = 256;
  raft::Offset next = from;
  response->set_next_offset(next.value());
  for (const raft::Entry& entry : entries) {
    if (entry.header.record_count == 0) continue;
    absl::StatusOr<BatchView> batch = ParseBatch(entry.payload);
    RecordReader reader(batch.ok() ? *batch : BatchView{}, {.size_max = static_cast<size_t>(limits.batch_bytes_max)});
    while (batch.ok() && reader.Next()) {
      const raft::Offset offset = entry.header.base_offset + reader.index();
      if (offset < from) continue;
      v1::PlainRecord record;
      Fill(reader.record(), entry.header, reader.index(), log_append_time, &record);
      const int64_t bytes = static_cast<int64_t>(record.ByteSizeLong()) + kRecordOverhead;
      const bool first = response->records().empty();
      if (first && encoded + bytes > limits.reply_bytes_max)
        return RecordTooLarge(name, offset, encoded + bytes, limits);
      if (!first && encoded + bytes > std::min(limits.records_bytes_max, limits.reply_bytes_max)) return {};
      encoded += bytes;
      *response->add_records() = std::move(record);
      next = offset + 1;
      response->set_next_offset(next.value());
    }
    const absl::Status& status = batch.ok() ? reader.status() : batch.status();
    if (status.ok()) continue;
    if (!response->records().empty()) return {};
    return Unreadable(name, batch.ok() ? *batch : BatchView{}, entry.header, std::max(next, entry.header.base_offset),
                      status, limits);
  }
  return {};
}

}  // namespace millrace::server
