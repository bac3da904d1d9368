#include "storage/damage_watch.h"

#include <algorithm>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "storage/file_system.h"
#include "storage/keys.h"
#include "storage/little_endian.h"
#include "storage/rocks_util.h"
#include "storage/store_directory.h"

namespace millrace::storage {
namespace {

using raft::GroupId;

// The first and the last group with keys in the table, 8 bytes each, little-endian.
constexpr char kLogsProperty[] = "millrace.logs";

class LogRangeCollector : public rocksdb::TablePropertiesCollector {
 public:
  const char* Name() const override { return "millrace-logs"; }
  rocksdb::Status AddUserKey(const rocksdb::Slice& key, const rocksdb::Slice&, rocksdb::EntryType,
                             rocksdb::SequenceNumber, uint64_t) override {
    const std::optional<GroupId> group = GroupOf(ToView(key));
    if (!group) return rocksdb::Status::OK();
    range_ = range_ ? GroupRange{std::min(range_->first, *group), std::max(range_->last, *group)}
                    : GroupRange{*group, *group};
    return rocksdb::Status::OK();
  }
  rocksdb::Status Finish(rocksdb::UserCollectedProperties* properties) override {
    if (!range_) return rocksdb::Status::OK();
    std::string bytes(2 * sizeof(int64_t), '\0');
    LittleEndianWriter(bytes.data()).Put<int64_t>(range_->first.value()).Put<int64_t>(range_->last.value());
    (*properties)[kLogsProperty] = bytes;
    return rocksdb::Status::OK();
  }
  rocksdb::UserCollectedProperties GetReadableProperties() const override { return {}; }

 private:
  std::optional<GroupRange> range_;
};

class LogRangeCollectorFactory : public rocksdb::TablePropertiesCollectorFactory {
 public:
  const char* Name() const override { return "millrace-logs"; }
  rocksdb::TablePropertiesCollector* CreateTablePropertiesCollector(Context) override { return new LogRangeCollector; }
};

std::optional<GroupRange> LogsOf(const rocksdb::TableProperties& properties) {
  const auto found = properties.user_collected_properties.find(kLogsProperty);
  if (found == properties.user_collected_properties.end() || found->second.size() != 2 * sizeof(int64_t)) return {};
  LittleEndianReader in(found->second);
  const GroupId first(in.Get<int64_t>());
  return GroupRange{first, GroupId(in.Get<int64_t>())};
}

}  // namespace

std::shared_ptr<rocksdb::TablePropertiesCollectorFactory> LogRangeCollectors() {
  return std::make_shared<LogRangeCollectorFactory>();
}

void DamageWatch::OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* error) {
  std::string text = error->ToString();
  // What a flush finds wrong was so in memory: the next start replays what is on the disk. A table that the disk does not give is
  // damage, too; that it cannot be read only the text tells, which for a failed write is another one.
  const bool unread = error->IsIOError() && text.find(kSstSuffix) != std::string::npos &&
                      (text.find("While pread") != std::string::npos || text.find("random read") != std::string::npos);
  if (!(error->IsCorruption() || unread) || reason != rocksdb::BackgroundErrorReason::kCompaction) {
    health_
        .Fail(absl::InternalError(absl::StrCat(
            "background work of the store in ", directory_, " failed: ", text,
            "; what reached the disk is unknown, so the broker must stop: mend the cause and start it again")))
        .IgnoreError();  // the handler was told
    return;
  }
  absl::StrAppend(&text, LogsIn(text));
  const rocksdb::IOStatus marked = StoreDirectory::MarkDamaged(directory_, files_, text);
  health_
      .Fail(absl::DataLossError(absl::StrCat(
          "the store in ", directory_, " is damaged: ", text,
          "; stop the broker's supervisor: the next start is refused",
          marked.ok() ? "" : absl::StrCat(" (not quite: the mark could not be written, ", marked.ToString(), ")"),
          ". `millrace inspect ", directory_, "` tells what can be read; restore the directory from a backup")))
      .IgnoreError();
}

std::string DamageWatch::LogsIn(const std::string& text) const {
  rocksdb::DB* const db = db_;
  const size_t end = text.find(kSstSuffix);
  if (db == nullptr || end == std::string::npos) return "";
  const size_t begin = text.rfind('/', end);
  if (begin == std::string::npos) return "";
  const std::string table = text.substr(begin, end - begin) + std::string(kSstSuffix);
  rocksdb::TablePropertiesCollection tables;
  if (!db->GetPropertiesOfAllTables(&tables).ok()) return "";
  for (const auto& [path, properties] : tables) {
    if (!absl::EndsWith(path, table)) continue;
    const std::optional<GroupRange> logs = LogsOf(*properties);
    if (!logs) return "; it may hold parts of every log";
    const std::string names = name_logs_ != nullptr ? name_logs_(logs->first, logs->last) : "";
    return absl::StrCat("; it holds parts of ", names.empty() ? "the logs of groups " : names + " (groups ",
                        logs->first.value(), " to ", logs->last.value(), names.empty() ? "" : ")");
  }
  return "";
}

}  // namespace millrace::storage
