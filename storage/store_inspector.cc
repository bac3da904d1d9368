#include "storage/store_inspector.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include <rocksdb/options.h>
#include <rocksdb/sst_file_reader.h>

#include "absl/strings/str_cat.h"
#include "raft/damage.h"
#include "storage/database.h"
#include "storage/entry_format.h"
#include "storage/log_reader.h"
#include "storage/rocks_util.h"

namespace millrace::storage {

using raft::GroupId;
using raft::LogIndex;

class StoreInspector::Impl {
 public:
  absl::Status Open(const std::string& directory) {
    bool readable = false;
    absl::StatusOr<std::unique_ptr<Database>> database = Database::OpenToRead(directory, &damage_, &readable);
    if (!database.ok()) return database.status();
    database_ = *std::move(database);
    damaged_mark_ = StoreDirectory::DamagedMark(directory, *database_->env().GetFileSystem()).value_or("");
    if (absl::Status status = ListFiles(directory, readable); !status.ok()) return status;
    if (readable) reader_.emplace(database_->db(), database_->payloads());
    return absl::OkStatus();
  }

  absl::Status ListFiles(const std::string& directory, bool readable) {
    std::set<std::string> tables;  // of the store
    if (readable) {
      std::vector<rocksdb::LiveFileMetaData> live;
      database_->db().GetLiveFilesMetaData(&live);
      for (const rocksdb::LiveFileMetaData& table : live) tables.insert(table.name.substr(1));
    }
    rocksdb::FileSystem& files = *database_->env().GetFileSystem();
    std::vector<std::string> names;
    const rocksdb::IOStatus listed = files.GetChildren(directory, rocksdb::IOOptions(), &names, nullptr);
    if (!listed.ok()) return ReadError(directory, listed);
    std::sort(names.begin(), names.end());
    for (const std::string& name : names) {
      File file{.name = name, .kind = KindOfFile(name)};
      files.GetFileSize(directory + "/" + name, rocksdb::IOOptions(), &file.bytes, nullptr).PermitUncheckedError();
      // A process that was killed leaves tables half written, which the next start removes.
      if (file.kind == FileKind::kSst && (!readable || tables.contains(name))) {
        file.status = CheckTable(directory + "/" + name);
      }
      const std::optional<uint64_t> kept = FileNumber(name, kKeptWalSuffix);
      const std::optional<uint64_t> moved = FileNumber(name, kMovedSuffix);
      if (kept || moved) file.live_bytes = database_->payloads().ReferencedBytes(kept ? *kept : kMovedFiles + *moved);
      files_.push_back(std::move(file));
    }
    return absl::OkStatus();
  }

  absl::Status CheckTable(const std::string& path) {
    rocksdb::Options options;
    options.env = &database_->env();
    rocksdb::SstFileReader table(options);
    rocksdb::Status status = table.Open(path);
    if (status.ok()) status = table.VerifyChecksum();
    return status.ok() ? absl::OkStatus() : ReadError(path, status);
  }

  absl::Status damage_;
  std::string damaged_mark_;
  std::unique_ptr<Database> database_;
  std::optional<LogReader> reader_;
  std::vector<File> files_;
};

absl::StatusOr<std::unique_ptr<StoreInspector>> StoreInspector::Open(const std::string& directory) {
  auto impl = std::make_unique<Impl>();
  if (absl::Status status = impl->Open(directory); !status.ok()) return status;
  return std::unique_ptr<StoreInspector>(new StoreInspector(std::move(impl)));
}

const std::vector<StoreInspector::File>& StoreInspector::files() const { return impl_->files_; }

const absl::Status& StoreInspector::damage() const { return impl_->damage_; }

const std::string& StoreInspector::damaged_mark() const { return impl_->damaged_mark_; }

const std::string& StoreInspector::cut_log() const { return impl_->database_->cut_log(); }

bool StoreInspector::has_logs() const { return impl_->reader_.has_value(); }

absl::StatusOr<std::vector<GroupId>> StoreInspector::Groups() const { return impl_->reader_->Groups(); }

absl::StatusOr<LogImage> StoreInspector::Log(GroupId group) const { return impl_->reader_->Load(group); }

void StoreInspector::ReadLog(GroupId group, const LogImage& log,
                             const std::function<void(const raft::Entry&)>& on_entry,
                             const std::function<void(LogIndex, const absl::Status&)>& on_damage) const {
  constexpr size_t kReadBytes = 4 << 20;
  const ReadLimits limits = {.last = log.last.index, .end = log.last.end_offset, .bytes_max = kReadBytes};
  std::optional<uint32_t> chain = log.start.before.chain;  // unknown behind what cannot be read
  for (LogIndex next = log.first_index(); next <= log.last.index;) {
    absl::StatusOr<std::vector<raft::Entry>> entries = impl_->reader_->Read(group, next, limits);
    if (!entries.ok() || entries->empty()) {
      on_damage(next, entries.status());
      chain.reset();
      ++next;
      continue;
    }
    for (const raft::Entry& entry : *entries) {
      if (chain && ChainDigest(*chain, entry.header) != entry.header.chain) {
        on_damage(entry.header.index,
                  raft::DamagedEntry(absl::StrCat("group ", group.value(), " entry ", entry.header.index.value(),
                                                  ": it does not follow from the one before"),
                                     {entry.header.base_offset, entry.header.end_offset()}));
      }
      chain = entry.header.chain;
      on_entry(entry);
    }
    next = entries->back().header.index + 1;
  }
}

StoreInspector::StoreInspector(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
StoreInspector::~StoreInspector() = default;

}  // namespace millrace::storage
