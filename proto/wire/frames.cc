#include "proto/wire/frames.h"

#include "proto/wire/cord_reader.h"
#include "proto/wire/frame_writer.h"

namespace millrace {

using internal::CordReader;
using internal::FrameWriter;
using internal::kBytes;
using internal::kVarint;
using internal::Tag;

namespace {

// One Read and one Write a message of error.proto and broker.proto; field numbers are theirs. A submessage that comes twice
// is merged, as protobuf says: Read changes only the fields it meets.
// One field a line.
// clang-format off

template <typename Frame>
Frame& Present(std::optional<Frame>& frame) {
  return frame ? *frame : frame.emplace();
}

void Read(CordReader& in, LeaderHintFrame& leader) {
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): leader.broker_id = in.Int32(); break;
      case Tag(2, kBytes): in.String(&leader.address); break;
      case Tag(3, kVarint): leader.leader_epoch = in.Int32(); break;
      default: in.Skip(tag);
    }
  }
}

void Write(FrameWriter& out, const LeaderHintFrame& leader) {
  out.Integer(1, leader.broker_id);
  out.String(2, leader.address);
  out.Integer(3, leader.leader_epoch);
}

void Read(CordReader& in, ErrorFrame& error) {
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): error.code = in.Int32(); break;
      case Tag(2, kBytes): in.String(&error.message); break;
      case Tag(3, kVarint): error.retriable = in.Bool(); break;
      case Tag(4, kVarint): error.may_have_happened = in.Bool(); break;
      case Tag(5, kBytes): in.String(&error.topic); break;
      case Tag(6, kVarint): error.partition = in.Int32(); break;
      case Tag(7, kBytes): in.String(&error.address); break;
      case Tag(8, kVarint): error.limit = in.Int64(); break;
      case Tag(9, kVarint): error.size = in.Int64(); break;
      case Tag(10, kVarint): error.log_start_offset = in.Int64(); break;
      case Tag(11, kVarint): error.high_watermark = in.Int64(); break;
      case Tag(12, kBytes): in.Message([&] { Read(in, Present(error.leader)); }); break;
      case Tag(13, kVarint): error.producer_epoch = in.Int32(); break;
      case Tag(14, kVarint): error.expected_sequence = in.Int32(); break;
      default: in.Skip(tag);
    }
  }
}

void Write(FrameWriter& out, const ErrorFrame& error) {
  out.Integer(1, error.code);
  out.String(2, error.message);
  out.Integer(3, error.retriable);
  out.Integer(4, error.may_have_happened);
  out.String(5, error.topic);
  if (error.partition) out.PresentInteger(6, *error.partition);
  out.String(7, error.address);
  out.Integer(8, error.limit);
  out.Integer(9, error.size);
  if (error.log_start_offset) out.PresentInteger(10, *error.log_start_offset);
  if (error.high_watermark) out.PresentInteger(11, *error.high_watermark);
  if (error.leader) out.Message(12, [&] { Write(out, *error.leader); });
  out.Integer(13, error.producer_epoch);
  out.Integer(14, error.expected_sequence);
}

void Read(CordReader& in, PartitionBatchFrame& batch) {
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): batch.id = in.Varint(); break;
      case Tag(2, kBytes): in.String(&batch.topic); break;
      case Tag(3, kVarint): batch.partition = in.Int32(); break;
      case Tag(4, kVarint): batch.topic_id = in.Varint(); break;
      case Tag(5, kVarint): batch.leader_epoch = in.Int32(); break;
      case Tag(15, kBytes): in.AppendTo(&batch.batch); break;
      default: in.Skip(tag);
    }
  }
}

void Write(FrameWriter& out, const PartitionBatchFrame& batch) {
  out.Integer(1, static_cast<int64_t>(batch.id));
  out.String(2, batch.topic);
  out.Integer(3, batch.partition);
  out.Integer(4, static_cast<int64_t>(batch.topic_id));
  out.Integer(5, batch.leader_epoch);
  out.Shared(15, batch.batch);
}

