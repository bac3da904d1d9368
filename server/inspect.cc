#include "server/inspect.h"

#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "millrace/internal/v1/metadata.pb.h"
#include "proto/wire/crc32c.h"
#include "raft/damage.h"
#include "server/batch_validation.h"
#include "server/metadata_image.h"
#include "server/topic_config.h"
#include "storage/store_inspector.h"

namespace millrace::server {
namespace {

using raft::GroupId;
using storage::FileKind;
using storage::LogImage;
using storage::StoreInspector;

constexpr int kExitSound = 0;
constexpr int kExitDamaged = 1;
constexpr int kExitUsage = 2;

constexpr char kHelp[] = R"(millraced inspect DIR [--output text|json] [--batches]

Reads the store of a stopped broker: its files, topics and segments, and every checksum. Nothing is changed.
--batches lists each batch, too; as json with a digest of the log up to there: of two copies of a partition, equal digests at one
index say that all before is equal. Exit code 0: nothing is damaged, 1: something is, or the store cannot be read (it is in use,
there is none).

Example: millraced inspect /var/lib/millrace
)";

struct Options {
  std::string directory;
  bool json = false;
  bool batches = false;
};

std::optional<Options> Parse(const std::vector<std::string>& arguments) {
  Options options;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (word == "--batches") {
      options.batches = true;
    } else if (word == "--output" && i + 1 < arguments.size()) {
      options.json = arguments[++i] == "json";
      if (!options.json && arguments[i] != "text") return std::nullopt;
    } else if (word.starts_with("-") || !options.directory.empty()) {
      return std::nullopt;
    } else {
      options.directory = word;
    }
  }
  if (options.directory.empty()) return std::nullopt;
  while (options.directory.size() > 1 && options.directory.ends_with('/')) options.directory.pop_back();
  return options;
}

struct Batch {
  raft::EntryHeader header;
  size_t bytes = 0;
};

struct Segment {
  storage::SegmentMeta meta;
  int64_t batches = 0;
  std::vector<Batch> list;  // with --batches
};

struct Damage {
  raft::LogIndex entry;
  std::optional<raft::OffsetRange> offsets;
  std::string error;
};

struct Partition {
  GroupId group;
  int32_t partition = 0;
  LogImage log;
  std::vector<Segment> segments;
  std::vector<Damage> damages;
  std::string error;  // why the log cannot be read at all
};

struct Topic {
  std::string name;
  std::vector<Partition> partitions;
};

struct Report {
  std::vector<Topic> topics;
  std::vector<std::string> damages;  // of what all logs share
  std::string cut_log;               // where the write-ahead log ends in something that cannot be read
  bool sound = true;
};

const char* Name(FileKind kind) {
  switch (kind) {
    case FileKind::kWal:
      return "WAL";
    case FileKind::kKeptWal:
      return "kept WAL";
    case FileKind::kMoved:
      return "moved payloads";
    case FileKind::kSst:
      return "table";
    case FileKind::kManifest:
      return "manifest";
    case FileKind::kOther:
      return "other";
  }
  return "other";
}

bool ChecksumMatches(GroupId group, const raft::Entry& entry) {
  if (group != kMetadataGroup || entry.header.type != raft::EntryType::kRecords) return IsIntact(entry);
  return Crc32c(0, entry.payload) == entry.header.payload_crc;
}

Damage ToDamage(raft::LogIndex entry, const absl::Status& status) {
  return {entry, raft::DamagedOffsets(status), std::string(status.message())};
}

class Reader {
 public:
  Reader(const StoreInspector& store, bool batches) : store_(store), batches_(batches) {}

