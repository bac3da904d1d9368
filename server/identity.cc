#include "server/identity.h"

#include <fcntl.h>
#include <openssl/sha.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "proto/wire/crc32c.h"
#include "raft/fixed_int.h"

namespace millrace::server {
namespace {

constexpr std::string_view kFirstLine = "millrace broker 1\n";
constexpr const char* kChecksum = "crc32c ";
constexpr size_t kClusterIdBytes = 16;
constexpr size_t kFileBytesMax = 64 << 10;

std::string PathOf(const std::string& directory) { return directory + "/BROKER"; }

std::string Hex(uint64_t number) { return absl::StrCat(absl::Hex(number, absl::kZeroPad16)); }

std::string ChecksumLine(std::string_view text) {
  return absl::StrCat(kChecksum, absl::Hex(Crc32c(0, text), absl::kZeroPad8), "\n");
}

std::string Encode(const Identity& identity) {
  std::string text(kFirstLine);
  if (identity.self.broker != kNoBrokerId) absl::StrAppend(&text, "broker ", identity.self.broker.value(), "\n");
  absl::StrAppend(&text, "incarnation ", Hex(identity.self.incarnation), "\n");
  if (identity.starts != 0) absl::StrAppend(&text, "starts ", identity.starts, "\n");
  if (identity.stage != Identity::Stage::kNone) {
    absl::StrAppend(&text, "cluster ", identity.cluster_id(), "\n",
                    identity.stage == Identity::Stage::kMember ? "member\n" : "pledged\n");
    for (raft::ReplicaId founder : identity.founders) {
      absl::StrAppend(&text, "founder ", founder.broker.value(), " ", Hex(founder.incarnation), "\n");
    }
  }
  return text + ChecksumLine(text);
}

raft::BrokerId ParseBroker(absl::string_view text) {
  int64_t id = kNoBrokerId.value();
  return absl::SimpleAtoi(text, &id) ? raft::BrokerId(id) : kNoBrokerId;
}

uint64_t ParseHex(absl::string_view text) {
  uint64_t number = 0;
  return absl::SimpleHexAtoi(text, &number) ? number : 0;
}

uint64_t ParseCount(absl::string_view text) {
  uint64_t number = 0;
  return absl::SimpleAtoi(text, &number) ? number : 0;
}

// Takes anything: what is read is written again, and must give the same text.
Identity Parse(std::string_view text) {
  Identity identity;
  for (absl::string_view line : absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    if (words[0] == "broker" && words.size() == 2) identity.self.broker = ParseBroker(words[1]);
    if (words[0] == "incarnation" && words.size() == 2) identity.self.incarnation = ParseHex(words[1]);
    if (words[0] == "starts" && words.size() == 2) identity.starts = ParseCount(words[1]);
    if (words[0] == "pledged") identity.stage = Identity::Stage::kPledged;
    if (words[0] == "member") identity.stage = Identity::Stage::kMember;
    if (words[0] == "founder" && words.size() == 3) {
      identity.founders.push_back({ParseBroker(words[1]), ParseHex(words[2])});
    }
  }
  return identity;
}

absl::StatusOr<Identity> Decode(const std::string& path, std::string_view text) {
  const size_t end = std::min(text.rfind(kChecksum), text.size());
  if (text.substr(end) == ChecksumLine(text.substr(0, end))) {
    if (!text.starts_with(kFirstLine)) {
      return absl::UnimplementedError(
          absl::StrCat(path, " was written by a newer release; start that one. Nothing was changed"));
    }
    Identity identity = Parse(text);
    if (Encode(identity) == text) return identity;
  }
  return absl::DataLossError(
      absl::StrCat(path,
                   ", which says to which broker and cluster the directory belongs, is damaged; restore it from a "
                   "backup. Nothing was changed"));
}

absl::Status SystemError(absl::string_view what, const std::string& path) {
  return absl::InternalError(
      absl::StrCat("cannot ", what, " ", path, ": ", strerror(errno), "; mend the cause and start again"));
}

class File {
 public:
  File(const std::string& path, int flags) : fd_(open(path.c_str(), flags | O_CLOEXEC, 0600)) {}
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  bool is_open() const { return fd_ >= 0; }
  bool Write(std::string_view text) {
    while (!text.empty()) {
      const ssize_t written = write(fd_, text.data(), text.size());
      if (written < 0 && errno != EINTR) return false;
      text.remove_prefix(written < 0 ? 0 : static_cast<size_t>(written));
    }
    return true;
  }
  bool ReadAll(std::string* text) {
    text->resize(kFileBytesMax);
    size_t size = 0;
    for (ssize_t got = 1; got != 0 && size < text->size();) {
      got = read(fd_, text->data() + size, text->size() - size);
      if (got < 0 && errno != EINTR) return false;
      size += got < 0 ? 0 : static_cast<size_t>(got);
    }
    text->resize(size);
    return true;
  }
  bool Sync() { return fsync(fd_) == 0; }

