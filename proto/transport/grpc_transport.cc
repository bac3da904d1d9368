#include "proto/transport/grpc_transport.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <cstdlib>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

#include "proto/transport/completion_loop.h"
#include "proto/transport/cord_buffer.h"
#include "proto/wire/check.h"

namespace millrace {
namespace {

// A broker that is gone is noticed within half a minute, one that is back is found within a second. Where each stream has its own
// connection, nothing else on it tells that it is dead: then within four seconds.
constexpr int kConnectTimeoutMs = 2'000;
constexpr int kResolveTimeoutMs = 2'000;  // one lookup; the channel tries again
constexpr int kBackoffMinMs = 50;
constexpr int kBackoffMaxMs = 1'000;
constexpr int kKeepaliveTimeMs = 20'000;
constexpr int kKeepaliveTimeoutMs = 10'000;
constexpr int kOwnKeepaliveTimeMs = 2'000;
constexpr int kOwnKeepaliveTimeoutMs = 2'000;

grpc::ChannelArguments ChannelArguments(bool connection_per_stream) {
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kBackoffMinMs);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kBackoffMaxMs);
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeoutMs);
  args.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, kBackoffMaxMs);
  args.SetInt(GRPC_ARG_DNS_ARES_QUERY_TIMEOUT_MS, kResolveTimeoutMs);
  args.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  args.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, -1);
  args.SetInt(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, -1);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, connection_per_stream ? kOwnKeepaliveTimeMs : kKeepaliveTimeMs);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, connection_per_stream ? kOwnKeepaliveTimeoutMs : kKeepaliveTimeoutMs);
  if (connection_per_stream) args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  return args;
}

// Literal addresses need no name service.
std::string TargetOf(const std::string& address) {
  if (address.starts_with('[')) return "ipv6:" + address;
  if (address.find_first_not_of("0123456789.:") == std::string::npos) return "ipv4:" + address;
  return "dns:///" + address;
}

CallEnd EndOf(const grpc::Status& status, const grpc::ClientContext& context, bool was_sent) {
  CallEnd end;
  end.status = absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                            absl::string_view(status.error_message().data(), status.error_message().size()));
  if (status.ok()) return end;
  const auto& trailers = context.GetServerTrailingMetadata();
  if (auto it = trailers.find("millrace-error-bin"); it != trailers.end()) {
    auto error = ParseError(absl::Cord(absl::string_view(it->second.data(), it->second.length())));
    if (error.ok()) end.error = *std::move(error);
  }
  end.never_sent = !was_sent && status.error_code() == grpc::StatusCode::UNAVAILABLE;
  return end;
}

// One call: a stream, or a unary one seen as a stream of one message each way. Deletes itself when its owner has let go
// of it and gRPC owes it no event.
class GrpcCall {
 public:
  GrpcCall(grpc::GenericStub& stub, grpc::CompletionQueue* queue, const std::string& method, StreamHandler* handler,
           std::optional<std::chrono::nanoseconds> timeout)
      : handler_(handler) {
    if (timeout) context_.set_deadline(std::chrono::system_clock::now() + *timeout);
    call_ = stub.PrepareCall(&context_, method, queue);
    Begin();
    call_->StartCall(&start_event_);
  }

  void Read() {
    MILLRACE_CHECK(!reading_);
    reading_ = true;
    if (started_) BeginRead();
  }

  void Write(absl::Cord message, bool last) {
    MILLRACE_CHECK(!writing_);
    writing_ = true;
    last_ = last;
    outgoing_ = ByteBufferFromCord(std::move(message));
    if (started_) BeginWrite();
  }

  void WritesDone() {
    if (!started_ || writing_ || finishing_) {
      half_close_wanted_ = true;
      return;
    }
    Begin();
    call_->WritesDone(&writes_done_event_);
  }

  // The owner hears nothing more.
  void Release() {
    handler_ = nullptr;
    if (!closed_) context_.TryCancel();
    DeleteIfDone();
  }

 private:
  struct Event : CompletionEvent {
    Event(GrpcCall* call, void (GrpcCall::*done)(bool)) : call(call), done(done) {}
    void Complete(bool ok) override {
      GrpcCall* const self = call;
      --self->pending_;
      self->in_callback_ = true;
      if (self->handler_ != nullptr) (self->*done)(ok);  // a released call begins nothing: its queue may be shut down
      self->in_callback_ = false;
      self->DeleteIfDone();
    }
    GrpcCall* const call;
    void (GrpcCall::*const done)(bool);
  };

  void Begin() { ++pending_; }

  void BeginRead() {
    Begin();
    call_->Read(&incoming_, &read_event_);
  }

  void BeginWrite() {
    Begin();
    if (last_) {
      call_->WriteLast(outgoing_, grpc::WriteOptions(), &write_event_);
    } else {
      call_->Write(outgoing_, &write_event_);
    }
  }

  // gRPC has the last word on why the call ended.
  void BeginFinish() {
    if (finishing_) return;
    finishing_ = true;
    Begin();
    call_->Finish(&status_, &finish_event_);
  }

  void OnStarted(bool ok) {
    if (!ok) return BeginFinish();
    started_ = true;
    if (writing_) BeginWrite();
    if (reading_) BeginRead();
    if (half_close_wanted_ && !writing_) WritesDone();
  }

  void OnRead(bool ok) {
    if (!ok) return BeginFinish();
    if (closed_) return;
    reading_ = false;
    absl::Cord message = CordFromByteBuffer(incoming_);
    incoming_.Clear();
    if (handler_ != nullptr) handler_->OnMessage(std::move(message));
  }

