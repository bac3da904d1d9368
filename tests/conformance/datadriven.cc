#include "tests/conformance/datadriven.h"

#include <optional>
#include <utility>

#include "tests/conformance/text.h"

namespace millrace::conformance {
namespace {

constexpr std::string_view kSeparator = "----";

bool IsWordCharacter(char c) {
  const bool alphanumeric = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return alphanumeric || std::string_view("-_/,.@+:").find(c) != std::string_view::npos;
}

// One command line, piece by piece.
class ArgumentScanner {
 public:
  explicit ArgumentScanner(std::string_view line) : rest_(line) {}

  // nullopt at the line's end.
  absl::StatusOr<std::optional<Argument>> Next() {
    rest_ = Strip(rest_);
    if (rest_.empty()) return std::nullopt;
    Argument argument{.key = std::string(Word()), .values = {}};
    if (argument.key.empty()) return absl::InvalidArgumentError(Cat("cannot read \"", rest_, "\""));
    if (!rest_.starts_with('=')) return AtBlank(std::move(argument));
    rest_.remove_prefix(1);
    if (!rest_.starts_with('(')) {
      argument.values.emplace_back(Word());
      return AtBlank(std::move(argument));
    }
    const size_t close = rest_.find(')');
    if (close == std::string_view::npos) return absl::InvalidArgumentError("a list without )");
    for (std::string_view value : Split(rest_.substr(1, close - 1), ",")) {
      argument.values.emplace_back(Strip(value));
    }
    rest_.remove_prefix(close + 1);
    return AtBlank(std::move(argument));
  }

 private:
  std::string_view Word() {
    size_t length = 0;
    while (length < rest_.size() && IsWordCharacter(rest_[length])) ++length;
    const std::string_view word = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return word;
  }

  absl::StatusOr<std::optional<Argument>> AtBlank(Argument argument) const {
    if (!rest_.empty() && rest_[0] != ' ' && rest_[0] != '\t') {
      return absl::InvalidArgumentError(Cat("cannot read \"", rest_, "\""));
    }
    return argument;
  }

  std::string_view rest_;
};

class Parser {
 public:
  Parser(std::string_view file, std::string_view text) : file_(file), lines_(Split(text, "\n")) {}

  absl::StatusOr<std::vector<Directive>> Run() {
    std::vector<Directive> directives;
    for (; next_ < lines_.size(); ++next_) {
      const std::string_view line = Strip(lines_[next_]);
      if (line.empty() || line.starts_with('#')) continue;
      absl::StatusOr<Directive> directive = One();
      if (!directive.ok()) return directive.status();
      directives.push_back(*std::move(directive));
    }
    return directives;
  }

 private:
  absl::StatusOr<Directive> One() {
    Directive d;
    d.line = static_cast<int>(next_) + 1;
    d.where = Cat(file_, ":", d.line);
    d.text = CommandLine();
    ArgumentScanner scanner(d.text);
    for (bool first = true;; first = false) {
      absl::StatusOr<std::optional<Argument>> argument = scanner.Next();
      if (!argument.ok()) return ErrorAt(d, argument.status());
      if (!*argument) break;
      if (first && !(*argument)->values.empty()) return ErrorAt(d, "a command was expected");
      if (first) {
        d.command = (*argument)->key;
      } else {
        d.arguments.push_back(**std::move(argument));
      }
    }
    if (!ReadInput(&d)) return ErrorAt(d, "no ---- follows");
    if (!ReadExpected(&d)) return ErrorAt(d, "the output's closing ---- is missing");
    return d;
  }

  // Joins continued lines; leaves next_ behind them.
  std::string CommandLine() {
    std::string text(Strip(lines_[next_++]));
    while (text.ends_with('\\') && next_ < lines_.size()) {
      text.pop_back();
      CatTo(&text, " ", Strip(lines_[next_++]));
    }
    return text;
  }

  bool ReadInput(Directive* d) {
    std::string input;
    for (; next_ < lines_.size(); ++next_) {
      if (Strip(lines_[next_]) == kSeparator) {
        ++next_;
        d->input = Strip(input);
        return true;
      }
      CatTo(&input, lines_[next_], "\n");
    }
    return false;
  }

  // Leaves next_ at the line after which the search for a command goes on.
  bool ReadExpected(Directive* d) {
    if (next_ < lines_.size() && lines_[next_] == kSeparator) {
      for (++next_; next_ + 1 < lines_.size(); ++next_) {
        if (lines_[next_] == kSeparator && lines_[next_ + 1] == kSeparator) {
          ++next_;
          return true;
        }
        CatTo(&d->expected, lines_[next_], "\n");
      }
      return false;
    }
    for (; next_ < lines_.size() && !Strip(lines_[next_]).empty(); ++next_) {
      CatTo(&d->expected, lines_[next_], "\n");
    }
    return true;
  }

  const std::string file_;
  const std::vector<std::string_view> lines_;
  size_t next_ = 0;
};

}  // namespace

absl::StatusOr<std::vector<Directive>> ParseDataDriven(std::string_view file, std::string_view text) {
  return Parser(file, text).Run();
}

absl::Status ErrorAt(const Directive& directive, std::string_view what) {
  return absl::InvalidArgumentError(Cat(directive.where, ": ", what));
}

absl::Status ErrorAt(const Directive& directive, const absl::Status& status) {
  return absl::InvalidArgumentError(absl::StrCat(directive.where, ": ", status.message()));
}

absl::StatusOr<int64_t> ToNumber(const Directive& directive, std::string_view text) {
  const std::optional<int64_t> number = Number(text);
  if (!number) return ErrorAt(directive, Cat("not a number: ", text));
  return *number;
}

absl::StatusOr<bool> ToBool(const Directive& directive, std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  return ErrorAt(directive, Cat("neither true nor false: ", text));
}

std::string WithFinalNewline(std::string text) {
  if (!text.empty() && text.back() != '\n') text.push_back('\n');
  return text;
}

}  // namespace millrace::conformance
