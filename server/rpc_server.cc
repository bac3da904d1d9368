#include "server/rpc_server.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server_builder.h>
#include <pthread.h>

#include <utility>

#include "proto/transport/cord_buffer.h"
#include "server/errors.h"
#include "server/listen_error.h"
#include "server/log.h"
#include "server/process_limits.h"

namespace millrace::server {
namespace {

// What gRPC and protobuf have to say goes into the broker's log: much of it is about clients that speak nonsense, as often as
// they like.
constexpr std::chrono::seconds kInterval(1);

// What a client may send in one HTTP/2 frame: a producer's requests are a megabyte each, and every frame costs both sides.
constexpr int kFrameBytesMax = 256 << 10;

void LogOfGrpc(gpr_log_func_args* line) {
  if (line->severity == GPR_LOG_SEVERITY_ERROR) {
    MILLRACE_LOG_EVERY(kInterval, kWarning, line->message, {"from", "grpc"});
  } else {
    MILLRACE_LOG_EVERY(kInterval, kDebug, line->message, {"from", "grpc"});
  }
}

void LogOfProtobuf(google::protobuf::LogLevel, const char*, int, const std::string& line) {
  MILLRACE_LOG_EVERY(kInterval, kWarning, line, {"from", "protobuf"});
}

}  // namespace

// One accepted (or awaited) call. Deletes itself when gRPC has returned every tag and the Call heard OnClosed.
class GrpcCall : public Stream {
 public:
  // Waits for a call on `loop`; once one came, waits for the next with a new object.
  static void Await(RpcServer& server, CompletionLoop& loop) {
    auto* call = new GrpcCall(server, loop);
    ++call->pending_;
    call->context_.AsyncNotifyWhenDone(static_cast<CompletionEvent*>(&call->on_done_));
    auto* queue = static_cast<grpc::ServerCompletionQueue*>(loop.queue());
    server.service_.RequestCall(&call->context_, &call->stream_, queue, queue,
                                static_cast<CompletionEvent*>(&call->on_accept_));
  }

  void Read() override {
    if (reading_ || ended_ || loop_.draining()) return;
    reading_ = true;
    ++pending_;
    stream_.Read(&incoming_, static_cast<CompletionEvent*>(&on_read_));
  }

  void Write(absl::Cord message) override {
    if (ended_ || finishing_ || loop_.draining()) return;
    writing_ = true;
    ++pending_;
    stream_.Write(ByteBufferFromCord(std::move(message)), static_cast<CompletionEvent*>(&on_write_));
  }

  void Finish(CallEnd end) override {
    if (finishing_ || ended_) return;
    finishing_ = true;
    end_ = std::move(end);
    if (!writing_) SendStatus();
  }

  void Abort(CallEnd end) override {
    if (finishing_ || ended_) return;
    finishing_ = true;
    end_ = std::move(end);
    context_.TryCancel();
  }

 private:
  template <void (GrpcCall::*method)(bool)>
  struct Event final : CompletionEvent {
    explicit Event(GrpcCall* c) : call(c) {}
    void Complete(bool ok) override { (call->*method)(ok); }
    GrpcCall* call;
  };

  GrpcCall(RpcServer& server, CompletionLoop& loop) : server_(server), loop_(loop), stream_(&context_) {}

  void OnAccept(bool ok) {
    --pending_;
    if (!ok) {  // the server shuts down; no further tag comes
      delete this;
      return;
    }
    ++pending_;  // for on_done_
    server_.calls_.fetch_add(1, std::memory_order_relaxed);
    if (!server_.stopping_.load()) Await(server_, loop_);
    call_ = server_.services_.load()->NewCall(context_.method(), loop_);
    if (call_ == nullptr) {
      Finish(
          {absl::UnimplementedError(absl::StrCat("no method ", context_.method(), "; this broker serves millrace.v1")),
           {}});
      return;
    }
    call_->Start(*this);
  }

  void OnRead(bool ok) {
    --pending_;
    reading_ = false;
    if (ended_) return MaybeClose();
    if (ok) {
      absl::Cord message = CordFromByteBuffer(incoming_);
      incoming_.Clear();
      if (call_ != nullptr && !finishing_) call_->OnMessage(std::move(message));
    } else if (call_ != nullptr && !finishing_ && !context_.IsCancelled()) {
      call_->OnReadsDone();
    }
    MaybeClose();
  }

