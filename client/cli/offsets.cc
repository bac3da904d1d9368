// millrace offsets
#include <millrace/admin.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "client/cli/arguments.h"
#include "client/cli/output.h"
#include "client/cli/position.h"

namespace millrace::cli {
namespace {

using Align = Table::Align;

struct OffsetsOptions {
  std::string topic;
  std::optional<Position> at;
};

struct Row {
  int32_t partition;
  int64_t earliest, latest, at;
};

std::string Text(const std::vector<Row>& rows, bool with_at) {
  std::vector<Table::Column> columns = {
      {"PARTITION", Align::kRight}, {"EARLIEST", Align::kRight}, {"LATEST", Align::kRight}};
  if (with_at) columns.push_back({"OFFSET", Align::kRight});
  Table table(columns);
  for (const Row& row : rows) {
    std::vector<std::string> cells = {std::to_string(row.partition), std::to_string(row.earliest),
                                      std::to_string(row.latest)};
    if (with_at) cells.push_back(std::to_string(row.at));
    table.Add(std::move(cells));
  }
  return table.Text();
}

std::string JsonText(const std::vector<Row>& rows, bool with_at) {
  nlohmann::ordered_json document = nlohmann::ordered_json::array();
  for (const Row& row : rows) {
    document.push_back({{"partition", row.partition}, {"earliest", row.earliest}, {"latest", row.latest}});
    if (with_at) document.back()["offset"] = row.at;
  }
  return document.dump() + "\n";
}

int Offsets(const Common& common, const OffsetsOptions& options) {
  absl::StatusOr<std::unique_ptr<Admin>> admin = Admin::Create(common.Client());
  if (!admin.ok()) return ReportOptions(common, admin.status());
  absl::StatusOr<ClusterMetadata> metadata = (*admin)->GetMetadata({options.topic});
  if (!metadata.ok()) return ReportTopicError(common, metadata.status(), options.topic);

  std::vector<OffsetQuery> queries;
  for (const TopicMetadata::Partition& p : metadata->topics.at(0).partitions) {
    queries.push_back({options.topic, p.partition, options.at.value_or(Position::End())});
  }
  absl::StatusOr<std::vector<OffsetAnswer>> answers = (*admin)->ListOffsets(queries);
  if (!answers.ok()) return ReportTopicError(common, answers.status(), options.topic);

  std::vector<Row> rows;
  int failed = kExitDone;
  for (const OffsetAnswer& answer : *answers) {
    if (answer.status.ok()) {
      rows.push_back({answer.partition, answer.log_start_offset, answer.high_watermark, answer.offset});
    } else {
      failed = Report(common, answer.status);
    }
  }
  int printed =
      Print(common, common.json() ? JsonText(rows, options.at.has_value()) : Text(rows, options.at.has_value()));
  if (printed != kExitDone || failed == kExitDone) return printed;
  return rows.empty() ? failed : kExitPartly;
}

}  // namespace

void AddOffsetsCommand(CLI::App& app, const Common& common, Run& run) {
  CLI::App& offsets =
      AddLeaf(app, "offsets", "Show the first and the next offset of each partition, or the offset at a time",
              "Examples:\n  millrace offsets orders --at 2013-07-04T00:00:00Z\n  millrace offsets orders --at -15m\n\n"
              "TIME: with a date and a zone, or back from now; also any other position that consume --from takes.");
  OffsetsOptions& o = AddCommand(offsets, run, Offsets, common);
  AddTopicName(offsets, "TOPIC", o.topic);
  AddParsed(offsets, "--at", o.at, ParsePosition, "TIME", "Also the first offset at or after this time");
}

}  // namespace millrace::cli