  Report Run() {
    Report report;
    for (const StoreInspector::File& file : store_.files()) {
      if (!file.status.ok()) report.damages.emplace_back(file.status.message());
    }
    if (!store_.damage().ok()) report.damages.emplace_back(store_.damage().message());
    if (!store_.damaged_mark().empty()) {
      report.damages.push_back(
          absl::StrCat("the broker found, and does not start because of it: ", store_.damaged_mark()));
    }
    report.cut_log = store_.cut_log();
    if (store_.has_logs()) ReadTopics(report);
    report.sound = report.damages.empty();
    for (const Topic& topic : report.topics) {
      for (const Partition& partition : topic.partitions) {
        report.sound = report.sound && partition.damages.empty() && partition.error.empty();
      }
    }
    return report;
  }

 private:
  void ReadTopics(Report& report) {
    MetadataImage::Builder image{MetadataImage(TopicConfig())};
    Topic metadata{.name = "(metadata)", .partitions = {}};
    metadata.partitions.push_back(ReadPartition(kMetadataGroup, 0, [&](const raft::Entry& entry) {
      millrace::internal::v1::MetadataRecords records;
      if (!records.ParseFromString(std::string(entry.payload))) return;
      for (const auto& record : records.records()) {
        if (absl::Status status = image.Replay(record); !status.ok()) report.damages.emplace_back(status.message());
      }
    }));
    report.topics.push_back(std::move(metadata));
    const absl::StatusOr<std::vector<GroupId>> groups = store_.Groups();
    if (!groups.ok()) report.damages.emplace_back(groups.status().message());
    std::map<GroupId, bool> known;  // whether a topic has it
    for (GroupId group : groups.value_or(std::vector<GroupId>())) known[group] = group == kMetadataGroup;
    for (const auto& [name, info] : image.image().topics()) {
      Topic topic{.name = name, .partitions = {}};
      for (size_t i = 0; i < info->partitions.size(); ++i) {
        const GroupId group = info->partitions[i].group;
        known[group] = true;
        topic.partitions.push_back(ReadPartition(group, static_cast<int32_t>(i), [](const raft::Entry&) {}));
      }
      report.topics.push_back(std::move(topic));
    }
    // Of topics that are being made or deleted, or that damage hides.
    Topic others{.name = "(no topic)", .partitions = {}};
    for (const auto& [group, has_topic] : known) {
      if (!has_topic) others.partitions.push_back(ReadPartition(group, 0, [](const raft::Entry&) {}));
    }
    if (!others.partitions.empty()) report.topics.push_back(std::move(others));
  }

  template <typename OnEntry>
  Partition ReadPartition(GroupId group, int32_t number, OnEntry on_entry) {
    Partition partition{.group = group, .partition = number};
    absl::StatusOr<LogImage> log = store_.Log(group);
    if (!log.ok()) {
      partition.error = std::string(log.status().message());
      return partition;
    }
    partition.log = *std::move(log);
    for (const storage::SegmentMeta& meta : *partition.log.sealed) partition.segments.push_back({.meta = meta});
    if (partition.log.active) partition.segments.push_back({.meta = *partition.log.active});
    size_t at = 0;
    store_.ReadLog(
        group, partition.log,
        [&](const raft::Entry& entry) {
          const raft::EntryHeader& header = entry.header;
          while (header.index > partition.segments[at].meta.last.index) ++at;
          Segment& segment = partition.segments[at];
          if (header.record_count == 0) return;  // the log's own
          ++segment.batches;
          if (batches_) segment.list.push_back({header, entry.payload.size()});
          if (ChecksumMatches(group, entry)) return on_entry(entry);
          partition.damages.push_back({header.index, raft::OffsetRange{header.base_offset, header.end_offset()},
                                       absl::StrCat("group ", group.value(), " entry ", header.index.value(),
                                                    ": its payload does not match its checksum")});
        },
        [&](raft::LogIndex index, const absl::Status& status) {
          partition.damages.push_back(ToDamage(index, status));
        });
    if (partition.log.read_only) {
      partition.damages.push_back(
          ToDamage(partition.log.last.index + 1,
                   absl::DataLossError("the last entry is damaged: where the log ends is not known")));
    }
    return partition;
  }

  const StoreInspector& store_;
  const bool batches_;
};

using Json = nlohmann::ordered_json;

