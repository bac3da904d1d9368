// millrace group list|describe|lag|reset|delete|export|import
#include <millrace/admin.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "client/cli/arguments.h"
#include "client/cli/output.h"
#include "client/cli/position.h"
#include "client/cli/units.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::ordered_json;
using Align = Table::Align;

struct ListOptions {};
struct NameOptions {
  std::string group;
};
struct ResetOptions {
  std::string group;
  std::string topic;
  std::vector<int32_t> partitions;
  std::optional<Position> to;
  bool dry_run = false;
};
struct ImportOptions {
  std::string group;
  std::string file = "-";
  bool dry_run = false;
};

Json Known(int64_t value) { return value < 0 ? Json() : Json(value); }
std::string KnownText(int64_t value) { return value < 0 ? "-" : std::to_string(value); }
std::string Or(const std::string& text) { return text.empty() ? "-" : text; }

// -1 if any part is not known: a sum that leaves something out would look better than it is.
int64_t Sum(const std::vector<GroupPartition>& partitions) {
  int64_t sum = 0;
  for (const GroupPartition& p : partitions) {
    if (p.lag < 0) return -1;
    sum += p.lag;
  }
  return sum;
}

int64_t Longest(const std::vector<GroupPartition>& partitions) {
  int64_t longest = 0;
  for (const GroupPartition& p : partitions) {
    if (p.lag_ms < 0) return -1;
    longest = std::max(longest, p.lag_ms);
  }
  return longest;
}

// As Report, of a group that may be missing.
int ReportGroupError(const Common& common, const absl::Status& status) {
  const bool missing = ErrorFrom(status).code == ErrorCode::kGroupIdNotFound;
  return Report(common, status, missing ? "See what there is with: millrace group list" : "");
}

int List(const Common& common, const ListOptions&) {
  absl::StatusOr<std::unique_ptr<Admin>> admin = Admin::Create(common.Client());
  if (!admin.ok()) return ReportOptions(common, admin.status());
  absl::StatusOr<GroupList> list = (*admin)->ListGroups();
  if (!list.ok()) return Report(common, list.status());
  if (list->incomplete) Remark(common, "some coordinator did not answer; its groups are missing here");
  const int code = list->incomplete ? kExitPartly : kExitDone;
  if (common.json()) {
    Json document = Json::array();
    for (const GroupSummary& group : list->groups) {
      document.push_back({{"group", group.group},
                          {"state", group.state},
                          {"members", group.members},
                          {"coordinator", group.coordinator}});
    }
    const int printed = Print(common, document.dump() + "\n");
    return printed == kExitDone ? code : printed;
  }
  Table table({{"GROUP"}, {"STATE"}, {"MEMBERS", Align::kRight}, {"COORDINATOR", Align::kRight}});
  for (const GroupSummary& group : list->groups) {
    table.Add({group.group, group.state, std::to_string(group.members), std::to_string(group.coordinator)});
  }
  const int printed = Print(common, table.Text());
  return printed == kExitDone ? code : printed;
}

Json PartitionsJson(const std::vector<GroupPartition>& partitions) {
  Json rows = Json::array();
  for (const GroupPartition& p : partitions) {
    rows.push_back({{"topic", p.topic},
                    {"partition", p.partition},
                    {"committed", Known(p.committed)},
                    {"high_watermark", Known(p.high_watermark)},
                    {"lag", Known(p.lag)},
                    {"lag_ms", Known(p.lag_ms)},
                    {"member_id", p.member_id.empty() ? Json() : Json(p.member_id)}});
  }
  return rows;
}

std::string PartitionsText(const std::vector<GroupPartition>& partitions) {
  Table table({{"TOPIC"},
               {"PARTITION", Align::kRight},
               {"COMMITTED", Align::kRight},
               {"HIGH-WATERMARK", Align::kRight},
               {"LAG", Align::kRight},
               {"LAG-MS", Align::kRight},
               {"MEMBER"}});
  for (const GroupPartition& p : partitions) {
    table.Add({p.topic, std::to_string(p.partition), KnownText(p.committed), KnownText(p.high_watermark),
               KnownText(p.lag), KnownText(p.lag_ms), Or(p.member_id)});
  }
  return table.Text();
}

std::string AssignedText(const GroupMember& member) {
  std::string text;
  for (const TopicPartition& each : member.assigned) {
    absl::StrAppend(&text, text.empty() ? "" : " ", each.topic, "/", each.partition);
  }
  return Or(text);
}

