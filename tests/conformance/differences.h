// Where our cores did something else than etcd's nodes, and the list of those that are meant to be (differences.md).
//
// The list is a table in that file; a row that begins with | ` is one difference:
//
//     | `file.txt` | `57` | `node 2 commit` | `12` | `11` | why |
//
// file, line of the command (or end), what, etcd's, ours. A row excuses exactly that; one that no longer happens is an error.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace millrace::conformance {

struct Difference {
  std::string file;  // its name, without folders
  std::string line;  // of the command; "end": after the last one
  std::string what;
  std::string etcd;
  std::string ours;

  bool operator==(const Difference&) const = default;
  std::string ToString() const;
};

// The rows of the table.
std::vector<Difference> ReadDeclaredDifferences(std::string_view markdown);

struct Verdict {
  std::vector<Difference> undeclared;
  std::vector<Difference> vanished;  // declared for this file, and not found
};
Verdict Judge(std::string_view file, const std::vector<Difference>& found, const std::vector<Difference>& declared);

}  // namespace millrace::conformance
