#include "storage/store_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <sstream>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "storage/file_system.h"
#include "storage/manifest_scan.h"

namespace millrace::storage {
namespace {

constexpr std::string_view kDamagedName = "DAMAGED";
constexpr absl::string_view kFormatPrefix = "millrace store format ";
// What RocksDB writes before it can serve. Its 7.8.3 aborts when the disk is full at that moment.
constexpr uint64_t kFreeBytesMin = 16 << 20;

absl::Status Make(const std::string& path, rocksdb::FileSystem& files) {
  if (mkdir(path.c_str(), 0700) != 0) {
    return absl::FailedPreconditionError(absl::StrCat("the store's directory ", path,
                                                      " cannot be made: ", strerror(errno),
                                                      errno == EROFS ? "; mount its file system writable"
                                                                     : "; make it, owned by the user that runs the "
                                                                       "broker"));
  }
  // What is synced in a directory is not there after a power cut if the directory is not.
  const rocksdb::IOStatus synced = SyncDirectory(files, path + "/..");
  if (synced.ok()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "the directory above ", path, " cannot be synced: ", synced.ToString(), "; mend the cause and start again"));
}

absl::Status Prepare(const std::string& path, rocksdb::FileSystem& files, bool create_if_missing) {
  if (path.empty()) return absl::InvalidArgumentError("no directory was named for the store");
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    if (errno != ENOENT || !create_if_missing) {
      return absl::NotFoundError(absl::StrCat("the store's directory ", path, " cannot be used: ", strerror(errno),
                                              "; check the path, or make the directory"));
    }
    return Make(path, files);
  }
  if (!S_ISDIR(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is not a directory; choose another path for the store"));
  }
  if (access(path.c_str(), R_OK | W_OK | X_OK) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the store's directory ", path, " cannot be written to: ", strerror(errno),
        errno == EROFS ? "; mount its file system writable" : "; give it to the user that runs the broker"));
  }
  return absl::OkStatus();
}

// Who holds the lock on the open directory `fd`, as the kernel lists it: "1: FLOCK ADVISORY WRITE pid major:minor:inode ...".
std::optional<pid_t> LockHolder(int fd) {
  struct stat info;
  if (fstat(fd, &info) != 0) return std::nullopt;
  const std::string inode = absl::StrCat(":", info.st_ino);
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    std::istringstream words(line);
    std::string number, kind, mode, access, file;
    pid_t pid = 0;
    if (words >> number >> kind >> mode >> access >> pid >> file && kind == "FLOCK" && file.ends_with(inode))
      return pid;
  }
  return std::nullopt;
}

absl::Status InUse(const std::string& path, int fd) {
  const std::optional<pid_t> holder = LockHolder(fd);
  if (holder == getpid()) {
    return absl::FailedPreconditionError(absl::StrCat("the store in ", path, " is already open in this process"));
  }
  return absl::FailedPreconditionError(absl::StrCat("the store in ", path, " is in use by ",
                                                    holder ? absl::StrCat("process ", *holder) : "another process",
                                                    "; stop that broker, or choose another data directory"));
}

std::string FormatFile(const std::string& path) { return path + "/FORMAT"; }

// What a process that was killed had made ahead goes once the directory is ours.
std::string NextWal(const std::string& path) { return path + "/" + std::string(kNextWalName); }

uint64_t AllocatedBytes(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 ? static_cast<uint64_t>(info.st_blocks) * 512 : 0;
}

absl::Status CheckFreeSpace(const std::string& path) {
  struct statvfs fs;
  if (statvfs(path.c_str(), &fs) != 0) return absl::OkStatus();
  const uint64_t free_bytes = uint64_t{fs.f_bavail} * fs.f_frsize + AllocatedBytes(NextWal(path));
  if (free_bytes >= kFreeBytesMin) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("the disk of the store in ", path, " is full: ", free_bytes,
                                                    " bytes are free, opening it takes ", kFreeBytesMin,
                                                    "; make room on it and start again. Nothing was changed"));
}

// Whether a store has such a file only when it has CURRENT, too: a crash while the store is made leaves none of them.
bool NeedsCurrent(const std::string& name) {
  constexpr std::string_view kSuffixes[] = {kWalSuffix, kKeptWalSuffix, kMovedSuffix, kSstSuffix};
  if (KindOfFile(name) == FileKind::kManifest) return name != "MANIFEST-000001";
  return std::any_of(std::begin(kSuffixes), std::end(kSuffixes),
                     [&](std::string_view suffix) { return FileNumber(name, suffix).has_value(); });
}

