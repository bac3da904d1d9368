// What a program did to one directory, operation by operation: enough to say what a power cut could have left of it.
//
// A file is known by a number, apart from its names: a name that never reached the directory does not take the file's synced
// bytes with it, and a rename moves none.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

namespace millrace::storage {

struct DiskOp {
  enum class Kind : uint8_t {
    kLink,           // gives `file` (new, or not) the name `name`
    kWrite,          // `bytes` at `position` of `file`
    kTruncate,       // `file` to `position` bytes
    kSync,           // of `file`: its operations before `position` of the log are on the disk
    kRename,         // `name` to `new_name`
    kDelete,         // `name`
    kSyncDirectory,  // of `name` ("." is the directory itself): its names' operations before `position` are on the disk
  };

  Kind kind;
  uint32_t file = 0;
  std::string name;
  std::string new_name;
  uint64_t position = 0;
  std::string bytes;
};

using DiskLog = std::vector<DiskOp>;

// For people: one line.
std::string ToString(const DiskOp& op);

// Both directions CHECK that the stream does its part.
void Save(const DiskLog& log, std::ostream& out);
DiskLog LoadDiskLog(std::istream& in);

// Length, then bytes; what a saved recording is made of.
void SaveText(const std::string& text, std::ostream& out);
std::string LoadText(std::istream& in);
void SaveNumber(uint64_t number, std::ostream& out);
uint64_t LoadNumber(std::istream& in);

}  // namespace millrace::storage
