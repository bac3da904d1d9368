#include "tests/storage/disk_log.h"

#include <istream>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"

namespace millrace::storage {

std::string ToString(const DiskOp& op) {
  switch (op.kind) {
    case DiskOp::Kind::kLink:
      return absl::StrCat("link ", op.name, " to file ", op.file);
    case DiskOp::Kind::kWrite:
      return absl::StrCat("write file ", op.file, " at ", op.position, ", ", op.bytes.size(), " bytes");
    case DiskOp::Kind::kTruncate:
      return absl::StrCat("truncate file ", op.file, " to ", op.position);
    case DiskOp::Kind::kSync:
      return absl::StrCat("sync file ", op.file, " before ", op.position);
    case DiskOp::Kind::kRename:
      return absl::StrCat("rename ", op.name, " to ", op.new_name);
    case DiskOp::Kind::kDelete:
      return absl::StrCat("delete ", op.name);
    case DiskOp::Kind::kSyncDirectory:
      return absl::StrCat("sync directory ", op.name, " before ", op.position);
  }
  return "";
}

void SaveNumber(uint64_t number, std::ostream& out) {
  out.write(reinterpret_cast<const char*>(&number), sizeof(number));
  MILLRACE_CHECK(out.good());
}

uint64_t LoadNumber(std::istream& in) {
  uint64_t number;
  MILLRACE_CHECK(in.read(reinterpret_cast<char*>(&number), sizeof(number)).good());
  return number;
}

void SaveText(const std::string& text, std::ostream& out) {
  SaveNumber(text.size(), out);
  MILLRACE_CHECK(out.write(text.data(), static_cast<std::streamsize>(text.size())).good());
}

std::string LoadText(std::istream& in) {
  std::string text(LoadNumber(in), '\0');
  MILLRACE_CHECK(in.read(text.data(), static_cast<std::streamsize>(text.size())).good());
  return text;
}

void Save(const DiskLog& log, std::ostream& out) {
  SaveNumber(log.size(), out);
  for (const DiskOp& op : log) {
    SaveNumber(static_cast<uint64_t>(op.kind), out);
    SaveNumber(op.file, out);
    SaveText(op.name, out);
    SaveText(op.new_name, out);
    SaveNumber(op.position, out);
    SaveText(op.bytes, out);
  }
}

DiskLog LoadDiskLog(std::istream& in) {
  DiskLog log(LoadNumber(in));
  for (DiskOp& op : log) {
    op.kind = static_cast<DiskOp::Kind>(LoadNumber(in));
    op.file = static_cast<uint32_t>(LoadNumber(in));
    op.name = LoadText(in);
    op.new_name = LoadText(in);
    op.position = LoadNumber(in);
    op.bytes = LoadText(in);
  }
  return log;
}

}  // namespace millrace::storage
