#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "grpc/health/v1/health.pb.h"
#include "grpc/reflection/v1alpha/reflection.pb.h"
#include "millrace/v1/admin.pb.h"
#include "millrace/v1/broker.pb.h"
#include "server/errors.h"
#include "server/services.h"

namespace millrace::server {
namespace {

namespace pb = google::protobuf;
using grpc::reflection::v1alpha::ServerReflectionRequest;
using grpc::reflection::v1alpha::ServerReflectionResponse;

constexpr int kNotFound = 5;  // gRPC's status code
constexpr int kUnimplemented = 12;

// Referring to a generated file keeps it linked and registered.
std::vector<const pb::FileDescriptor*> ServedFiles() {
  return {v1::ProduceRequest::descriptor()->file(), v1::CreateTopicRequest::descriptor()->file(),
          grpc::health::v1::HealthCheckRequest::descriptor()->file(), ServerReflectionRequest::descriptor()->file()};
}

// A file and everything it imports, each once.
void AddFiles(const pb::FileDescriptor* file, std::set<std::string>* seen,
              grpc::reflection::v1alpha::FileDescriptorResponse* out) {
  if (!seen->insert(file->name()).second) return;
  pb::FileDescriptorProto proto;
  file->CopyTo(&proto);
  out->add_file_descriptor_proto(proto.SerializeAsString());
  for (int i = 0; i < file->dependency_count(); ++i) AddFiles(file->dependency(i), seen, out);
}

void Answer(const pb::FileDescriptor* file, const std::string& asked, ServerReflectionResponse* response) {
  if (file == nullptr) {
    response->mutable_error_response()->set_error_code(kNotFound);
    response->mutable_error_response()->set_error_message("not found: " + asked);
    return;
  }
  std::set<std::string> seen;
  AddFiles(file, &seen, response->mutable_file_descriptor_response());
}

ServerReflectionResponse Reflect(const ServerReflectionRequest& request) {
  ServerReflectionResponse response;
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  const pb::DescriptorPool* pool = pb::DescriptorPool::generated_pool();
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kListServices:
      for (const pb::FileDescriptor* file : ServedFiles()) {
        for (int i = 0; i < file->service_count(); ++i) {
          response.mutable_list_services_response()->add_service()->set_name(file->service(i)->full_name());
        }
      }
      break;
    case ServerReflectionRequest::kFileByFilename:
      Answer(pool->FindFileByName(request.file_by_filename()), request.file_by_filename(), &response);
      break;
    case ServerReflectionRequest::kFileContainingSymbol:
      Answer(pool->FindFileContainingSymbol(request.file_containing_symbol()), request.file_containing_symbol(),
             &response);
      break;
    default:
      response.mutable_error_response()->set_error_code(kUnimplemented);
      response.mutable_error_response()->set_error_message("there are no extensions here");
  }
  return response;
}

class ReflectionCall : public Call {
 public:
  void Start(Stream& stream) override {
    stream_ = &stream;
    stream.Read();
  }
  void OnMessage(absl::Cord message) override {
    ServerReflectionRequest request;
    if (!request.ParseFromString(std::string(message))) {
      return stream_->Finish(FailedCall(MakeError(v1::Error::INVALID_REQUEST, "not a ServerReflectionRequest")));
    }
    stream_->Write(absl::Cord(Reflect(request).SerializeAsString()));
  }
  void OnWritten() override { stream_->Read(); }
  void OnReadsDone() override { stream_->Finish({}); }
  void OnClosed(CallEnd) override {}

 private:
  Stream* stream_ = nullptr;
};

}  // namespace

void AddReflectionService(ServiceRegistry& services) {
  const auto factory = [](Executor&) { return std::make_unique<ReflectionCall>(); };
  services.Add("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", factory);
  services.Add("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", factory);
}

}  // namespace millrace::server
