// millrace topic create|list|describe|alter|delete|trim
#include <millrace/admin.h>

#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/arguments.h"
#include "client/cli/output.h"
#include "client/cli/units.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::ordered_json;
using Align = Table::Align;

struct CreateOptions {
  std::string name;
  int32_t partitions = 1;
  int32_t replication_factor = 0;
  std::map<std::string, std::string> config;
  bool if_not_exists = false;
};
struct ListOptions {};
struct NameOptions {
  std::string name;
};
struct AlterOptions {
  std::string name;
  std::map<std::string, std::string> config;
  std::vector<std::string> unset;
  std::optional<int32_t> partitions;
};
struct TrimOptions {
  std::string name;
  int32_t partition = 0;
  std::optional<int64_t> before;  // unset: the high watermark
};

int Create(const Common& common, const CreateOptions& options) {
  absl::StatusOr<std::unique_ptr<Admin>> admin = Admin::Create(common.Client());
  if (!admin.ok()) return ReportOptions(common, admin.status());
  absl::StatusOr<CreatedTopic> created = (*admin)->CreateTopic({.name = options.name,
                                                                .partitions = options.partitions,
                                                                .replication_factor = options.replication_factor,
                                                                .config = options.config,
                                                                .if_not_exists = options.if_not_exists});
  if (!created.ok()) {
    bool exists = ErrorFrom(created.status()).code == ErrorCode::kTopicAlreadyExists;
    return Report(common, created.status(), exists ? "With --if-not-exists that is no error." : "");
  }
  if (common.json()) {
    Json document = {{"name", options.name},
                     {"partitions", created->partitions},
                     {"replication_factor", created->replication_factor},
                     {"created", created->created}};
    return Print(common, document.dump() + "\n");
  }
  return Print(common, absl::StrCat(created->created ? "created " : "exists: ", options.name, ", ",
                                    FormatCountOf(created->partitions, "partition"), ", replication factor ",
                                    created->replication_factor, "\n"));
}

int List(const Common& common, const ListOptions&) {
  absl::StatusOr<std::unique_ptr<Admin>> admin = Admin::Create(common.Client());
  if (!admin.ok()) return ReportOptions(common, admin.status());
  absl::StatusOr<std::vector<TopicSummary>> topics = (*admin)->ListTopics();
  if (!topics.ok()) return Report(common, topics.status());
  if (common.json()) {
    Json document = Json::array();
    for (const TopicSummary& topic : *topics) {
      document.push_back(
          {{"name", topic.name}, {"partitions", topic.partitions}, {"replication_factor", topic.replication_factor}});
    }
    return Print(common, document.dump() + "\n");
  }
  if (topics->empty())
    Remark(common, "there is no topic yet; create one with: millrace topic create NAME --partitions 4");
  Table table({{"NAME"}, {"PARTITIONS", Align::kRight}, {"REPLICATION-FACTOR", Align::kRight}});
  for (const TopicSummary& topic : *topics) {
    table.Add({topic.name, std::to_string(topic.partitions), std::to_string(topic.replication_factor)});
  }
  return Print(common, table.Text());
}

// What is known of a partition is known by its leader, but for the replicas.
bool IsKnown(const PartitionDescription& partition) { return partition.leader >= 0; }

Json LagJson(const std::vector<ReplicaDescription>& replicas) {
  Json lags = Json::array();
  for (const ReplicaDescription& r : replicas) {
    lags.push_back(
        {{"broker", r.broker}, {"in_sync", r.in_sync}, {"lag_records", r.lag_records}, {"lag_ms", r.lag_ms}});
  }
  return lags;
}

std::string DescriptionJson(const TopicDescription& topic) {
  Json document = {{"name", topic.name}, {"partitions", Json::array()}, {"config", topic.config}};
  for (const PartitionDescription& p : topic.partitions) {
    const auto known = [&p](Json value) { return IsKnown(p) ? std::move(value) : Json(); };
    document["partitions"].push_back({{"partition", p.partition},
                                      {"leader", p.leader},
                                      {"replicas", p.replicas},
                                      {"in_sync", known(p.in_sync)},
                                      {"leader_epoch", known(p.leader_epoch)},
                                      {"log_start_offset", known(p.log_start_offset)},
                                      {"high_watermark", known(p.high_watermark)},
                                      {"log_end_offset", known(p.log_end_offset)},
                                      {"bytes", known(p.bytes)},
                                      {"replica_lag", known(LagJson(p.replica_lag))}});
  }
  document["overrides"] = topic.overrides;
  return document.dump() + "\n";
}