void Read(CordReader& in, ProduceAckFrame& ack) {
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): ack.id = in.Varint(); break;
      case Tag(2, kBytes): in.Message([&] { Read(in, ack.error); }); break;
      case Tag(3, kVarint): ack.base_offset = in.Int64(); break;
      case Tag(4, kVarint): ack.append_time = in.Int64(); break;
      case Tag(5, kVarint): ack.leader_epoch = in.Int32(); break;
      case Tag(6, kVarint): ack.durability = static_cast<Durability>(in.Int32()); break;
      case Tag(7, kVarint): ack.log_start_offset = in.Int64(); break;
      case Tag(8, kVarint): ack.high_watermark = in.Int64(); break;
      case Tag(9, kVarint): ack.duplicate = in.Bool(); break;
      case Tag(10, kVarint): ack.crc_computed = in.Bool(); break;
      case Tag(11, kBytes): in.Message([&] { Read(in, Present(ack.leader)); }); break;
      default: in.Skip(tag);
    }
  }
}

void Write(FrameWriter& out, const ProduceAckFrame& ack) {
  out.Integer(1, static_cast<int64_t>(ack.id));
  if (!ack.error.ok()) out.Message(2, [&] { Write(out, ack.error); });
  out.Integer(3, ack.base_offset);
  out.Integer(4, ack.append_time);
  out.Integer(5, ack.leader_epoch);
  out.Integer(6, static_cast<int32_t>(ack.durability));
  out.Integer(7, ack.log_start_offset);
  out.Integer(8, ack.high_watermark);
  out.Integer(9, ack.duplicate);
  out.Integer(10, ack.crc_computed);
  if (ack.leader) out.Message(11, [&] { Write(out, *ack.leader); });
}

void SetPosition(FetchSubscriptionFrame& subscription, FetchSubscriptionFrame::Position position, int64_t value) {
  subscription.position = position;
  subscription.position_value = value;
}

void Read(CordReader& in, FetchSubscriptionFrame& subscription) {
  using Position = FetchSubscriptionFrame::Position;
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): subscription.id = in.Varint(); break;
      case Tag(2, kBytes): in.String(&subscription.topic); break;
      case Tag(3, kVarint): subscription.partition = in.Int32(); break;
      case Tag(4, kVarint): subscription.topic_id = in.Varint(); break;
      case Tag(5, kVarint): SetPosition(subscription, Position::kOffset, in.Int64()); break;
      case Tag(6, kVarint): SetPosition(subscription, Position::kTimestamp, in.Int64()); break;
      case Tag(7, kVarint): SetPosition(subscription, Position::kSpec, in.Int32()); break;
      case Tag(8, kVarint): SetPosition(subscription, Position::kRecordsBeforeEnd, in.Int64()); break;
      case Tag(9, kVarint): subscription.leader_epoch = in.Int32(); break;
      case Tag(10, kVarint): subscription.out_of_range = in.Int32(); break;
      case Tag(11, kVarint): subscription.routing = in.Int32(); break;
      case Tag(12, kVarint): subscription.end_offset = in.Int64(); break;
      default: in.Skip(tag);
    }
  }
}

void Write(FrameWriter& out, const FetchSubscriptionFrame& subscription) {
  out.Integer(1, static_cast<int64_t>(subscription.id));
  out.String(2, subscription.topic);
  out.Integer(3, subscription.partition);
  out.Integer(4, static_cast<int64_t>(subscription.topic_id));
  switch (subscription.position) {
    case FetchSubscriptionFrame::Position::kNone: break;
    case FetchSubscriptionFrame::Position::kOffset: out.PresentInteger(5, subscription.position_value); break;
    case FetchSubscriptionFrame::Position::kTimestamp: out.PresentInteger(6, subscription.position_value); break;
    case FetchSubscriptionFrame::Position::kSpec: out.PresentInteger(7, subscription.position_value); break;
    case FetchSubscriptionFrame::Position::kRecordsBeforeEnd: out.PresentInteger(8, subscription.position_value); break;
  }
  out.Integer(9, subscription.leader_epoch);
  out.Integer(10, subscription.out_of_range);
  out.Integer(11, subscription.routing);
  out.Integer(12, subscription.end_offset);
}

