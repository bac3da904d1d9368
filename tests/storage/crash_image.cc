#include "tests/storage/crash_image.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "proto/wire/check.h"
#include "storage/file_system.h"

namespace millrace::storage {
namespace {

constexpr std::array<const char*, kLossesKinds> kLossesNames = {"none", "all", "zeroes", "in-order", "mixed", "any"};

// Losses::kInOrder: operations, several syncs.
constexpr size_t kBehindMax = 200;

// Of a write, its first `bytes_max` bytes.
void Apply(const DiskOp& op, std::string& content, size_t bytes_max = std::string::npos) {
  if (op.kind == DiskOp::Kind::kTruncate) return content.resize(op.position);
  const size_t bytes = std::min(bytes_max, op.bytes.size());
  if (content.size() < op.position + bytes) content.resize(op.position + bytes);
  content.replace(op.position, bytes, op.bytes, 0, bytes);
}

// What is on the disk for certain, and what may be: positions in the log, in order.
struct DiskFile {
  std::string synced;
  std::vector<size_t> pending;
};
using Names = std::map<std::string, uint32_t>;

class Disk {
 public:
  Disk(const DiskLog& log, size_t cut) : log_(log) {
    for (size_t i = 0; i < cut; ++i) Replay(i);
  }

  const DiskFile& file(uint32_t number) const { return files_[number]; }
  const Names& synced_names() const { return synced_names_; }
  const std::vector<size_t>& pending_names() const { return pending_names_; }

  void ApplyName(size_t position, Names& names) const {
    const DiskOp& op = log_[position];
    if (op.kind == DiskOp::Kind::kLink) {
      names[op.name] = op.file;
    } else if (op.kind == DiskOp::Kind::kDelete) {
      names.erase(op.name);
    } else {
      names[op.new_name] = names.at(op.name);
      names.erase(op.name);
    }
  }

 private:
  void Replay(size_t position) {
    const DiskOp& op = log_[position];
    switch (op.kind) {
      case DiskOp::Kind::kWrite:
      case DiskOp::Kind::kTruncate:
        return files_[op.file].pending.push_back(position);
      case DiskOp::Kind::kSync:
        return SyncFile(files_[op.file], op.position);
      case DiskOp::Kind::kSyncDirectory:
        if (op.name == ".") SyncNames(op.position);
        return;
      case DiskOp::Kind::kLink:
        if (files_.size() <= op.file) files_.resize(op.file + 1);
        [[fallthrough]];
      case DiskOp::Kind::kRename:
      case DiskOp::Kind::kDelete:
        return pending_names_.push_back(position);
    }
  }

  void SyncFile(DiskFile& file, size_t end) {
    auto first_kept = std::lower_bound(file.pending.begin(), file.pending.end(), end);
    for (auto synced = file.pending.begin(); synced != first_kept; ++synced) Apply(log_[*synced], file.synced);
    file.pending.erase(file.pending.begin(), first_kept);
  }

  void SyncNames(size_t end) {
    auto first_kept = std::lower_bound(pending_names_.begin(), pending_names_.end(), end);
    for (auto synced = pending_names_.begin(); synced != first_kept; ++synced) ApplyName(*synced, synced_names_);
    pending_names_.erase(pending_names_.begin(), first_kept);
  }

  const DiskLog& log_;
  std::vector<DiskFile> files_;
  Names synced_names_;
  std::vector<size_t> pending_names_;
};

// Draws what survives.
class Survivors {
 public:
  Survivors(const DiskLog& log, const CrashImage& image)
      : log_(log), losses_(image.losses), random_(image.seed), disk_(log, image.cut) {
    if (losses_ == Losses::kInOrder) end_ = Pick(image.cut - std::min(image.cut, kBehindMax), image.cut);
  }

  Names DrawNames();
  std::string DrawContent(const std::string& name, uint32_t file);

 private:
  size_t Pick(size_t first, size_t last) { return std::uniform_int_distribution<size_t>(first, last)(random_); }
  bool OneIn(size_t n) { return Pick(1, n) == 1; }

  bool NameSurvives(size_t position) {
    if (losses_ == Losses::kInOrder) return position < end_;
    return losses_ == Losses::kNone || losses_ == Losses::kZeroes || (losses_ != Losses::kAll && OneIn(2));
  }
  // The whole, with all that is pending.
  std::string Whole(const DiskFile& file) const;
  std::string Prefix(const DiskFile& file, size_t end);
  std::string Blocks(const DiskFile& file);
  std::string Lengthened(std::string content, const DiskFile& file) const;

