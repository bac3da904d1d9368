// One Join stream: a member's heartbeats and commits, and the news of its assignment.
//
// Where this broker is the coordinator, that tells it of news. Otherwise each request is handed on to the coordinator as a call of its
// own, and the coordinator is asked, over and over, whether there are news (WatchMember). What the stream is answered is the same.
// A stream that has kUnansweredMax requests without an answer, or kUnansweredBytesMax, is not read further.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "millrace/v1/group.pb.h"
#include "server/broker.h"
#include "server/call.h"
#include "server/group_route.h"

namespace millrace::server {

// Of the errors of each offset; none: all were stored.
v1::CommitOffsetsResponse CommitResponseOf(const std::vector<ErrorFrame>& errors);

class GroupCall : public Call {
 public:
  static constexpr size_t kUnansweredMax = 1'000;
  static constexpr size_t kUnansweredBytesMax = 4 << 20;

  GroupCall(Broker& broker, Executor& executor);
  ~GroupCall() override;

  void Start(Stream& stream) override;
  void OnMessage(absl::Cord message) override;
  void OnReadsDone() override;
  void OnWritten() override;
  void OnClosed(CallEnd end) override;

 private:
  using Answer = std::function<void(v1::MemberResponse)>;
  // The member whose stream this is. While its coordinator is elsewhere, that is asked for news of it.
  struct Watched {
    std::string group;
    std::string member;
    int32_t known_epoch = 0;
    bool watching = false;
  };

  Answer Answering(uint64_t request, size_t bytes);
  void Attend(const v1::HeartbeatRequest& request);
  void OnHeartbeat(const v1::HeartbeatRequest& request, Answer answer);
  void OnCommit(const std::shared_ptr<const v1::CommitOffsetsRequest>& request, const Answer& answer);
  using Self = std::shared_ptr<GroupCall*>;
  template <typename Request, typename Response>
  static void HandOn(const Self& self, Executor& executor, const std::string& method, const Request& request,
                     const std::string& address, const LeaderHintFrame& leader,
                     std::function<void(const ErrorFrame&, Response)> done);
  void WatchThere(const std::string& address);
  void OnNews(const ErrorFrame& error, const v1::HeartbeatResponse& heartbeat);
  void Enqueue(v1::MemberResponse response);
  void Send();
  void ReadNext();

  Broker& broker_;
  Executor& executor_;
  Stream* stream_ = nullptr;
  size_t unanswered_ = 0;
  size_t unanswered_bytes_ = 0;
  bool reading_ = false;
  bool writing_ = false;
  bool reads_done_ = false;
  std::deque<v1::MemberResponse> responses_;
  Watched watched_;
  std::shared_ptr<GroupCall*> self_;  // on executor_
  std::shared_ptr<GroupCoordinator::News> news_;
};

}  // namespace millrace::server