// RocksDB would make a new database where CURRENT is missing, and delete the old one's files.
absl::Status CheckNothingLostCurrent(const std::string& path, rocksdb::FileSystem& files) {
  std::vector<std::string> names;
  const rocksdb::IOStatus listed = files.GetChildren(path, rocksdb::IOOptions(), &names, nullptr);
  if (!listed.ok()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the store's directory ", path, " cannot be read: ", listed.ToString(), "; mend the cause and start again"));
  }
  const auto stranded = std::find_if(names.begin(), names.end(), NeedsCurrent);
  if (stranded == names.end()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(
      "the store in ", path, " is damaged: it has no file CURRENT, but files of a store (", *stranded,
      "); keep a copy of the directory, then restore CURRENT (one line, the name of the newest MANIFEST- file) or the "
      "directory from a backup. Nothing was changed"));
}

absl::Status CheckManifestRecords(const std::string& path, const std::string& manifest, rocksdb::FileSystem& files) {
  std::string records;
  const rocksdb::IOStatus read = rocksdb::ReadFileToString(&files, manifest, &records);
  if (!read.ok()) return absl::OkStatus();  // RocksDB says what is wrong with it
  const std::optional<uint64_t> offset = FindManifestDamage(records);
  if (!offset) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("the store in ", path, " is damaged: ", manifest, " cannot be read at offset ", *offset,
                   "; all partitions share this file. Keep a copy of the directory, then restore "
                   "the file or the directory from a backup. Nothing was changed"));
}

absl::Status CheckManifest(const std::string& path, rocksdb::FileSystem& files) {
  std::string current;
  const rocksdb::IOStatus read = rocksdb::ReadFileToString(&files, path + "/CURRENT", &current);
  absl::string_view name = current;
  if (!read.ok()) return absl::OkStatus();  // RocksDB says what is wrong with it
  if (!absl::ConsumeSuffix(&name, "\n") || !absl::StartsWith(name, "MANIFEST-")) {
    return absl::DataLossError(
        absl::StrCat("the store in ", path,
                     " is damaged: its file CURRENT names no manifest; keep a copy of the directory, then write "
                     "one line into CURRENT, the name of the newest MANIFEST- file, or restore the directory from a "
                     "backup. Nothing was "
                     "changed"));
  }
  const std::string manifest = absl::StrCat(path, "/", name);
  std::unique_ptr<rocksdb::FSSequentialFile> file;
  const rocksdb::IOStatus opened = files.NewSequentialFile(manifest, rocksdb::FileOptions(), &file, nullptr);
  if (opened.ok()) {
    // After a failed sync the page cache may hold what the disk does not.
    file->InvalidateCache(0, 0).PermitUncheckedError();
    return CheckManifestRecords(path, manifest, files);
  }
  if (!opened.IsPathNotFound() && !opened.IsNotFound()) return absl::OkStatus();  // RocksDB says what is wrong with it
  return absl::DataLossError(absl::StrCat("the store in ", path, " is damaged: ", manifest,
                                          ", which CURRENT names, is missing; keep a copy of the directory, then "
                                          "restore the file or the directory from a backup. Nothing was changed"));
}

absl::Status CheckFormat(const std::string& path, rocksdb::FileSystem& files) {
  const std::string name = FormatFile(path);
  std::string text;
  const rocksdb::IOStatus read = rocksdb::ReadFileToString(&files, name, &text);
  if (read.IsPathNotFound() || read.IsNotFound()) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, " holds a RocksDB database that is no store of a broker (it has no FORMAT); choose another directory"));
  }
  absl::string_view number = text;
  int format = 0;
  if (!read.ok() || !absl::ConsumePrefix(&number, kFormatPrefix) || !absl::SimpleAtoi(number, &format)) {
    return absl::DataLossError(absl::StrCat(name, " cannot be understood",
                                            read.ok() ? "" : absl::StrCat(" (", read.ToString(), ")"),
                                            "; restore the directory from a backup. Nothing was changed"));
  }
  if (format == StoreDirectory::kFormat) return absl::OkStatus();
  if (format < StoreDirectory::kFormat) {
    return absl::FailedPreconditionError(
        absl::StrCat("the store in ", path, " has format ", format,
                     ", of a build before the first release; this one knows format ", StoreDirectory::kFormat,
                     " only: choose another directory, or consume from that build and produce to this one. "
                     "Nothing was changed"));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "the store in ", path, " has format ", format, ", written by a newer release; this one knows format ",
      StoreDirectory::kFormat, " only: start the newer release on it. Nothing was changed"));
}