std::string DescriptionText(const GroupDescription& group) {
  Table members({{"MEMBER"}, {"INSTANCE"}, {"CLIENT"}, {"HOST"}, {"EPOCH", Align::kRight}, {"ASSIGNED"}});
  for (const GroupMember& m : group.members) {
    members.Add(
        {m.member_id, Or(m.instance_id), Or(m.client_id), Or(m.host), std::to_string(m.epoch), AssignedText(m)});
  }
  std::string text = absl::StrCat(group.group, "  ", group.state, ", epoch ", group.epoch, ", coordinator ",
                                  group.coordinator, "\n\n");
  if (!group.members.empty()) absl::StrAppend(&text, members.Text(), "\n");
  return text + PartitionsText(group.partitions);
}

std::string DescriptionJson(const GroupDescription& group) {
  Json document = {{"group", group.group},
                   {"state", group.state},
                   {"coordinator", group.coordinator},
                   {"epoch", group.epoch},
                   {"assignor", group.assignor == GroupAssignor::kRange ? "range" : "uniform"},
                   {"members", Json::array()}};
  for (const GroupMember& m : group.members) {
    Json assigned = Json::array();
    for (const TopicPartition& each : m.assigned) {
      assigned.push_back({{"topic", each.topic}, {"partition", each.partition}});
    }
    document["members"].push_back({{"member_id", m.member_id},
                                   {"instance_id", m.instance_id},
                                   {"client_id", m.client_id},
                                   {"host", m.host},
                                   {"rack", m.rack},
                                   {"epoch", m.epoch},
                                   {"topics", m.topics},
                                   {"topic_pattern", m.topic_pattern},
                                   {"assigned", std::move(assigned)}});
  }
  document["partitions"] = PartitionsJson(group.partitions);
  return document.dump() + "\n";
}

int Describe(const Common& common, const NameOptions& options) {
  absl::StatusOr<std::unique_ptr<Admin>> admin = Admin::Create(common.Client());
  if (!admin.ok()) return ReportOptions(common, admin.status());
  absl::StatusOr<GroupDescription> group = (*admin)->DescribeGroup(options.group);
  if (!group.ok()) return ReportGroupError(common, group.status());
  return Print(common, common.json() ? DescriptionJson(*group) : DescriptionText(*group));
}

int Lag(const Common& common, const NameOptions& options) {
  absl::StatusOr<std::unique_ptr<Admin>> admin = Admin::Create(common.Client());
  if (!admin.ok()) return ReportOptions(common, admin.status());
  absl::StatusOr<GroupDescription> group = (*admin)->DescribeGroup(options.group);
  if (!group.ok()) return ReportGroupError(common, group.status());
  const int64_t lag = Sum(group->partitions), lag_ms = Longest(group->partitions);
  if (common.json()) {
    Json document = {{"group", group->group}, {"lag", Known(lag)}, {"lag_ms", Known(lag_ms)}};
    document["partitions"] = PartitionsJson(group->partitions);
    return Print(common, document.dump() + "\n");
  }
  return Print(common, absl::StrCat(PartitionsText(group->partitions), "lag ", KnownText(lag), " records, ",
                                    KnownText(lag_ms), " ms\n"));
}

int Delete(const Common& common, const NameOptions& options) {
  absl::StatusOr<std::unique_ptr<Admin>> admin = Admin::Create(common.Client());
  if (!admin.ok()) return ReportOptions(common, admin.status());
  if (absl::Status status = (*admin)->DeleteGroup(options.group); !status.ok()) return ReportGroupError(common, status);
  if (common.json()) return Print(common, Json({{"group", options.group}}).dump() + "\n");
  return Print(common, absl::StrCat("deleted group ", options.group, "\n"));
}

// ---- Positions

int PrintResets(const Common& common, const std::vector<OffsetReset>& resets) {
  Json document = Json::array();
  Table table({{"TOPIC"}, {"PARTITION", Align::kRight}, {"OLD", Align::kRight}, {"NEW", Align::kRight}});
  int failed = kExitDone;
  for (const OffsetReset& each : resets) {
    if (!each.status.ok()) {
      failed = Report(common, each.status);
      continue;
    }
    document.push_back({{"topic", each.topic},
                        {"partition", each.partition},
                        {"old", Known(each.old_offset)},
                        {"new", Known(each.new_offset)}});
    table.Add({each.topic, std::to_string(each.partition), KnownText(each.old_offset), KnownText(each.new_offset)});
  }
  const int printed = Print(common, common.json() ? document.dump() + "\n" : table.Text());
  if (printed != kExitDone || failed == kExitDone) return printed;
  return document.empty() ? failed : kExitPartly;
}

