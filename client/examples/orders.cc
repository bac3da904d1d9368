// Orders, read by a payment service and by an email service, each a group of its own: `orders [HOST:PORT]`.
//
// Reading takes nothing away: each group has its own position, which survives its members, and goes at its own pace. Here the email
// service is down while orders come in, and catches up from where it was; payment never notices. Start more processes of a
// service, and they share the partitions.
#include <millrace/millrace.h>

#include <iostream>
#include <string>

namespace {

// One process of a service: handles so many orders, and ends.
absl::Status Serve(const millrace::ClientOptions& client, const std::string& group, const std::string& does,
                   int orders) {
  auto consumer = millrace::Consumer::Create({.client = client, .group_id = group});
  if (!consumer.ok()) return consumer.status();
  absl::Status joined = (*consumer)->Subscribe({.topics = {"orders"}});
  if (!joined.ok()) return joined;
  for (const millrace::ConsumerRecord& order : **consumer) {
    std::cout << does << " " << order.value.value_or("") << " of " << order.key.value_or("nobody") << "\n";
    if (--orders == 0)
      return (*consumer)->Commit();  // what was handled; without this every five seconds, and by Close()
  }
  return (*consumer)->status();
}

absl::Status Main(const millrace::ClientOptions& client) {
  auto admin = millrace::Admin::Create(client);
  if (!admin.ok()) return admin.status();
  auto topic = (*admin)->CreateTopic({.name = "orders", .partitions = 1, .if_not_exists = true});
  if (!topic.ok()) return topic.status();
  auto producer = millrace::Producer::Create({.client = client});
  if (!producer.ok()) return producer.status();

  auto first = (*producer)->SendAndWait({.topic = "orders", .key = "alice", .value = "2 tickets"});
  if (!first.ok()) return first.status();
  if (absl::Status status = Serve(client, "payment", "charged", 1); !status.ok()) return status;
  if (absl::Status status = Serve(client, "email", "confirmed", 1); !status.ok()) return status;

  std::cout << "-- email is down --\n";
  for (const char* customer : {"bob", "carol"}) {
    if (absl::Status status = (*producer)->Send("orders", customer, "1 ticket"); !status.ok()) return status;
  }
  if (absl::Status status = (*producer)->Flush(); !status.ok()) return status;
  if (absl::Status status = Serve(client, "payment", "charged", 2); !status.ok()) return status;

  std::cout << "-- email is back --\n";
  return Serve(client, "email", "confirmed", 2);
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status status = Main({.bootstrap_servers = argc > 1 ? argv[1] : "127.0.0.1:9470"});
  if (!status.ok()) std::cerr << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
