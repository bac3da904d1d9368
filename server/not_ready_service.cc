#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "server/services.h"

namespace millrace::server {
namespace {

class NotReadyCall : public Call {
 public:
  explicit NotReadyCall(std::string why) : why_(std::move(why)) {}
  void Start(Stream& stream) override {
    stream.Finish(
        FailedCall(MakeError(v1::Error::LEADER_NOT_AVAILABLE, absl::StrCat("this broker is not ready: ", why_))));
  }
  void OnMessage(absl::Cord) override {}
  void OnWritten() override {}
  void OnClosed(CallEnd) override {}

 private:
  const std::string why_;
};

}  // namespace

void AddNotReady(std::function<std::string()> why, ServiceRegistry& services) {
  services.AddOthers([why = std::move(why)](Executor&) { return std::make_unique<NotReadyCall>(why()); });
}

}  // namespace millrace::server