absl::Status NoSuchPartition(const ResetOptions& options, int32_t partition, size_t partitions) {
  Error error;
  error.code = ErrorCode::kUnknownTopicOrPartition;
  error.topic = options.topic;
  error.partition = partition;
  error.message = absl::StrCat("topic ", options.topic, " has no partition ", partition, ", it has ", partitions,
                               "; nothing was reset");
  return ToStatus(error);
}

absl::StatusOr<std::vector<OffsetAnswer>> FindPositions(Admin& admin, const ResetOptions& options) {
  absl::StatusOr<ClusterMetadata> metadata = admin.GetMetadata({options.topic});
  if (!metadata.ok()) return metadata.status();
  std::vector<int32_t> there;
  for (const TopicMetadata::Partition& p : metadata->topics.at(0).partitions) there.push_back(p.partition);
  const auto& named = options.partitions.empty() ? there : options.partitions;
  std::vector<OffsetQuery> queries;
  for (const int32_t partition : std::set<int32_t>(named.begin(), named.end())) {
    if (std::ranges::find(there, partition) == there.end()) return NoSuchPartition(options, partition, there.size());
    queries.push_back({options.topic, partition, *options.to});
  }
  return admin.ListOffsets(queries);
}

int Reset(const Common& common, const ResetOptions& options) {
  absl::StatusOr<std::unique_ptr<Admin>> admin = Admin::Create(common.Client());
  if (!admin.ok()) return ReportOptions(common, admin.status());
  absl::StatusOr<std::vector<OffsetAnswer>> found = FindPositions(**admin, options);
  if (!found.ok()) return ReportTopicError(common, found.status(), options.topic);
  std::vector<CommittedOffset> offsets;
  for (const OffsetAnswer& each : *found) {
    if (!each.status.ok()) return Report(common, each.status);
    if (each.offset < each.log_start_offset || each.offset > each.high_watermark) {
      return ReportUsage(common, absl::StrCat("--to: ", each.topic, " ", each.partition, " has offsets ",
                                              each.log_start_offset, " to ", each.high_watermark, "; ", each.offset,
                                              " is not among them, and nothing was reset"));
    }
    offsets.push_back({.topic = each.topic, .partition = each.partition, .offset = each.offset});
  }
  const auto mode = options.dry_run ? Admin::ResetMode::kDryRun : Admin::ResetMode::kReset;
  absl::StatusOr<std::vector<OffsetReset>> resets = (*admin)->ResetOffsets(options.group, offsets, mode);
  if (!resets.ok()) return Report(common, resets.status());
  if (options.dry_run) Remark(common, "--dry-run: nothing was changed");
  return PrintResets(common, *resets);
}

int Export(const Common& common, const NameOptions& options) {
  absl::StatusOr<std::unique_ptr<Admin>> admin = Admin::Create(common.Client());
  if (!admin.ok()) return ReportOptions(common, admin.status());
  absl::StatusOr<std::vector<CommittedOffset>> offsets = (*admin)->GroupOffsets(options.group);
  if (!offsets.ok()) return Report(common, offsets.status());
  if (offsets->empty()) {  // an empty backup of a mistyped name looks like one
    const absl::Status there = (*admin)->DescribeGroup(options.group).status();
    if (!there.ok()) return ReportGroupError(common, there);
  }
  Json document = {{"group", options.group}, {"offsets", Json::array()}};
  for (const CommittedOffset& each : *offsets) {
    document["offsets"].push_back({{"topic", each.topic},
                                   {"partition", each.partition},
                                   {"offset", each.offset},
                                   {"metadata", each.metadata},
                                   {"commit_time", each.commit_time}});
  }
  return Print(common, document.dump() + "\n");
}

absl::StatusOr<std::vector<CommittedOffset>> ParseExport(std::istream& in) {
  const Json document = Json::parse(in, nullptr, /*allow_exceptions=*/false);
  const absl::Status wrong = absl::InvalidArgumentError("what is read is not what `millrace group export` writes");
  if (!document.is_object() || !document.contains("offsets") || !document["offsets"].is_array()) return wrong;
  std::vector<CommittedOffset> offsets;
  for (const Json& each : document["offsets"]) {
    if (!each.is_object() || !each.contains("topic") || !each["topic"].is_string() || !each.contains("partition") ||
        !each["partition"].is_number_integer() || !each.contains("offset") || !each["offset"].is_number_integer()) {
      return wrong;
    }
    offsets.push_back({.topic = each["topic"], .partition = each["partition"], .offset = each["offset"]});
    if (each.contains("metadata") && each["metadata"].is_string()) offsets.back().metadata = each["metadata"];
  }
  return offsets;
}

