// millrace completion bash|zsh
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/arguments.h"

namespace millrace::cli {
namespace {

struct CompletionOptions {
  const CLI::App* root = nullptr;
  bool zsh = false;
};

// Calls visit(path, words) for each command: the words that may come after "topic create".
void ForEachCommand(const CLI::App& app, const std::string& path,
                    const std::function<void(const std::string&, const std::string&)>& visit) {
  std::vector<std::string> words;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
    words.push_back(sub->get_name());
  for (const CLI::App* at = &app; at != nullptr; at = at->get_parent()) {
    for (const CLI::Option* option : at->get_options()) {
      for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
    }
  }
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  visit(path, absl::StrJoin(words, " "));
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    ForEachCommand(*sub, path.empty() ? sub->get_name() : path + " " + sub->get_name(), visit);
  }
}

// The body of both shells' function: goes from the words before the cursor, without flags, to the words that may come next.
std::string Lookup(const CLI::App& root, const std::string& words_before) {
  std::string groups, cases;
  for (const CLI::App* sub : root.get_subcommands([](const CLI::App*) { return true; })) {
    if (sub->get_require_subcommand_min() > 0) absl::StrAppend(&groups, groups.empty() ? "" : "|", sub->get_name());
  }
  ForEachCommand(root, "", [&](const std::string& path, const std::string& words) {
    absl::StrAppend(&cases, "    '", path, "') choices='", words, "' ;;\n");
  });
  return absl::StrCat("  local command='' choices='' word\n", "  for word in ", words_before, "; do\n",
                      "    case \"$word\" in -*) continue ;; esac\n", "    case \"$command\" in\n",
                      "      '') command=\"$word\" ;;\n", "      ", groups, ") command=\"$command $word\" ;;\n",
                      "    esac\n", "  done\n", "  case \"$command\" in\n", cases, "  esac\n");
}

std::string BashScript(const CLI::App& root) {
  return absl::StrCat("# source <(millrace completion bash)\n_millrace() {\n",
                      Lookup(root, "\"${COMP_WORDS[@]:1:COMP_CWORD-1}\""),
                      "  COMPREPLY=($(compgen -W \"$choices\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\n",
                      "complete -o default -F _millrace millrace\n");
}

std::string ZshScript(const CLI::App& root) {
  return absl::StrCat("#compdef millrace\n# source <(millrace completion zsh)\n_millrace() {\n",
                      Lookup(root, "\"${(@)words[2,$((CURRENT-1))]}\""),
                      "  compadd -- ${=choices}\n  [[ \"${words[CURRENT]}\" == -* ]] || _files\n}\n",
                      "compdef _millrace millrace\n");
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