std::string ToHex(uint32_t digest) { return absl::StrFormat("%08x", digest); }

Json ToJson(const Segment& segment, bool with_batches) {
  const storage::SegmentMeta& meta = segment.meta;
  Json json = {{"first_index", meta.first_index().value()},
               {"last_index", meta.last.index.value()},
               {"first_offset", meta.before.end_offset.value()},
               {"end_offset", meta.last.end_offset.value()},
               {"first_append_time", meta.first_append_time},
               {"last_append_time", meta.last.append_time},
               {"bytes", meta.bytes()},
               {"batches", segment.batches},
               {"sealed", meta.sealed}};
  if (!with_batches) return json;
  json["list"] = Json::array();
  for (const Batch& batch : segment.list) {
    json["list"].push_back({{"index", batch.header.index.value()},
                            {"leader_epoch", batch.header.term.value()},
                            {"offset", batch.header.base_offset.value()},
                            {"records", batch.header.record_count},
                            {"append_time", batch.header.append_time},
                            {"bytes", batch.bytes},
                            {"digest", ToHex(batch.header.chain)}});
  }
  return json;
}

Json ToJson(const Damage& damage) {
  Json json = {{"index", damage.entry.value()}, {"error", damage.error}};
  json["first_offset"] = damage.offsets ? Json(damage.offsets->first.value()) : Json();
  json["end_offset"] = damage.offsets ? Json(damage.offsets->end.value()) : Json();
  return json;
}

Json ToJson(const Partition& partition, bool with_batches) {
  Json json = {{"partition", partition.partition},
               {"group", partition.group.value()},
               {"log_start_offset", partition.log.start.offset.value()},
               {"log_end_offset", partition.log.last.end_offset.value()},
               {"bytes", partition.log.ToState().bytes},
               {"segments", Json::array()},
               {"damages", Json::array()}};
  for (const Segment& segment : partition.segments) json["segments"].push_back(ToJson(segment, with_batches));
  for (const Damage& damage : partition.damages) json["damages"].push_back(ToJson(damage));
  if (!partition.error.empty()) json["error"] = partition.error;
  return json;
}

