// millrace bench produce|consume|end-to-end
#include "client/cli/arguments.h"

namespace millrace::cli {

void AddBenchCommands(CLI::App& app, const Common& common, Run& run) {}

}  // namespace millrace::cli
