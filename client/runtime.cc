#include "millrace/runtime.h"

#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <mutex>
#include <optional>
#include <random>
#include <tuple>

#include "client/runtime_thread.h"
#include "client/status.h"
#include "proto/transport/completion_loop.h"
#include "proto/transport/grpc_transport.h"
#include "proto/wire/check.h"

namespace millrace {

std::shared_ptr<Runtime> Runtime::Create() { return std::make_shared<client::RuntimeThread>(); }

std::shared_ptr<Runtime> Runtime::Shared() {
  static std::mutex mutex;
  static std::weak_ptr<Runtime> shared;
  std::lock_guard lock(mutex);
  std::shared_ptr<Runtime> runtime = shared.lock();
  if (!runtime) shared = runtime = Create();
  return runtime;
}

}  // namespace millrace

namespace millrace::client {
namespace {

class SystemRandom : public Random {
 public:
  uint64_t Next() override { return engine_(); }

 private:
  std::mt19937_64 engine_{std::random_device()()};
};

// Streams of batches take and free buffers of some hundred KiB all the time. glibc maps and unmaps each of them, or
// trims its heap, until it has seen a large block freed: from then on it keeps up to twice that block's size
// (mallopt(3), M_MMAP_THRESHOLD; settings of the program's own win). Untouched, the block costs nothing; page faults
// were a third of a consumer's CPU time. Other allocators do not mind.
void TeachAllocator() {
  constexpr size_t kBlockBytes = (32 << 20) - (64 << 10);
  void* volatile block = std::malloc(kBlockBytes);
  std::free(block);
}

absl::StatusOr<std::optional<TlsKeys>> ReadTlsKeys(const ClientOptions& options) {
  if (options.tls_ca.empty()) return std::nullopt;
  TlsKeys keys;
  for (auto [path, setting, text] : {std::tuple(&options.tls_ca, "ssl.ca.location", &keys.roots),
                                     std::tuple(&options.tls_cert, "ssl.certificate.location", &keys.certificate),
                                     std::tuple(&options.tls_key, "ssl.key.location", &keys.private_key)}) {
    if (path->empty()) continue;
    std::ifstream file(*path, std::ios::binary);
    if (!file) return InvalidConfig("setting \"" + std::string(setting) + "\": cannot read '" + *path + "'");
    text->assign(std::istreambuf_iterator<char>(file), {});
  }
  return keys;
}

}  // namespace

struct RuntimeThread::Parts {
  CompletionLoop loop{std::make_unique<grpc::CompletionQueue>()};
  SystemClock clock;
  SystemRandom random;  // on the thread only
};

RuntimeThread::RuntimeThread() : parts_(std::make_unique<Parts>()) {
  TeachAllocator();
  thread_ = std::thread([this] { parts_->loop.Run(); });
}

RuntimeThread::~RuntimeThread() {
  MILLRACE_CHECK(!parts_->loop.OnThread()) << "the last user of a Runtime must not be destroyed on its thread";
  parts_->loop.Stop();
  thread_.join();
}

Clock& RuntimeThread::clock() { return parts_->clock; }
Random& RuntimeThread::random() { return parts_->random; }
Executor& RuntimeThread::executor() { return parts_->loop; }
CompletionLoop& RuntimeThread::loop() { return parts_->loop; }

void RuntimeThread::RunAndWait(const std::function<void()>& task) {
  MILLRACE_CHECK(!parts_->loop.OnThread()) << "waiting for the I/O thread on the I/O thread";
  std::mutex mutex;
  std::condition_variable finished;
  bool done = false;
  parts_->loop.Post([&] {
    task();
    std::lock_guard lock(mutex);  // held while notifying: the waiter then destroys all of this
    done = true;
    finished.notify_one();
  });
  std::unique_lock lock(mutex);
  finished.wait(lock, [&] { return done; });
}

absl::StatusOr<std::unique_ptr<Foundation>> Foundation::Create(const ClientOptions& options) {
  std::shared_ptr<Runtime> runtime = options.runtime ? options.runtime : Runtime::Shared();
  auto thread = std::static_pointer_cast<RuntimeThread>(std::move(runtime));
  if (thread->executor().OnThread()) {
    return InvalidRequest("a delivery callback cannot make a client on its own Runtime: that waits for its thread");
  }
  const absl::StatusOr<std::optional<TlsKeys>> tls = ReadTlsKeys(options);
  if (!tls.ok()) return tls.status();
  auto transport = std::make_unique<GrpcTransport>(thread->loop(), GrpcTransport::Options{.tls = *tls});
  return std::unique_ptr<Foundation>(new Foundation(std::move(thread), std::move(transport)));
}

Foundation::Foundation(std::shared_ptr<RuntimeThread> thread, std::unique_ptr<ClientTransport> transport)
    : thread_(std::move(thread)), transport_(std::move(transport)) {}

Foundation::~Foundation() {
  thread_->RunAndWait([this] { transport_.reset(); });
}

ClientEnvironment Foundation::environment() {
  return {.clock = thread_->clock(),
          .executor = thread_->executor(),
          .random = thread_->random(),
          .transport = *transport_};
}

bool Foundation::OnThread() { return thread_->executor().OnThread(); }

}  // namespace millrace::client