  void OnWrite(bool ok) {
    --pending_;
    writing_ = false;
    if (ended_) return MaybeClose();
    if (finishing_) {
      SendStatus();
    } else if (ok && call_ != nullptr) {
      call_->OnWritten();
    }
    MaybeClose();
  }

  void OnFinish(bool) {
    --pending_;
    MaybeClose();
  }

  // The call is over: finished, cancelled, or its connection is gone.
  void OnDone(bool) {
    --pending_;
    ended_ = true;
    MaybeClose();
  }

  void SendStatus() {
    if (ended_ || loop_.draining()) return;
    ++pending_;
    if (end_.error.code != 0) context_.AddTrailingMetadata("millrace-error-bin", SerializeError(end_.error));
    stream_.Finish(grpc::Status(static_cast<grpc::StatusCode>(end_.status.code()), ToStdString(end_.status.message())),
                   static_cast<CompletionEvent*>(&on_finish_));
  }

  void MaybeClose() {
    if (!ended_ || pending_ > 0) return;
    if (call_ != nullptr) {
      if (!finishing_) end_.status = absl::CancelledError("the client went away");
      call_->OnClosed(std::move(end_));
    }
    server_.calls_.fetch_sub(1, std::memory_order_relaxed);
    delete this;
  }

  RpcServer& server_;
  CompletionLoop& loop_;
  grpc::GenericServerContext context_;
  grpc::GenericServerAsyncReaderWriter stream_;
  std::unique_ptr<Call> call_;
  grpc::ByteBuffer incoming_;
  CallEnd end_;
  int pending_ = 0;  // tags that gRPC has not returned
  bool reading_ = false;
  bool writing_ = false;
  bool finishing_ = false;
  bool ended_ = false;

  Event<&GrpcCall::OnAccept> on_accept_{this};
  Event<&GrpcCall::OnRead> on_read_{this};
  Event<&GrpcCall::OnWrite> on_write_{this};
  Event<&GrpcCall::OnFinish> on_finish_{this};
  Event<&GrpcCall::OnDone> on_done_{this};
};

RpcServer::RpcServer(Options options) : options_(std::move(options)) {
  gpr_set_log_function(LogOfGrpc);
  google::protobuf::SetLogHandler(LogOfProtobuf);
}

RpcServer::~RpcServer() = default;

absl::Status RpcServer::Bind() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(options_.listen.ToString(), grpc::InsecureServerCredentials(), &port_);
  builder.RegisterAsyncGenericService(&service_);
  builder.SetMaxReceiveMessageSize(static_cast<int>(options_.message_bytes_max));
  builder.SetMaxSendMessageSize(-1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kFrameBytesMax);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a port in use is an error, not a silent second listener
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  grpc::ResourceQuota quota;
  quota.Resize(static_cast<size_t>(options_.memory_bytes_max));
  builder.SetResourceQuota(quota);
  std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues;
  for (int i = 0; i < options_.loops; ++i) queues.push_back(builder.AddCompletionQueue());
  server_ = builder.BuildAndStart();
  for (auto& queue : queues) loops_.push_back(std::make_unique<CompletionLoop>(std::move(queue)));
  if (server_ == nullptr || port_ == 0) {
    server_.reset();
    return ListenError(options_.listen);
  }
  for (auto& loop : loops_) {
    // All clients wait for the loop. On busy cores it otherwise waits for them, and then the cores for it.
    threads_.emplace_back([&loop = *loop] {
      PreferThisThread();
      loop.Run();
    });
    pthread_setname_np(threads_.back().native_handle(), "loop");
  }
  return absl::OkStatus();
}

void RpcServer::Serve(const ServiceRegistry& services) {
  if (services_.exchange(&services) != nullptr) return;
  for (auto& loop : loops_) {
    loop->Post([this, &loop = *loop] {
      if (!stopping_.load()) GrpcCall::Await(*this, loop);  // the queue may be shut down already
    });
  }
}

void RpcServer::EndCalls(std::chrono::milliseconds grace) {
  if (server_ == nullptr || stopping_.exchange(true)) return;
  server_->Shutdown(std::chrono::system_clock::now() + grace);
}

void RpcServer::StopLoops() {
  if (server_ == nullptr) return;
  for (auto& loop : loops_) loop->Stop();
  for (auto& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace millrace::server