  void OnWritten(bool ok) {
    outgoing_.Clear();
    if (!ok) return BeginFinish();
    writing_ = false;
    if (half_close_wanted_ && !last_) WritesDone();
    if (handler_ != nullptr) handler_->OnWritten();
  }

  void OnWritesDone(bool) {}

  void OnFinished(bool) {
    closed_ = true;
    if (handler_ != nullptr) handler_->OnClosed(EndOf(status_, context_, started_));
  }

  void DeleteIfDone() {
    if (pending_ == 0 && handler_ == nullptr && !in_callback_) delete this;
  }

  StreamHandler* handler_;  // nullptr: released
  grpc::ClientContext context_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
  grpc::ByteBuffer incoming_;
  grpc::ByteBuffer outgoing_;
  grpc::Status status_;
  int pending_ = 0;  // events that gRPC owes
  bool in_callback_ = false;
  bool started_ = false;
  bool reading_ = false;
  bool writing_ = false;
  bool last_ = false;
  bool half_close_wanted_ = false;
  bool finishing_ = false;
  bool closed_ = false;
  Event start_event_{this, &GrpcCall::OnStarted};
  Event read_event_{this, &GrpcCall::OnRead};
  Event write_event_{this, &GrpcCall::OnWritten};
  Event writes_done_event_{this, &GrpcCall::OnWritesDone};
  Event finish_event_{this, &GrpcCall::OnFinished};
};

class GrpcStream : public Stream {
 public:
  explicit GrpcStream(GrpcCall* call) : call_(call) {}
  ~GrpcStream() override { call_->Release(); }
  void Read() override { call_->Read(); }
  void Write(absl::Cord message) override { call_->Write(std::move(message), /*last=*/false); }
  void Finish(CallEnd) override { call_->WritesDone(); }

 private:
  GrpcCall* const call_;
};

}  // namespace

void UseSystemResolver() { setenv("GRPC_DNS_RESOLVER", "native", /*overwrite=*/0); }

struct GrpcTransport::Impl {
  // A unary call under way.
  class Unary : public StreamHandler {
   public:
    Unary(Impl* impl, std::function<void(CallReply)> done) : impl_(impl), done_(std::move(done)) {}
    ~Unary() override {
      if (call_ != nullptr) call_->Release();
    }
    void Start(GrpcCall* call, absl::Cord request) {
      call_ = call;
      call_->Write(std::move(request), /*last=*/true);
      call_->Read();
    }
    void OnMessage(absl::Cord message) override {
      reply_.message = std::move(message);
      call_->Read();  // finds the end
    }
    void OnWritten() override {}
    void OnClosed(CallEnd end) override {
      reply_.end = std::move(end);
      const auto self = impl_->unary_calls.extract(this);
      done_(std::move(reply_));
    }

   private:
    Impl* const impl_;
    std::function<void(CallReply)> done_;
    GrpcCall* call_ = nullptr;
    CallReply reply_;
  };
  std::shared_ptr<grpc::Channel> NewChannel(const std::string& address) {
    return grpc::CreateCustomChannel(TargetOf(address), credentials, ChannelArguments(connection_per_stream));
  }
  grpc::GenericStub& StubFor(const std::string& address) {
    std::unique_ptr<grpc::GenericStub>& stub = stubs[address];
    if (!stub) stub = std::make_unique<grpc::GenericStub>(NewChannel(address));
    return *stub;
  }

  CompletionLoop* loop = nullptr;
  std::shared_ptr<grpc::ChannelCredentials> credentials;
  bool connection_per_stream = false;
  std::map<std::string, std::unique_ptr<grpc::GenericStub>> stubs;  // one for each channel that is shared
  std::unordered_map<Unary*, std::unique_ptr<Unary>> unary_calls;
};

GrpcTransport::GrpcTransport(CompletionLoop& loop, const Options& options) : impl_(std::make_unique<Impl>()) {
  impl_->loop = &loop;
  impl_->credentials = options.tls ? grpc::SslCredentials({.pem_root_certs = options.tls->roots,
                                                           .pem_private_key = options.tls->private_key,
                                                           .pem_cert_chain = options.tls->certificate})
                                   : grpc::InsecureChannelCredentials();
  impl_->connection_per_stream = options.connection_per_stream;
}

GrpcTransport::~GrpcTransport() = default;

std::unique_ptr<Stream> GrpcTransport::OpenStream(const std::string& address, const std::string& method,
                                                  StreamHandler* handler) {
  const auto open = [&](grpc::GenericStub& stub) {
    return std::make_unique<GrpcStream>(new GrpcCall(stub, impl_->loop->queue(), method, handler, std::nullopt));
  };
  if (!impl_->connection_per_stream) return open(impl_->StubFor(address));
  grpc::GenericStub stub(impl_->NewChannel(address));  // the call keeps its channel
  return open(stub);
}

void GrpcTransport::Call(const std::string& address, const std::string& method, absl::Cord request,
                         std::chrono::nanoseconds timeout, std::function<void(CallReply)> done) {
  auto call = std::make_unique<Impl::Unary>(impl_.get(), std::move(done));
  Impl::Unary* unary = call.get();
  impl_->unary_calls[unary] = std::move(call);
  unary->Start(new GrpcCall(impl_->StubFor(address), impl_->loop->queue(), method, unary, timeout), std::move(request));
}

void GrpcTransport::Forget(const std::string& address) { impl_->stubs.erase(address); }

}  // namespace millrace
