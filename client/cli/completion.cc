// millrace completion bash|zsh
#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/cli/arguments.h"

namespace millrace::cli {
namespace {

struct CompletionOptions {
  const CLI::App* root = nullptr;
  bool zsh = false;
};

// "none lz4 zstd" of an option that takes one of a few words: its type, which is in capitals for everything else.
std::string ChoicesOf(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  if (type.empty() || !absl::ascii_islower(static_cast<unsigned char>(type[0]))) return "";
  return absl::StrReplaceAll(type, {{"|", " "}});
}

// Calls visit(path, command) for `root`, path "", and all commands below it.
void ForEachCommand(const CLI::App& root, const std::string& path,
                    const std::function<void(const std::string&, const CLI::App&)>& visit) {
  visit(path, root);
  for (const CLI::App* sub : CommandsOf(root)) {
    ForEachCommand(*sub, path.empty() ? sub->get_name() : path + " " + sub->get_name(), visit);
  }
}

// What may come next behind a command: commands, flags, and the words of an argument that is one of a few.
std::string WordsAfter(const CLI::App& command) {
  std::set<std::string> words;
  for (const CLI::App* sub : CommandsOf(command)) words.insert(sub->get_name());
  for (const CLI::App* at = &command; at != nullptr; at = at->get_parent()) {
    for (const std::string& flag : FlagsOf(*at)) words.insert(flag);
  }
  std::string text = absl::StrJoin(words, " ");
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_positional()) absl::StrAppend(&text, " ", ChoicesOf(*option));
  }
  return text;
}

// Flags that take a value, by what that is: "none lz4 zstd" for one of a few words, "" for anything else.
std::map<std::string, std::set<std::string>> FlagsByValue(const CLI::App& root) {
  std::map<std::string, std::set<std::string>> flags;
  ForEachCommand(root, "", [&](const std::string&, const CLI::App& command) {
    for (const CLI::Option* option : command.get_options()) {
      if (option->get_positional() || option->get_items_expected_max() == 0) continue;
      std::set<std::string>& names = flags[ChoicesOf(*option)];
      for (const std::string& name : option->get_lnames()) names.insert("--" + name);
      for (const std::string& name : option->get_snames()) names.insert("-" + name);
    }
  });
  return flags;
}

// The body of both shells' function. Of `words`, those before the cursor, it finds the command, passing over flags and their
// values, and the flag right before the cursor, whose value it is then.
std::string Lookup(const CLI::App& root) {
  std::string groups, values, commands;
  std::set<std::string> with_value;
  for (const CLI::App* sub : CommandsOf(root)) {
    if (sub->get_require_subcommand_min() > 0) absl::StrAppend(&groups, groups.empty() ? "" : "|", sub->get_name());
  }
  for (const auto& [choices, flags] : FlagsByValue(root)) {
    with_value.insert(flags.begin(), flags.end());
    absl::StrAppend(&values, "    ", absl::StrJoin(flags, "|"), ") choices='", choices, "'; return ;;\n");
  }
  ForEachCommand(root, "", [&](const std::string& path, const CLI::App& command) {
    absl::StrAppend(&commands, "    '", path, "') choices='", WordsAfter(command), "' ;;\n");
  });
  return absl::StrCat("_millrace_choices() {\n", "  local command='' flag='' word\n", "  choices=''\n",
                      "  for word in \"$@\"; do\n", "    if [[ -n $flag ]]; then flag=''; continue; fi\n",
                      "    case \"$word\" in\n", "      ", absl::StrJoin(with_value, "|"), ") flag=\"$word\" ;;\n",
                      "      -*) ;;\n", "      *) case \"$command\" in\n", "        '') command=\"$word\" ;;\n",
                      "        ", groups, ") command=\"$command $word\" ;;\n", "      esac ;;\n", "    esac\n",
                      "  done\n", "  case \"$flag\" in\n", values, "  esac\n", "  case \"$command\" in\n", commands,
                      "  esac\n}\n");
}

// bash cuts words at = and : too, so they are taken from the line; a value behind = belongs to the flag before it.
std::string BashScript(const CLI::App& root) {
  return absl::StrCat("# source <(millrace completion bash)\n", Lookup(root), R"(_millrace() {
  local choices words current="${COMP_WORDS[COMP_CWORD]}"
  read -ra words <<< "${COMP_LINE:0:COMP_POINT}x"
  local last="${words[-1]%x}"
  unset 'words[-1]'
  if [[ $last == --*=* ]]; then words+=("${last%%=*}"); current="${last#*=}"; fi
  _millrace_choices "${words[@]:1}"
  COMPREPLY=($(compgen -W "$choices" -- "$current"))
}
complete -o default -F _millrace millrace
)");
}

std::string ZshScript(const CLI::App& root) {
  return absl::StrCat("#compdef millrace\n# source <(millrace completion zsh)\n", Lookup(root), R"(_millrace() {
  local choices
  _millrace_choices "${(@)words[2,$((CURRENT-1))]}"
  compadd -- ${=choices}
  [[ "${words[CURRENT]}" == -* ]] || _files
}
compdef _millrace millrace
)");
}

int Completion(const Common& common, const CompletionOptions& options) {
  return Print(common, options.zsh ? ZshScript(*options.root) : BashScript(*options.root));
}

}  // namespace

void AddCompletionCommand(CLI::App& app, const Common& common, Run& run) {
  CLI::App& completion = AddLeaf(app, "completion", "Print a script that completes commands and flags in bash or zsh",
                                 "Example: source <(millrace completion bash)");
  CompletionOptions& o = AddCommand(completion, run, Completion, common);
  o.root = &app;
  AddChoice<bool>(completion, "SHELL", o.zsh, {{"bash", false}, {"zsh", true}}, "bash or zsh")->required();
}

}  // namespace millrace::cli
