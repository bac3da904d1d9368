// millrace inspect
//
// The store's format is the broker's business: this program finds the millraced that lies beside it, or in the path, and becomes
// it. (Linking the store would make every client RocksDB's, too.)
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "client/cli/arguments.h"

namespace millrace::cli {
namespace {

struct InspectOptions {
  std::string directory;
  bool batches = false;
};

std::string BrokerProgram() {
  std::error_code error;
  const std::filesystem::path here = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path beside = here.parent_path() / "millraced";
  return !error && std::filesystem::exists(beside, error) ? beside.string() : "millraced";
}

int Inspect(const Common& common, const InspectOptions& options) {
  const std::string program = BrokerProgram();
  std::vector<const char*> argv = {program.c_str(), "inspect", options.directory.c_str(), "--output",
                                   common.json() ? "json" : "text"};
  if (options.batches) argv.push_back("--batches");
  argv.push_back(nullptr);
  execvp(program.c_str(), const_cast<char* const*>(argv.data()));
  return Report(
      common, absl::NotFoundError(absl::StrCat("millraced, which reads stores, cannot be run: ", std::strerror(errno))),
      "install the broker on this machine, or add its directory to PATH");
}

}  // namespace

void AddInspectCommand(CLI::App& app, const Common& common, Run& run) {
  CLI::App& inspect =
      AddLeaf(app, "inspect", "Check the store of a stopped broker: files, topics, segments, checksums",
              "Examples:\n  millrace inspect /var/lib/millrace\n"
              "  millrace inspect /var/lib/millrace --batches --output json\n\n"
              "Changes nothing. Exit code 0: all checksums are right; 1: something is damaged, or the store "
              "cannot be read (it is in use, there is none).");
  InspectOptions& o = AddCommand(inspect, run, Inspect, common);
  inspect.add_option("DIR", o.directory, "The broker's data directory")->required()->type_name("");
  inspect.add_flag("--batches", o.batches, "List each batch, too");
}

}  // namespace millrace::cli