  const DiskLog& log_;
  const Losses losses_;
  std::mt19937_64 random_;
  const Disk disk_;
  size_t end_ = 0;  // kInOrder: operations from here on are lost
};

// What is lost takes with it what later happened to the same names.
Names Survivors::DrawNames() {
  Names names = disk_.synced_names();
  std::set<std::string> lost;
  for (size_t position : disk_.pending_names()) {
    const DiskOp& op = log_[position];
    if (NameSurvives(position) && !lost.contains(op.name) && !lost.contains(op.new_name)) {
      disk_.ApplyName(position, names);
      continue;
    }
    lost.insert(op.name);
    if (op.kind == DiskOp::Kind::kRename) lost.insert(op.new_name);
  }
  return names;
}

std::string Survivors::Whole(const DiskFile& file) const {
  std::string content = file.synced;
  for (size_t position : file.pending) Apply(log_[position], content);
  return content;
}

// Operations before `end`, and of a write at `end` a part that ends anywhere or with a block.
std::string Survivors::Prefix(const DiskFile& file, size_t end) {
  std::string content = file.synced;
  for (size_t position : file.pending) {
    const DiskOp& op = log_[position];
    if (position < end) {
      Apply(op, content);
      continue;
    }
    if (position > end || op.kind != DiskOp::Kind::kWrite || op.bytes.empty()) break;
    size_t bytes = Pick(0, op.bytes.size() - 1);
    if (OneIn(2)) bytes -= std::min<size_t>(bytes, (op.position + bytes) % 512);
    Apply(op, content, bytes);
    break;
  }
  return content;
}

// The length survives, and of what is pending single blocks; the others are as they were, or zeros.
std::string Survivors::Blocks(const DiskFile& file) {
  const std::string whole = Whole(file);
  std::string content = Lengthened(file.synced, file);
  const size_t block = OneIn(2) ? 512 : 4096;
  const size_t rarity = Pick(2, 8);
  const bool mostly_there = OneIn(2);
  for (size_t begin = 0; begin < whole.size(); begin += block) {
    if (OneIn(rarity) != mostly_there) content.replace(begin, block, whole, begin, block);
  }
  return content;
}

// `content`, followed by zeros where more was written.
std::string Survivors::Lengthened(std::string content, const DiskFile& file) const {
  content.resize(std::max(content.size(), Whole(file).size()));
  return content;
}

std::string Survivors::DrawContent(const std::string& name, uint32_t number) {
  const DiskFile& file = disk_.file(number);
  if (file.pending.empty()) return file.synced;
  switch (losses_) {
    case Losses::kNone:
      return Whole(file);
    case Losses::kAll:
      return file.synced;
    case Losses::kZeroes:
      return Lengthened(file.synced, file);
    case Losses::kInOrder:
      return Prefix(file, end_);
    case Losses::kMixed:
    case Losses::kAny:
      break;
  }
  const bool has_no_gaps = losses_ == Losses::kMixed && KindOfFile(name) == FileKind::kManifest;
  const size_t end = file.pending[Pick(0, file.pending.size() - 1)];
  switch (Pick(has_no_gaps ? 2 : 0, 6)) {
    case 0:
      return Blocks(file);
    case 1:
      return Lengthened(Prefix(file, end), file);
    case 2:
      return Lengthened(file.synced, file);
    case 3:
      return Whole(file);
    case 4:
      return file.synced;
    default:
      return Prefix(file, end);
  }
}

}  // namespace

std::string CrashImage::ToString() const {
  return absl::StrCat(cut, "/", kLossesNames[static_cast<size_t>(losses)], "/", seed);
}

std::optional<CrashImage> CrashImage::Parse(std::string_view text) {
  const std::vector<std::string> parts = absl::StrSplit(absl::string_view(text.data(), text.size()), '/');
  CrashImage image;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &image.cut) || !absl::SimpleAtoi(parts[2], &image.seed)) {
    return std::nullopt;
  }
  const auto name = std::find(kLossesNames.begin(), kLossesNames.end(), parts[1]);
  if (name == kLossesNames.end()) return std::nullopt;
  image.losses = static_cast<Losses>(name - kLossesNames.begin());
  return image;
}

void BuildImage(const DiskLog& log, const CrashImage& image, const std::string& directory) {
  MILLRACE_CHECK_LE(image.cut, log.size());
  MILLRACE_CHECK(std::filesystem::create_directory(directory)) << directory << " exists";
  Survivors survivors(log, image);
  for (const auto& [name, file] : survivors.DrawNames()) {
    const std::string content = survivors.DrawContent(name, file);
    std::ofstream out(directory + "/" + name, std::ios::binary);
    MILLRACE_CHECK(out.write(content.data(), static_cast<std::streamsize>(content.size())).flush().good()) << name;
  }
}

}  // namespace millrace::storage