int Import(const Common& common, const ImportOptions& options) {
  std::ifstream file;
  if (options.file != "-") file.open(options.file);
  if (options.file != "-" && !file) return ReportUsage(common, absl::StrCat("--file: cannot read ", options.file));
  absl::StatusOr<std::vector<CommittedOffset>> offsets = ParseExport(options.file == "-" ? std::cin : file);
  if (!offsets.ok()) return ReportUsage(common, std::string(offsets.status().message()));
  absl::StatusOr<std::unique_ptr<Admin>> admin = Admin::Create(common.Client());
  if (!admin.ok()) return ReportOptions(common, admin.status());
  const auto mode = options.dry_run ? Admin::ResetMode::kDryRun : Admin::ResetMode::kReset;
  absl::StatusOr<std::vector<OffsetReset>> resets = (*admin)->ResetOffsets(options.group, *offsets, mode);
  if (!resets.ok()) return Report(common, resets.status());
  if (options.dry_run) Remark(common, "--dry-run: nothing was changed");
  return PrintResets(common, *resets);
}

CLI::Option* AddGroupName(CLI::App& app, std::string& name) {
  return app.add_option("GROUP", name, "The group")->required()->type_name("");
}

}  // namespace

void AddGroupCommands(CLI::App& app, const Common& common, Run& run) {
  CLI::App& group =
      AddGroup(app, "group", "Consumer groups: members, positions, lag", "Example:\n  millrace group lag payment");
  AddCommand(AddLeaf(group, "list", "List the groups", "Example:\n  millrace group list"), run, List, common);

  CLI::App& describe =
      AddLeaf(group, "describe", "Show members, positions and lag", "Example:\n  millrace group describe payment");
  AddGroupName(describe, AddCommand(describe, run, Describe, common).group);

  CLI::App& lag = AddLeaf(group, "lag", "Show how far each partition is behind, in records and in time",
                          "Example:\n  millrace group lag payment --output json");
  AddGroupName(lag, AddCommand(lag, run, Lag, common).group);

  CLI::App& reset =
      AddLeaf(group, "reset", "Set a group's positions, also while its members are running",
              "Examples:\n  millrace group reset payment --topic orders --to @2013-07-04T00:00:00Z --dry-run\n"
              "  millrace group reset payment --topic orders --partition 3 --to -100\n\n"
              "POSITION: as --from of millrace consume. Members go on from there at once.");
  ResetOptions& r = AddCommand(reset, run, Reset, common);
  AddGroupName(reset, r.group);
  reset.add_option("-t,--topic", r.topic, "The topic")->required()->type_name("TOPIC");
  AddRepeated(
      reset, "-p,--partition",
      [](std::string_view text) { return ParseInteger(text, 0, std::numeric_limits<int32_t>::max()); },
      [&r](int64_t partition) { r.partitions.push_back(static_cast<int32_t>(partition)); }, "P", "Only this partition");
  AddParsed(reset, "--to", r.to, ParsePosition, "POSITION", "Where to go on")->required();
  reset.add_flag("--dry-run", r.dry_run, "Show old and new, and change nothing");

  CLI::App& remove = AddLeaf(group, "delete", "Forget a group without members, and its positions",
                             "Example:\n  millrace group delete payment");
  AddGroupName(remove, AddCommand(remove, run, Delete, common).group);

  CLI::App& save = AddLeaf(group, "export", "Write a group's positions as json",
                           "Example:\n  millrace group export payment > payment.json");
  AddGroupName(save, AddCommand(save, run, Export, common).group);

  CLI::App& load = AddLeaf(group, "import", "Set a group's positions to what export wrote",
                           "Example:\n  millrace group import payment --file payment.json");
  ImportOptions& i = AddCommand(load, run, Import, common);
  AddGroupName(load, i.group);
  load.add_option("--file", i.file, "What export wrote (default: standard input)")->type_name("FILE");
  load.add_flag("--dry-run", i.dry_run, "Show old and new, and change nothing");
}

}  // namespace millrace::cli