std::string ToJsonText(const Options& options, const StoreInspector& store, const Report& report) {
  Json json = {{"directory", options.directory}, {"sound", report.sound}, {"damages", report.damages}};
  if (!report.cut_log.empty()) json["cut_log"] = report.cut_log;
  json["files"] = Json::array();
  for (const StoreInspector::File& file : store.files()) {
    json["files"].push_back(
        {{"name", file.name}, {"kind", Name(file.kind)}, {"bytes", file.bytes}, {"live_bytes", file.live_bytes}});
  }
  json["topics"] = Json::array();
  for (const Topic& topic : report.topics) {
    Json partitions = Json::array();
    for (const Partition& partition : topic.partitions) partitions.push_back(ToJson(partition, options.batches));
    json["topics"].push_back({{"name", topic.name}, {"partitions", std::move(partitions)}});
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

void AppendFiles(const StoreInspector& store, std::string* text) {
  struct Sum {
    int files = 0;
    uint64_t bytes = 0;
    uint64_t live_bytes = 0;
  };
  std::map<FileKind, Sum> sums;
  for (const StoreInspector::File& file : store.files()) {
    Sum& sum = sums[file.kind];
    ++sum.files;
    sum.bytes += file.bytes;
    sum.live_bytes += file.live_bytes;
  }
  absl::StrAppendFormat(text, "%-16s %8s %16s %16s\n", "FILES", "NUMBER", "BYTES", "PAYLOADS IN USE");
  for (const auto& [kind, sum] : sums) {
    const bool has_payloads = kind == FileKind::kKeptWal || kind == FileKind::kMoved;
    absl::StrAppendFormat(text, "%-16s %8d %16d %16s\n", Name(kind), sum.files, sum.bytes,
                          has_payloads ? absl::StrCat(sum.live_bytes) : "");
  }
}

void AppendPartition(const std::string& topic, const Partition& partition, bool with_batches, std::string* text) {
  const std::string name = absl::StrCat(topic, "-", partition.partition);
  if (partition.segments.empty() && partition.error.empty()) {
    const int64_t end = partition.log.last.end_offset.value();
    absl::StrAppendFormat(text, "%-32s %8d %14d %14d %10d %16d\n", name, partition.group.value(), end, end, 0, 0);
  }
  for (const Segment& segment : partition.segments) {
    absl::StrAppendFormat(text, "%-32s %8d %14d %14d %10d %16d\n", name, partition.group.value(),
                          segment.meta.before.end_offset.value(), segment.meta.last.end_offset.value(), segment.batches,
                          segment.meta.bytes());
    if (!with_batches) continue;
    for (const Batch& batch : segment.list) {
      absl::StrAppendFormat(text, "  batch %d: offset %d, %d records, %d bytes, epoch %d, appended at %d\n",
                            batch.header.index.value(), batch.header.base_offset.value(), batch.header.record_count,
                            batch.bytes, batch.header.term.value(), batch.header.append_time);
    }
  }
}

std::string ToText(const Options& options, const StoreInspector& store, const Report& report) {
  std::string text;
  AppendFiles(store, &text);
  absl::StrAppendFormat(&text, "\n%-32s %8s %14s %14s %10s %16s\n", "SEGMENTS OF", "GROUP", "FIRST OFFSET",
                        "END OFFSET", "BATCHES", "BYTES");
  for (const Topic& topic : report.topics) {
    for (const Partition& partition : topic.partitions) AppendPartition(topic.name, partition, options.batches, &text);
  }
  text += "\n";
  for (const std::string& damage : report.damages) absl::StrAppend(&text, "damaged: ", damage, "\n");
  for (const Topic& topic : report.topics) {
    for (const Partition& partition : topic.partitions) {
      const std::string name = absl::StrCat(topic.name, "-", partition.partition);
      if (!partition.error.empty()) absl::StrAppend(&text, "damaged: ", name, ": ", partition.error, "\n");
      for (const Damage& damage : partition.damages) {
        absl::StrAppend(&text, "damaged: ", name,
                        damage.offsets ? absl::StrCat(" offsets ", damage.offsets->first.value(), " to ",
                                                      damage.offsets->end.value() - 1)
                                       : "",
                        ": ", damage.error, "\n");
      }
    }
  }
  if (!report.cut_log.empty()) {
    absl::StrAppend(
        &text, "note: the write-ahead log cannot be read from ", report.cut_log,
        " on: a write that was cut short, what a crash of the machine took of what was not synced, or damage to "
        "what was synced last\n");
  }
  if (report.sound) text += "all checksums are right\n";
  return text;
}

}  // namespace

int RunInspect(const std::vector<std::string>& arguments) {
  if (arguments.size() == 1 && (arguments[0] == "--help" || arguments[0] == "-h")) {
    std::fputs(kHelp, stdout);
    return kExitSound;
  }
  const std::optional<Options> options = Parse(arguments);
  if (!options) {
    std::fputs("usage: ", stderr);
    std::fputs(kHelp, stderr);
    return kExitUsage;
  }
  const auto store = StoreInspector::Open(options->directory);
  if (!store.ok()) {
    const std::string message(store.status().message());
    const Json error = {{"error", absl::StatusCodeToString(store.status().code())}, {"message", message}};
    const std::string text = options->json ? error.dump(-1, ' ', false, Json::error_handler_t::replace)
                                           : absl::StrCat("millraced inspect: ", message);
    std::fprintf(stderr, "%s\n", text.c_str());
    return kExitDamaged;
  }
  const Report report = Reader(**store, options->batches).Run();
  std::fputs((options->json ? ToJsonText(*options, **store, report) : ToText(*options, **store, report)).c_str(),
             stdout);
  return report.sound ? kExitSound : kExitDamaged;
}

}  // namespace millrace::server
