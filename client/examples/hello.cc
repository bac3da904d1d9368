// Sends a record and reads it back: `hello [HOST:PORT]`, against a running broker (`millraced`).
//
// .value() throws when a call failed; programs that go without exceptions look at .ok() and .status() instead.
#include <millrace/millrace.h>

#include <iostream>

int main(int argc, char** argv) {
  const millrace::ClientOptions client{.bootstrap_servers = argc > 1 ? argv[1] : "127.0.0.1:9470"};
  millrace::Admin::Create(client).value()->CreateTopic({.name = "greetings", .if_not_exists = true}).value();

  auto producer = millrace::Producer::Create({.client = client}).value();
  auto stored = producer->SendAndWait({.topic = "greetings", .key = "world", .value = "hello"}).value();
  std::cout << "stored at offset " << stored.offset << "\n";

  auto consumer = millrace::Consumer::Create({.client = client}).value();
  const absl::Status assigned = consumer->Assign({{.topic = "greetings", .until = millrace::Position::End()}});
  for (const auto& record : *consumer) {
    std::cout << record.offset << ": " << *record.value << ", " << *record.key << "\n";
  }
  return assigned.ok() && consumer->status().ok() ? 0 : 1;
}
