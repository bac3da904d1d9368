#include <array>
#include <string_view>
#include <utility>

#include "grpc/health/v1/health.pb.h"
#include "server/services.h"
#include "server/unary_call.h"

namespace millrace::server {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

constexpr std::array<std::string_view, 4> kServices = {"", "millrace.v1.Broker", "millrace.v1.Admin",
                                                       "millrace.v1.Groups"};
constexpr std::chrono::seconds kWatchInterval{1};

bool IsServed(std::string_view service) {
  return std::find(kServices.begin(), kServices.end(), service) != kServices.end();
}

HealthCheckResponse::ServingStatus StatusOf(const std::string& service, const std::function<bool()>& serving) {
  if (!IsServed(service)) return HealthCheckResponse::SERVICE_UNKNOWN;
  return serving() ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

// Sends the status at once and whenever it changes.
class WatchCall : public Call {
 public:
  WatchCall(std::function<bool()> serving, Executor& executor) : serving_(std::move(serving)), executor_(executor) {}
  ~WatchCall() override { executor_.Cancel(timer_); }

  void Start(Stream& stream) override {
    stream_ = &stream;
    stream.Read();
  }
  void OnMessage(absl::Cord message) override {
    HealthCheckRequest request;
    if (!request.ParseFromString(std::string(message))) {
      return stream_->Finish(FailedCall(MakeError(v1::Error::INVALID_REQUEST, "not a HealthCheckRequest")));
    }
    service_ = request.service();
    Look();
  }
  void OnWritten() override {
    writing_ = false;
    timer_ = executor_.After(kWatchInterval, [this] { Look(); });
  }
  void OnClosed(CallEnd) override { stream_ = nullptr; }

 private:
  void Look() {
    if (stream_ == nullptr || writing_) return;
    const auto status = StatusOf(service_, serving_);
    if (status == sent_) {
      timer_ = executor_.After(kWatchInterval, [this] { Look(); });
      return;
    }
    sent_ = status;
    writing_ = true;
    HealthCheckResponse response;
    response.set_status(status);
    stream_->Write(absl::Cord(response.SerializeAsString()));
  }

  const std::function<bool()> serving_;
  Executor& executor_;
  Stream* stream_ = nullptr;
  std::string service_;
  HealthCheckResponse::ServingStatus sent_ = HealthCheckResponse::UNKNOWN;
  bool writing_ = false;
  Executor::TimerId timer_ = 0;
};

}  // namespace

void AddHealthService(std::function<bool()> serving, ServiceRegistry& services) {
  services.Add(
      "/grpc.health.v1.Health/Check",
      Unary<HealthCheckRequest, HealthCheckResponse>(nullptr, [serving](const auto& request, auto reply, Executor&) {
        if (!IsServed(request.service())) {
          return reply.Fail(MakeError(v1::Error::UNKNOWN_TOPIC_OR_PARTITION, "no service " + request.service()));
        }
        HealthCheckResponse response;
        response.set_status(StatusOf(request.service(), serving));
        reply.Send(response);
      }));
  services.Add("/grpc.health.v1.Health/Watch",
               [serving](Executor& executor) { return std::make_unique<WatchCall>(serving, executor); });
}

}  // namespace millrace::server
