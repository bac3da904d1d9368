#include "tests/integration/test_network.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"

namespace millrace {
namespace {

constexpr int kFirstNumber = 2;  // 1 is the router's end of each cable

// A namespace lives as long as somebody is in it or a descriptor is open.
int MakeNamespace() {
  int ns = -1;
  std::thread([&ns] {
    if (unshare(CLONE_NEWNET) == 0) ns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  }).join();
  return ns;
}

std::string ReadAll(const std::filesystem::path& file) {
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  return std::move(text).str();
}

}  // namespace

TestNetwork::TestNetwork(int hosts) : numbers_(static_cast<size_t>(hosts) + 1, kFirstNumber) {
  std::string pattern = (std::filesystem::temp_directory_path() / "millrace-network-XXXXXX").string();
  MILLRACE_CHECK(mkdtemp(pattern.data()) != nullptr) << pattern << ": " << std::strerror(errno);
  folder_ = pattern;
  for (int i = 0; i < hosts + 2; ++i) {
    namespaces_.push_back(MakeNamespace());
    if (namespaces_.back() < 0) {
      missing_ = absl::StrCat("a network namespace: ", std::strerror(errno));
      return;
    }
  }
  // What is forwarded to a mapped port is on another path than the cables, so that a cut does not hold for it.
  if (!Run(router(), R"(
        ip link set lo up && echo 1 > /proc/sys/net/ipv4/ip_forward && nft -f - <<'RULES'
        table ip cables {
          chain cuts {}
          chain forward { type filter hook forward priority 0; ct status dnat accept; jump cuts; }
          chain mapped { type nat hook prerouting priority dstnat; }
        }
RULES)")) {
    return;
  }
  for (int host = 0; host <= hosts; ++host) Lay(host);
  if (!made()) return;

  WriteHosts();
  if (unshare(CLONE_NEWNS) != 0 ||
      (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 && errno != EINVAL) ||
      mount((folder_ / "hosts").c_str(), "/etc/hosts", nullptr, MS_BIND, nullptr) != 0 ||
      setns(Namespace(0), CLONE_NEWNET) != 0) {
    missing_ = absl::StrCat("a hosts file of its own: ", std::strerror(errno));
    return;
  }
  setenv("GRPC_DNS_RESOLVER", "native", 1);  // as the brokers' (proto/transport/grpc_transport.h)
}

TestNetwork::~TestNetwork() {
  umount2("/etc/hosts", MNT_DETACH);
  for (const int ns : namespaces_) close(ns);
  std::filesystem::remove_all(folder_);
}

std::string TestNetwork::Name(int host) { return absl::StrCat("host-", host, ".test"); }

std::string TestNetwork::Address(int host) const {
  return absl::StrCat("10.77.", host, ".", numbers_.at(static_cast<size_t>(host)));
}

void TestNetwork::WriteHosts() const {
  std::ofstream out(folder_ / "hosts");
  out << "127.0.0.1 localhost\n";
  for (int host = 0; host < static_cast<int>(numbers_.size()); ++host)
    out << Address(host) << " " << Name(host) << "\n";
}

bool TestNetwork::Run(int ns, const std::string& script) {
  const std::string log = (folder_ / "log").string();
  const pid_t pid = fork();
  MILLRACE_CHECK(pid >= 0) << "fork: " << std::strerror(errno);
  if (pid == 0) {
    const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (setns(ns, CLONE_NEWNET) != 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0) _exit(1);
    execl("/bin/sh", "sh", "-ec", script.c_str(), nullptr);
    _exit(127);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) MILLRACE_CHECK(errno == EINTR) << "waitpid: " << std::strerror(errno);
  if (status != 0 && missing_.empty()) missing_ = absl::StrCat("ip and nft with root's rights: ", ReadAll(log));
  return status == 0;
}

void TestNetwork::Lay(int host) {
  const std::string cable = absl::StrCat("to", host);
  const std::string end = absl::StrCat("/proc/", getpid(), "/fd/", Namespace(host));
  Run(router(), absl::StrCat("ip link add ", cable, " type veth peer name eth0 netns ", end, "\n",  //
                             "ip addr add 10.77.", host, ".1/24 dev ", cable, "\n",                 //
                             "ip link set ", cable, " up")) &&
      Run(Namespace(host), absl::StrCat("ip link set lo up\n",                            //
                                        "ip addr add ", Address(host), "/24 dev eth0\n",  //
                                        "ip link set eth0 up\n",                          //
                                        "ip route add default via 10.77.", host, ".1"));
}

void TestNetwork::Cut(int from, int to) {
  MILLRACE_CHECK(Run(router(), absl::StrCat("nft add rule ip cables cuts ip saddr 10.77.", from,
                                            ".0/24 ip daddr 10.77.", to, ".0/24 drop")))
      << missing_;
}

void TestNetwork::CutBothWays(int a, int b) {
  Cut(a, b);
  Cut(b, a);
}

void TestNetwork::Heal() { MILLRACE_CHECK(Run(router(), "nft flush chain ip cables cuts")) << missing_; }

std::string TestNetwork::MapPort(int port, int host, int host_port) {
  MILLRACE_CHECK(Run(router(), absl::StrCat("nft add rule ip cables mapped ip daddr 10.77.0.1 tcp dport ", port,
                                            " dnat to ", Address(host), ":", host_port)))
      << missing_;
  return absl::StrCat("10.77.0.1:", port);
}

void TestNetwork::Renumber(int host) {
  const std::string before = Address(host);
  ++numbers_.at(static_cast<size_t>(host));
  MILLRACE_CHECK(Run(Namespace(host), absl::StrCat("ip addr del ", before, "/24 dev eth0\n",         //
                                                   "ip addr add ", Address(host), "/24 dev eth0\n",  //
                                                   "ip route replace default via 10.77.", host, ".1")))
      << missing_;
  WriteHosts();
}

}  // namespace millrace