void Read(CordReader& in, GapFrame& gap) {
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): gap.from = in.Int64(); break;
      case Tag(2, kVarint): gap.to = in.Int64(); break;
      case Tag(3, kVarint): gap.reason = in.Int32(); break;
      default: in.Skip(tag);
    }
  }
}

void Write(FrameWriter& out, const GapFrame& gap) {
  out.Integer(1, gap.from);
  out.Integer(2, gap.to);
  out.Integer(3, gap.reason);
}

void Read(CordReader& in, FetchedBatchFrame& batch) {
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): batch.base_offset = in.Int64(); break;
      case Tag(2, kVarint): batch.leader_epoch = in.Int32(); break;
      case Tag(3, kVarint): batch.append_time = in.Int64(); break;
      case Tag(15, kBytes): in.AppendTo(&batch.batch); break;
      default: in.Skip(tag);
    }
  }
}

void Write(FrameWriter& out, const FetchedBatchFrame& batch) {
  out.Integer(1, batch.base_offset);
  out.Integer(2, batch.leader_epoch);
  out.Integer(3, batch.append_time);
  out.Shared(15, batch.batch);
}

void Read(CordReader& in, FetchPartitionFrame& partition) {
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): partition.subscription = in.Varint(); break;
      case Tag(2, kBytes): in.Message([&] { Read(in, partition.error); }); break;
      case Tag(3, kVarint): partition.high_watermark = in.Int64(); break;
      case Tag(4, kVarint): partition.log_start_offset = in.Int64(); break;
      case Tag(5, kVarint): partition.leader_epoch = in.Int32(); break;
      case Tag(6, kBytes): in.Message([&] { Read(in, Present(partition.gap)); }); break;
      case Tag(7, kVarint): partition.start_offset = in.Int64(); break;
      case Tag(8, kVarint): partition.end_reached = in.Bool(); break;
      case Tag(9, kVarint): partition.log_append_time = in.Bool(); break;
      case Tag(10, kBytes): in.Message([&] { Read(in, Present(partition.leader)); }); break;
      case Tag(15, kBytes): in.Message([&] { Read(in, in.AddElement(&partition.batches)); }); break;
      default: in.Skip(tag);
    }
  }
}

void Write(FrameWriter& out, const FetchPartitionFrame& partition) {
  out.Integer(1, static_cast<int64_t>(partition.subscription));
  if (!partition.error.ok()) out.Message(2, [&] { Write(out, partition.error); });
  out.Integer(3, partition.high_watermark);
  out.Integer(4, partition.log_start_offset);
  out.Integer(5, partition.leader_epoch);
  if (partition.gap) out.Message(6, [&] { Write(out, *partition.gap); });
  if (partition.start_offset) out.PresentInteger(7, *partition.start_offset);
  out.Integer(8, partition.end_reached);
  out.Integer(9, partition.log_append_time);
  if (partition.leader) out.Message(10, [&] { Write(out, *partition.leader); });
  for (const FetchedBatchFrame& batch : partition.batches) out.Message(15, [&] { Write(out, batch); });
}

void Read(CordReader& in, ProduceRequestFrame& request) {
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): request.acks = in.Int32(); break;
      case Tag(2, kVarint): request.routing = in.Int32(); break;
      case Tag(3, kVarint): request.ping = in.Varint(); break;
      case Tag(15, kBytes): in.Message([&] { Read(in, in.AddElement(&request.batches)); }); break;
      default: in.Skip(tag);
    }
  }
}

void Write(FrameWriter& out, const ProduceRequestFrame& request) {
  out.Integer(1, request.acks);
  out.Integer(2, request.routing);
  out.Integer(3, static_cast<int64_t>(request.ping));
  for (const PartitionBatchFrame& batch : request.batches) out.Message(15, [&] { Write(out, batch); });
}

void Read(CordReader& in, ProduceResponseFrame& response) {
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): response.ping = in.Varint(); break;
      case Tag(2, kBytes): in.Message([&] { Read(in, in.AddElement(&response.acks)); }); break;
      default: in.Skip(tag);
    }
  }
}

