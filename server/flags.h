// The flags of millraced as a table: parsing, environment, configuration file, help and completion all go by it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace millrace::server {

struct Flag {
  enum class Takes { kNothing, kText, kFile, kFolder, kWord };
  // Where else a value may come from; the last group acts at once and makes sense only when typed.
  enum class From { kAnywhere, kFlagOrEnvironment, kFlagOnly };

  std::string_view name;         // without the dashes
  std::string_view placeholder;  // of the value in --help; words are separated by |
  std::string_view help;
  Takes takes = Takes::kText;
  From from = From::kAnywhere;
};

std::span<const Flag> Flags();

// MILLRACE_DATA_DIR for data-dir.
std::string EnvironmentName(std::string_view flag);

// A script for `shell` ("bash", "zsh") to load; none for another shell.
std::optional<std::string> CompletionScript(std::string_view shell);

}  // namespace millrace::server