// Of the replicas that are behind or out of reach: "3: 1,500 records, 2.5 s".
std::string LagText(const std::vector<ReplicaDescription>& replicas) {
  std::string text;
  for (const ReplicaDescription& r : replicas) {
    if (r.in_sync && r.lag_records == 0) continue;
    absl::StrAppend(&text, text.empty() ? "" : "; ", r.broker, ": ");
    if (r.lag_records < 0) {
      absl::StrAppend(&text, "not heard of");
    } else {
      absl::StrAppend(&text, FormatCountOf(r.lag_records, "record"));
      if (r.lag_ms > 0) absl::StrAppend(&text, ", ", FormatSeconds(static_cast<double>(r.lag_ms) / 1000));
    }
  }
  return text;
}

// "orders: 4 partitions, 1,500 records, 12 kB, records unknown for 1 partition".
std::string SummaryText(const TopicDescription& topic) {
  int64_t records = 0, bytes = 0, unknown = 0;
  for (const PartitionDescription& p : topic.partitions) {
    records += p.high_watermark - p.log_start_offset;
    bytes += p.bytes;
    unknown += IsKnown(p) ? 0 : 1;
  }
  const auto partitions = static_cast<int64_t>(topic.partitions.size());
  std::string text = absl::StrCat(topic.name, ": ", FormatCountOf(partitions, "partition"));
  if (unknown < partitions) {
    absl::StrAppend(&text, ", ", FormatCountOf(records, "record"), ", ", FormatBytes(static_cast<double>(bytes)));
  }
  if (unknown > 0) absl::StrAppend(&text, ", records unknown for ", FormatCountOf(unknown, "partition"));
  return text;
}

std::string DescriptionText(const TopicDescription& topic) {
  Table partitions({{"PARTITION", Align::kRight},
                    {"LEADER", Align::kRight},
                    {"REPLICAS"},
                    {"IN-SYNC"},
                    {"EPOCH", Align::kRight},
                    {"LOG-START", Align::kRight},
                    {"HIGH-WATERMARK", Align::kRight},
                    {"LOG-END", Align::kRight},
                    {"BYTES", Align::kRight},
                    {"BEHIND"}});
  for (const PartitionDescription& p : topic.partitions) {
    if (!IsKnown(p)) {
      partitions.Add(
          {std::to_string(p.partition), "none", absl::StrJoin(p.replicas, ","), "-", "-", "-", "-", "-", "-", "-"});
      continue;
    }
    partitions.Add({std::to_string(p.partition), std::to_string(p.leader), absl::StrJoin(p.replicas, ","),
                    absl::StrJoin(p.in_sync, ","), std::to_string(p.leader_epoch), std::to_string(p.log_start_offset),
                    std::to_string(p.high_watermark), std::to_string(p.log_end_offset),
                    FormatBytes(static_cast<double>(p.bytes)), LagText(p.replica_lag)});
  }
  Table config({{"SETTING"}, {"VALUE"}, {"SET-BY"}});
  for (const auto& [name, value] : topic.config) {
    bool overridden = std::find(topic.overrides.begin(), topic.overrides.end(), name) != topic.overrides.end();
    config.Add({name, value, overridden ? "topic" : "default"});
  }
  return absl::StrCat(SummaryText(topic), "\n\n", partitions.Text(), "\n", config.Text());
}

int Describe(const Common& common, const NameOptions& options) {
  absl::StatusOr<std::unique_ptr<Admin>> admin = Admin::Create(common.Client());
  if (!admin.ok()) return ReportOptions(common, admin.status());
  absl::StatusOr<TopicDescription> topic = (*admin)->DescribeTopic(options.name);
  if (!topic.ok()) return ReportTopicError(common, topic.status(), options.name);
  return Print(common, common.json() ? DescriptionJson(*topic) : DescriptionText(*topic));
}

int Alter(const Common& common, const AlterOptions& options) {
  for (const std::string& name : options.unset) {
    if (options.config.contains(name)) return ReportUsage(common, absl::StrCat(name, " is both set and unset"));
  }
  bool settings = !options.config.empty() || !options.unset.empty();
  if (!settings && !options.partitions) {
    return ReportUsage(common, "nothing to change: give --config NAME=VALUE, --unset NAME or --partitions N");
  }
  absl::StatusOr<std::unique_ptr<Admin>> admin = Admin::Create(common.Client());
  if (!admin.ok()) return ReportOptions(common, admin.status());
  if (settings) {
    absl::Status altered = (*admin)->AlterTopic(options.name, options.config, options.unset);
    if (!altered.ok()) return ReportTopicError(common, altered, options.name);
  }
  if (options.partitions) {
    absl::Status added = (*admin)->AddPartitions(options.name, *options.partitions);
    if (!added.ok()) {
      int code = ReportTopicError(common, added, options.name);
      if (!settings) return code;
      Remark(common, "the settings were changed, the number of partitions was not");
      return kExitPartly;
    }
    Remark(common,
           absl::StrCat(
               options.name, " has ", *options.partitions,
               " partitions now: most keys move to another partition than before, so the order of a key's records "
               "holds only from here on"));
  }
  if (!common.json()) return Print(common, absl::StrCat("altered ", options.name, "\n"));
  return Print(common, Json({{"name", options.name}, {"altered", true}}).dump() + "\n");
}

