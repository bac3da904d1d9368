#include "storage/damage_watch.h"

#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/file_system.h"
#include "storage/keys.h"
#include "storage/rocks_util.h"
#include "storage/store_directory.h"

namespace millrace::storage {

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
  std::vector<rocksdb::LiveFileMetaData> tables;
  db->GetLiveFilesMetaData(&tables);
  for (const rocksdb::LiveFileMetaData& file : tables) {
    if (file.name != table) continue;
    const auto first = GroupOf(file.smallestkey), last = GroupOf(file.largestkey);
    const bool of_one_kind = file.smallestkey.substr(0, 1) == file.largestkey.substr(0, 1);
    if (!first || !last || !of_one_kind) return "; it may hold parts of every log";
    const std::string names = name_logs_ != nullptr ? name_logs_(*first, *last) : "";
    return absl::StrCat("; it holds parts of ", names.empty() ? "the logs of groups " : names + " (groups ",
                        first->value(), " to ", last->value(), names.empty() ? "" : ")");
  }
  return "";
}

}  // namespace millrace::storage
