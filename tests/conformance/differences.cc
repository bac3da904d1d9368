#include "tests/conformance/differences.h"

#include <algorithm>
#include <utility>

#include "tests/conformance/text.h"

namespace millrace::conformance {
namespace {

std::string Cell(std::string_view text) {
  text = Strip(text);
  if (text.size() >= 2 && text.front() == '`' && text.back() == '`') text = text.substr(1, text.size() - 2);
  return std::string(text);
}

bool Contains(const std::vector<Difference>& list, const Difference& d) {
  return std::find(list.begin(), list.end(), d) != list.end();
}

}  // namespace

std::string Difference::ToString() const {
  return Cat(file, ":", line, ": ", what, ": etcd has ", etcd, ", ours ", ours);
}

std::vector<Difference> ReadDeclaredDifferences(std::string_view markdown) {
  static constexpr size_t kCells = 6;
  std::vector<Difference> declared;
  for (const std::string_view line : Split(markdown, "\n")) {
    if (!line.starts_with("| `")) continue;
    const std::vector<std::string_view> cells = Split(line.substr(1), "|");
    if (cells.size() < kCells) continue;
    declared.push_back({Cell(cells[0]), Cell(cells[1]), Cell(cells[2]), Cell(cells[3]), Cell(cells[4])});
  }
  return declared;
}

Verdict Judge(std::string_view file, const std::vector<Difference>& found, const std::vector<Difference>& declared) {
  Verdict verdict;
  for (const Difference& d : found) {
    if (!Contains(declared, d)) verdict.undeclared.push_back(d);
  }
  for (const Difference& d : declared) {
    if (d.file == file && !Contains(found, d)) verdict.vanished.push_back(d);
  }
  return verdict;
}

}  // namespace millrace::conformance