int Delete(const Common& common, const NameOptions& options) {
  absl::StatusOr<std::unique_ptr<Admin>> admin = Admin::Create(common.Client());
  if (!admin.ok()) return ReportOptions(common, admin.status());
  absl::Status deleted = (*admin)->DeleteTopic(options.name);
  if (!deleted.ok()) {
    bool missing = ErrorFrom(deleted).code == ErrorCode::kUnknownTopicOrPartition;
    return Report(common, deleted, missing ? "See which there are with: millrace topic list" : "");
  }
  if (!common.json()) return Print(common, absl::StrCat("deleted ", options.name, "\n"));
  return Print(common, Json({{"name", options.name}, {"deleted", true}}).dump() + "\n");
}

int Trim(const Common& common, const TrimOptions& options) {
  absl::StatusOr<std::unique_ptr<Admin>> admin = Admin::Create(common.Client());
  if (!admin.ok()) return ReportOptions(common, admin.status());
  absl::StatusOr<int64_t> start = (*admin)->TrimPartition({options.name, options.partition}, options.before);
  if (!start.ok()) return ReportTopicError(common, start.status(), options.name);
  if (!common.json()) {
    return Print(common, absl::StrCat("trimmed ", options.name, " ", options.partition, ": begins at offset ", *start,
                                      " now\n"));
  }
  return Print(
      common,
      Json({{"name", options.name}, {"partition", options.partition}, {"log_start_offset", *start}}).dump() + "\n");
}

}  // namespace

void AddTopicCommands(CLI::App& app, const Common& common, Run& run) {
  CLI::App& topic = AddGroup(app, "topic", "Create, list, describe, alter, delete and trim topics",
                             "Example: millrace topic create orders --partitions 16 --config retention.ms=3600000");

  CLI::App& create = AddLeaf(topic, "create", "Create a topic",
                             "Example: millrace topic create orders --partitions 16 --config retention.ms=3600000");
  CreateOptions& c = AddCommand(create, run, Create, common);
  AddTopicName(create, "NAME", c.name);
  AddNumber(create, "-p,--partitions", c.partitions, 1, "Number of partitions (default 1)");
  AddNumber(create, "-r,--replication-factor", c.replication_factor, 1,
            "Replicas of each partition (default 3, or 1 below three brokers)");
  AddConfig(create, c.config, "Setting of the topic");
  create.add_flag("--if-not-exists", c.if_not_exists, "No error when the topic is there; it stays as it is");

  CLI::App& list = AddLeaf(topic, "list", "List topics", "Example: millrace topic list --output json");
  AddCommand(list, run, List, common);

  CLI::App& describe = AddLeaf(topic, "describe", "Show partitions, offsets and settings of a topic",
                               "Example: millrace topic describe orders");
  AddTopicName(describe, "NAME", AddCommand(describe, run, Describe, common).name);

  CLI::App& alter =
      AddLeaf(topic, "alter", "Change settings of a topic, or add partitions",
              "Example: millrace topic alter orders --config retention.ms=86400000 --unset retention.bytes");
  AlterOptions& a = AddCommand(alter, run, Alter, common);
  AddTopicName(alter, "NAME", a.name);
  AddConfig(alter, a.config, "Setting to change");
  alter.add_option("--unset", a.unset, "Setting to take back to its default; repeat for more")
      ->type_name("NAME")
      ->allow_extra_args(false)
      ->take_all();
  AddNumber(alter, "-p,--partitions", a.partitions, 1, "Total number of partitions wanted; most keys will move");

  CLI::App& remove =
      AddLeaf(topic, "delete", "Delete a topic with all its records", "Example: millrace topic delete orders");
  AddTopicName(remove, "NAME", AddCommand(remove, run, Delete, common).name);

  CLI::App& trim = AddLeaf(topic, "trim", "Delete the oldest records of a partition",
                           "Example: millrace topic trim orders --partition 3 --before 1000");
  TrimOptions& t = AddCommand(trim, run, Trim, common);
  AddTopicName(trim, "NAME", t.name);
  AddNumber(trim, "-p,--partition", t.partition, 0, "Partition to trim")->required();
  auto parse_before = [](std::string_view text) -> absl::StatusOr<std::optional<int64_t>> {
    if (text == "end") return std::optional<int64_t>();
    absl::StatusOr<int64_t> offset = ParseInteger(text, 0, std::numeric_limits<int64_t>::max());
    if (!offset.ok()) return offset.status();
    return std::optional<int64_t>(*offset);
  };
  AddParsed(trim, "--before", t.before, parse_before, "OFFSET", "First offset to keep; `end` keeps nothing")
      ->required();
}

}  // namespace millrace::cli