bool HoldsStore(const std::string& path) { return access((path + "/CURRENT").c_str(), F_OK) == 0; }

// A directory for a store that is new, or whose first process died while it was made.
absl::Status BeginStore(const std::string& path, rocksdb::FileSystem& files) {
  if (absl::Status status = CheckNothingLostCurrent(path, files); !status.ok()) return status;
  const std::string name = FormatFile(path);
  rocksdb::IOStatus written =
      rocksdb::WriteStringToFile(&files, absl::StrCat(kFormatPrefix, StoreDirectory::kFormat, "\n"), name, true);
  if (written.ok()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("cannot write ", name, ": ", written.ToString()));
}

absl::Status CheckNotMarked(const std::string& path, rocksdb::FileSystem& files) {
  const std::optional<std::string> mark = StoreDirectory::DamagedMark(path, files);
  if (!mark) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(
      "the store in ", path, " was found to be damaged: ", *mark, "; `millrace inspect ", path,
      "` tells what can be read. Restore the directory from a backup; to start on it as it is, remove ", path, "/",
      std::string(kDamagedName),
      ": it is read as far as it can be, and stops again when the damage is next compacted. Nothing was changed"));
}

// Opens the directory and locks it.
absl::StatusOr<int> Lock(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("the store's directory ", path, " cannot be opened: ", strerror(errno)));
  }
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  absl::Status in_use = InUse(path, fd);
  close(fd);
  return in_use;
}

}  // namespace

absl::StatusOr<StoreDirectory> StoreDirectory::Claim(const std::string& path, rocksdb::FileSystem& files,
                                                     bool create_if_missing) {
  if (absl::Status status = Prepare(path, files, create_if_missing); !status.ok()) return status;
  absl::StatusOr<int> fd = Lock(path);
  if (!fd.ok()) return fd.status();
  StoreDirectory directory(*fd);
  if (absl::Status status = CheckFreeSpace(path); !status.ok()) return status;
  absl::Status status = HoldsStore(path) ? CheckFormat(path, files) : BeginStore(path, files);
  if (status.ok()) status = CheckNotMarked(path, files);
  if (status.ok()) status = CheckManifest(path, files);
  if (!status.ok()) return status;
  unlink(NextWal(path).c_str());
  return directory;
}

absl::StatusOr<StoreDirectory> StoreDirectory::ClaimToRead(const std::string& path, rocksdb::FileSystem& files,
                                                           absl::Status* damage) {
  absl::StatusOr<int> fd = Lock(path);
  if (!fd.ok()) return fd.status();
  StoreDirectory directory(*fd);
  if (!HoldsStore(path)) {
    if (absl::Status status = CheckNothingLostCurrent(path, files); !status.ok()) return status;
    return absl::NotFoundError(absl::StrCat("there is no store in ", path, "; give a broker's data directory"));
  }
  if (absl::Status status = CheckFormat(path, files); !status.ok()) return status;
  *damage = CheckManifest(path, files);
  return directory;
}

rocksdb::IOStatus StoreDirectory::MarkDamaged(const std::string& path, rocksdb::FileSystem& files,
                                              const std::string& text) {
  rocksdb::IOStatus status =
      rocksdb::WriteStringToFile(&files, text, path + "/" + std::string(kDamagedName), /*should_sync=*/true);
  return status.ok() ? SyncDirectory(files, path) : status;
}

std::optional<std::string> StoreDirectory::DamagedMark(const std::string& path, rocksdb::FileSystem& files) {
  std::string text;
  const rocksdb::IOStatus read = rocksdb::ReadFileToString(&files, path + "/" + std::string(kDamagedName), &text);
  if (read.IsPathNotFound() || read.IsNotFound()) return std::nullopt;
  return read.ok() ? text : read.ToString();
}

bool StoreDirectory::Exists(const std::string& path) {
  struct stat info;
  return stat(FormatFile(path).c_str(), &info) == 0;
}

StoreDirectory::~StoreDirectory() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace millrace::storage