 private:
  const int fd_;
};

absl::StatusOr<std::optional<Identity>> Read(const std::string& path) {
  File file(path, O_RDONLY);
  if (!file.is_open() && (errno == ENOENT || errno == ENOTDIR)) return std::nullopt;
  std::string text;
  if (!file.is_open() || !file.ReadAll(&text)) return SystemError("read", path);
  absl::StatusOr<Identity> identity = Decode(path, text);
  if (!identity.ok()) return identity.status();
  return *std::move(identity);
}

}  // namespace

std::string OldCopySentence(raft::BrokerId broker, uint64_t starts, uint64_t known_starts) {
  return absl::StrCat("the data directory of broker ", broker.value(),
                      " is an older copy of what it was: this is its start ", starts,
                      ", and the cluster has seen start ", known_starts,
                      ". What it acked since is missing in it, so it is not let in: ", kLostDiskRemedy);
}

std::string Identity::cluster_id() const { return stage == Stage::kNone ? "" : ClusterIdOf(founders); }

std::string ClusterIdOf(const raft::ReplicaSet& founders) {
  std::string bytes;
  for (raft::ReplicaId founder : founders) {
    raft::PutInt<int64_t>(bytes, founder.broker.value());
    raft::PutInt<uint64_t>(bytes, founder.incarnation);
  }
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest.data());
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest.data()), kClusterIdBytes));
}

absl::StatusOr<std::optional<Identity>> FindIdentity(const std::string& directory, bool has_store) {
  auto identity = Read(PathOf(directory));
  if (!identity.ok() || !*identity || has_store) return identity;
  const std::string remedy = (*identity)->stage == Identity::Stage::kNone ? "It was in no cluster yet: remove it"
                                                                          : absl::StrCat("To go on, ", kLostDiskRemedy);
  return absl::FailedPreconditionError(
      absl::StrCat(directory, " is a broker's, as its file BROKER says, but has no store: what was stored is gone. ",
                   remedy, ". Nothing was changed"));
}

absl::StatusOr<Identity> MakeIdentity(const std::string& directory, bool store_is_empty, raft::BrokerId broker,
                                      Random& random) {
  if (!store_is_empty) {
    return absl::FailedPreconditionError(
        absl::StrCat("the store in ", directory,
                     " is in use, but the file BROKER, which says to which broker and cluster "
                     "it belongs, is missing; restore it or the directory from a backup. Nothing was changed"));
  }
  Identity identity{.self = {broker, random.Next()}};
  if (absl::Status status = WriteIdentity(directory, identity); !status.ok()) return status;
  return identity;
}

absl::Status WriteIdentity(const std::string& directory, const Identity& identity) {
  const std::string path = PathOf(directory);
  const std::string next = path + ".new";
  {
    File file(next, O_WRONLY | O_CREAT | O_TRUNC);
    if (!file.is_open() || !file.Write(Encode(identity)) || !file.Sync()) return SystemError("write", next);
  }
  if (rename(next.c_str(), path.c_str()) != 0) return SystemError("replace", path);
  File names(directory, O_RDONLY | O_DIRECTORY);
  if (!names.is_open() || !names.Sync()) return SystemError("sync", directory);
  return absl::OkStatus();
}

}  // namespace millrace::server
