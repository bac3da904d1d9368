#include "tests/integration/cluster_processes.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace millrace {
namespace {

constexpr int kPort = 19092;  // on a host of its own

std::string WriteSecret(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "secret";
  std::ofstream(file) << "a-secret-that-only-these-brokers-know\n";
  std::filesystem::permissions(file, std::filesystem::perms::owner_read);
  return file.string();
}

}  // namespace

ClusterProcesses::ClusterProcesses(const Options& options) {
  for (int id = 1; id <= options.brokers; ++id) {
    BrokerProcess::Options broker{.arguments = options.arguments};
    if (options.network != nullptr) {
      broker.listen = absl::StrCat("0.0.0.0:", kPort);
      broker.address = absl::StrCat(TestNetwork::Name(id), ":", kPort);
      broker.network = options.network->Namespace(id);
      if (!absl::c_linear_search(options.arguments, "--advertise")) {
        broker.arguments.insert(broker.arguments.end(), {"--advertise", broker.address});
      }
    }
    brokers_.push_back(std::make_unique<BrokerProcess>(std::move(broker)));
  }
  std::vector<std::string> members;
  for (int id = 1; id <= size(); ++id) members.push_back(absl::StrCat(id, "@", at(id).address()));
  for (int id = 1; id <= size(); ++id) {
    at(id).AddArguments({"--broker-id", absl::StrCat(id), "--cluster", absl::StrJoin(members, ","),
                         "--peer-secret-file", WriteSecret(at(id).directory())});
  }
}

void ClusterProcesses::Start() {
  for (const auto& broker : brokers_) broker->Spawn();
  for (const auto& broker : brokers_) {
    broker->AwaitReady();
    if (::testing::Test::HasFatalFailure()) return;
  }
}

void ClusterProcesses::Pause(int broker) { at(broker).Signal(SIGSTOP); }

void ClusterProcesses::Resume(int broker) { at(broker).Signal(SIGCONT); }

std::string ClusterProcesses::addresses() const {
  return absl::StrJoin(brokers_, ",", [](std::string* out, const auto& broker) { out->append(broker->address()); });
}

}  // namespace millrace
