// MILLRACE_* variables: each flag's value where the flag is not given, MILLRACE_ADDRESS for --address.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace millrace::cli {

// Binds every flag of `app` and of its commands to its variable. Flags that name what the broker's flags of the same name do
// not (--config, --version, --help) have none.
void BindEnvironment(CLI::App& app);

// MILLRACE_* variables that are set and belong to no flag of `app`'s commands nor of millraced.
std::vector<std::string> UnknownVariables(const CLI::App& app);

}  // namespace millrace::cli
