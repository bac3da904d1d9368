// A program as a user of the installed SDK would write it: public headers only. Needs no broker.
#include <iostream>
#include <string>

#include <millrace/admin.h>
#include <millrace/consumer.h>
#include <millrace/producer.h>
#include <millrace/version.h>

int main() {
  if (millrace::LibraryVersion() != millrace::kHeaderVersion) {
    std::cerr << "headers " << millrace::kHeaderVersion << ", library " << millrace::LibraryVersion() << "\n";
    return 1;
  }
  // Port 1 on this machine: nobody listens there, and nothing leaves the machine.
  auto options =
      millrace::ClientOptions::FromMap({{"bootstrap.servers", "127.0.0.1:1"}, {"request.timeout.ms", "2000"}});
  if (!options.ok()) {
    std::cerr << options.status() << "\n";
    return 1;
  }
  auto producer = millrace::Producer::Create({.client = *options});
  auto consumer = millrace::Consumer::Create({.client = *options});
  auto admin = millrace::Admin::Create(*options);
  if (!producer.ok() || !consumer.ok() || !admin.ok()) {
    std::cerr << producer.status() << "\n" << consumer.status() << "\n" << admin.status() << "\n";
    return 1;
  }
  auto topics = (*admin)->ListTopics();
  std::cout << "without a broker: " << topics.status() << "\n";
  return topics.ok() ? 1 : 0;
}
