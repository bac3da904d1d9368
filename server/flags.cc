#include "server/flags.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace millrace::server {
namespace {

using enum Flag::Takes;
using enum Flag::From;

constexpr auto kFlags = std::to_array<Flag>({
    {"config", "FILE", "Configuration file (YAML): the names of flags and settings as keys", kFile, kFlagOrEnvironment},
    {"check-config", "", "Check the configuration, print every value in effect, and exit", kNothing,
     kFlagOrEnvironment},
    {"data-dir", "DIR", "Where the data is kept (default ./millrace-data)", kFolder},
    {"listen", "HOST[:PORT]", "Address for clients; port 0 takes a free one (default 127.0.0.1:9470)"},
    {"advertise", "HOST[:PORT]",
     "Address that clients are told (default --listen, or the host's name if that is a wildcard)"},
    {"http", "HOST[:PORT]", "Address of metrics and health (default the host of --listen, port + 1)"},
    {"broker-id", "N|hostname",
     "This broker's number; hostname: the number at the end of the host's name (default what the data directory says, "
     "else 1)"},
    {"rack", "NAME", "Where this broker stands; replicas of a partition are spread over racks"},
    {"cluster", "ID@HOST[:PORT],...", "The brokers that form a new cluster, up to 5, the same list on each of them"},
    {"join", "HOST[:PORT],...", "Join a running cluster through any of its brokers"},
    {"resync", "", "Take everything anew from the other replicas", kNothing},
    {"tls-cert", "FILE", "Certificate of this broker (PEM)", kFile},
    {"tls-key", "FILE", "Key of the certificate (PEM)", kFile},
    {"tls-ca", "FILE", "Certificates that clients' and peers' are checked against (PEM)", kFile},
    {"tls-client-auth", "none|require", "Whether clients need a certificate", kWord},
    {"peer-secret-file", "FILE", "Secret that the brokers of a cluster share; not for other users to read", kFile},
    {"set", "NAME=VALUE", "A setting, see below; repeatable (a key of its own in the file)", kText, kFlagOrEnvironment},
    {"completion", "bash|zsh", "Print a completion script for the shell, and exit", kWord, kFlagOnly},
    {"help", "", "Print this, and exit", kNothing, kFlagOnly},
    {"version", "", "Print the version, and exit", kNothing, kFlagOnly},
});

constexpr const char* kBashScript = R"(# Completion for millraced. To load it: source <(millraced --completion bash)
_millraced() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
  COMPREPLY=()
  case "$prev" in
@CASES@  esac
  COMPREPLY=($(compgen -W "@FLAGS@" -- "$cur"))
}
complete -o filenames -F _millraced millraced
)";

std::string CaseFor(const Flag& flag) {
  const auto words = [&flag] { return absl::StrReplaceAll(std::string(flag.placeholder), {{"|", " "}}); };
  std::string action;
  switch (flag.takes) {
    case kNothing:
      return "";
    case kText:
      break;
    case kFile:
      action = "COMPREPLY=($(compgen -f -- \"$cur\")); ";
      break;
    case kFolder:
      action = "COMPREPLY=($(compgen -d -- \"$cur\")); ";
      break;
    case kWord:
      action = absl::StrCat("COMPREPLY=($(compgen -W \"", words(), "\" -- \"$cur\")); ");
      break;
  }
  return absl::StrCat("    --", std::string(flag.name), ") ", action, "return ;;\n");
}

}  // namespace

std::span<const Flag> Flags() { return kFlags; }

std::string EnvironmentName(std::string_view flag) {
  std::string name = "MILLRACE_";
  for (const unsigned char c : flag) name += c == '-' ? '_' : static_cast<char>(std::toupper(c));
  return name;
}

std::optional<std::string> CompletionScript(std::string_view shell) {
  if (shell != "bash" && shell != "zsh") return std::nullopt;
  std::string cases;
  std::string names;
  for (const Flag& flag : Flags()) {
    cases += CaseFor(flag);
    absl::StrAppend(&names, names.empty() ? "" : " ", "--", std::string(flag.name));
  }
  const std::string script = absl::StrReplaceAll(kBashScript, {{"@CASES@", cases}, {"@FLAGS@", names}});
  return shell == "bash" ? script : "autoload -U +X bashcompinit && bashcompinit\n" + script;
}

}  // namespace millrace::server