void Write(FrameWriter& out, const ProduceResponseFrame& response) {
  out.Integer(1, static_cast<int64_t>(response.ping));
  for (const ProduceAckFrame& ack : response.acks) out.Message(2, [&] { Write(out, ack); });
}

void Read(CordReader& in, FetchRequestFrame& request) {
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): request.max_reply_bytes = in.Int64(); break;
      case Tag(2, kVarint): in.AppendTo(&request.unsubscribe); break;
      case Tag(2, kBytes): in.AppendPackedTo(&request.unsubscribe); break;
      case Tag(3, kBytes): in.Message([&] { Read(in, in.AddElement(&request.subscribe)); }); break;
      case Tag(4, kVarint): in.AppendTo(&request.pause); break;
      case Tag(4, kBytes): in.AppendPackedTo(&request.pause); break;
      case Tag(5, kVarint): in.AppendTo(&request.resume); break;
      case Tag(5, kBytes): in.AppendPackedTo(&request.resume); break;
      case Tag(6, kVarint): request.credit = in.Int64(); break;
      case Tag(7, kVarint): request.ping = in.Varint(); break;
      default: in.Skip(tag);
    }
  }
}

void Write(FrameWriter& out, const FetchRequestFrame& request) {
  out.Integer(1, request.max_reply_bytes);
  out.Packed(2, request.unsubscribe);
  for (const FetchSubscriptionFrame& subscription : request.subscribe) {
    out.Message(3, [&] { Write(out, subscription); });
  }
  out.Packed(4, request.pause);
  out.Packed(5, request.resume);
  out.Integer(6, request.credit);
  out.Integer(7, static_cast<int64_t>(request.ping));
}

void Read(CordReader& in, FetchResponseFrame& response) {
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): response.ping = in.Varint(); break;
      case Tag(15, kBytes): in.Message([&] { Read(in, in.AddElement(&response.partitions)); }); break;
      default: in.Skip(tag);
    }
  }
}

void Write(FrameWriter& out, const FetchResponseFrame& response) {
  out.Integer(1, static_cast<int64_t>(response.ping));
  for (const FetchPartitionFrame& partition : response.partitions) out.Message(15, [&] { Write(out, partition); });
}

// clang-format on

template <typename Frame>
absl::StatusOr<Frame> Parse(const absl::Cord& bytes, const char* name) {
  Frame frame;
  CordReader in(bytes);
  Read(in, frame);
  if (!in.ok()) return in.status(name);
  return frame;
}

template <typename Frame>
absl::Cord Serialize(const Frame& frame) {
  FrameWriter out;
  Write(out, frame);
  return std::move(out).ToCord();
}

}  // namespace

std::string SerializeError(const ErrorFrame& error) { return std::string(Serialize(error)); }
absl::StatusOr<ErrorFrame> ParseError(const absl::Cord& bytes) { return Parse<ErrorFrame>(bytes, "Error"); }

absl::StatusOr<ProduceRequestFrame> ParseProduceRequest(const absl::Cord& message) {
  return Parse<ProduceRequestFrame>(message, "ProduceRequest");
}
absl::Cord SerializeProduceRequest(const ProduceRequestFrame& request) { return Serialize(request); }

absl::StatusOr<ProduceResponseFrame> ParseProduceResponse(const absl::Cord& message) {
  return Parse<ProduceResponseFrame>(message, "ProduceResponse");
}
absl::Cord SerializeProduceResponse(const ProduceResponseFrame& response) { return Serialize(response); }

absl::StatusOr<FetchRequestFrame> ParseFetchRequest(const absl::Cord& message) {
  return Parse<FetchRequestFrame>(message, "FetchRequest");
}
absl::Cord SerializeFetchRequest(const FetchRequestFrame& request) { return Serialize(request); }

absl::StatusOr<FetchResponseFrame> ParseFetchResponse(const absl::Cord& message) {
  return Parse<FetchResponseFrame>(message, "FetchResponse");
}
absl::Cord SerializeFetchResponse(const FetchResponseFrame& response) { return Serialize(response); }

}  // namespace millrace
