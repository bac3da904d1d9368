// The format in which etcd/raft (and CockroachDB, whose datadriven library defined it) writes tests down: commands, each with the
// output that it must have.
//
//     # a comment
//     deliver-msgs 1 drop=(2,3)
//     more input, any number of lines
//     ----
//     the expected output, up to a blank line
//
// A value is a word or a list in parentheses; a line that ends in \ goes on in the next. Output that has blank lines of its own
// stands between two pairs of ---- lines.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace millrace::conformance {

struct Argument {
  std::string key;
  std::vector<std::string> values;  // none for a bare word
};

struct Directive {
  std::string where;  // file:line of the command
  int line = 0;
  std::string command;
  std::string text;  // the command line as it stands
  std::vector<Argument> arguments;
  std::string input;     // without blanks around it
  std::string expected;  // each line ends in \n
};

// `file` is what errors call it. kInvalidArgument: "file:line: what is wrong".
absl::StatusOr<std::vector<Directive>> ParseDataDriven(std::string_view file, std::string_view text);

// An error about a command, with its place in front.
absl::Status ErrorAt(const Directive& directive, std::string_view what);
absl::Status ErrorAt(const Directive& directive, const absl::Status& status);

// Values as numbers and switches; errors say where.
absl::StatusOr<int64_t> ToNumber(const Directive& directive, std::string_view text);
absl::StatusOr<bool> ToBool(const Directive& directive, std::string_view text);

// Every line ends in \n, as in Directive::expected.
std::string WithFinalNewline(std::string text);

}  // namespace millrace::conformance
