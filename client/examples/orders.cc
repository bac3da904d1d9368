// One order, read by a payment service and by an email service, each on its own: `orders [HOST:PORT]`.
//
// Reading takes nothing away: each service keeps its own position and goes at its own pace. Here the email service is down
// while orders come in, and catches up from where it was; payment never notices.
#include <millrace/millrace.h>

#include <iostream>
#include <string>

namespace {

// A service that reads "orders" from where it stopped last time.
class Service {
 public:
  Service(const millrace::ClientOptions& client, std::string does) : client_(client), does_(std::move(does)) {}

  // Handles every order that is there now.
  absl::Status Run() {
    auto consumer = millrace::Consumer::Create({.client = client_});
    if (!consumer.ok()) return consumer.status();
    const auto from = millrace::Position::Offset(next_offset_);
    absl::Status assigned =
        (*consumer)->Assign({{.topic = "orders", .partition = 0, .from = from, .until = millrace::Position::End()}});
    if (!assigned.ok()) return assigned;
    for (const millrace::ConsumerRecord& order : **consumer) {
      std::cout << does_ << " " << *order.value << " of " << *order.key << "\n";
      next_offset_ = order.offset + 1;  // a real service stores this together with what it did
    }
    return (*consumer)->status();
  }

  void StartAt(int64_t offset) { next_offset_ = offset; }

 private:
  const millrace::ClientOptions client_;
  const std::string does_;
  int64_t next_offset_ = 0;
};

absl::Status Main(const millrace::ClientOptions& client) {
  auto admin = millrace::Admin::Create(client);
  if (!admin.ok()) return admin.status();
  auto topic = (*admin)->CreateTopic({.name = "orders", .partitions = 1, .if_not_exists = true});
  if (!topic.ok()) return topic.status();
  auto producer = millrace::Producer::Create({.client = client});
  if (!producer.ok()) return producer.status();

  Service payment(client, "charged");
  Service email(client, "confirmed");

  auto first = (*producer)->SendAndWait({.topic = "orders", .key = "alice", .value = "2 tickets"});
  if (!first.ok()) return first.status();
  payment.StartAt(first->offset);
  email.StartAt(first->offset);
  for (Service* service : {&payment, &email}) {
    if (absl::Status status = service->Run(); !status.ok()) return status;
  }

  std::cout << "-- email is down --\n";
  for (const char* customer : {"bob", "carol"}) {
    if (absl::Status status = (*producer)->Send("orders", customer, "1 ticket"); !status.ok()) return status;
  }
  if (absl::Status status = (*producer)->Flush(); !status.ok()) return status;
  if (absl::Status status = payment.Run(); !status.ok()) return status;

  std::cout << "-- email is back --\n";
  return email.Run();
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status status = Main({.bootstrap_servers = argc > 1 ? argv[1] : "127.0.0.1:9470"});
  if (!status.ok()) std::cerr << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
