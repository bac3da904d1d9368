// A queue of tasks, one of which nobody can do: `tasks [HOST:PORT]`.
//
// A task that fails is tried again after a pause, while those of other partitions go on; after three attempts it is set aside in
// "tasks-dead", with what went wrong in its headers, and the worker goes on with the next.
#include <millrace/millrace.h>

#include <iostream>
#include <string>

namespace {

absl::Status Do(const millrace::ConsumerRecord& task) {
  if (*task.value == "divide by zero") return absl::InvalidArgumentError("cannot divide by zero");
  std::cout << "done: " << *task.value << "\n";
  return absl::OkStatus();
}

absl::Status Main(const millrace::ClientOptions& client) {
  auto admin = millrace::Admin::Create(client);
  if (!admin.ok()) return admin.status();
  for (const char* topic : {"tasks", "tasks-dead"}) {
    auto created = (*admin)->CreateTopic({.name = topic, .partitions = 1, .if_not_exists = true});
    if (!created.ok()) return created.status();
  }
  auto producer = millrace::Producer::Create({.client = client});
  if (!producer.ok()) return producer.status();
  for (const char* task : {"resize a.jpg", "divide by zero", "resize b.jpg"}) {
    if (absl::Status status = (*producer)->Send("tasks", "", task); !status.ok()) return status;
  }
  if (absl::Status status = (*producer)->Flush(); !status.ok()) return status;

  auto worker = millrace::Consumer::Create({.client = client, .group_id = "workers"});
  if (!worker.ok()) return worker.status();
  if (absl::Status status = (*worker)->Subscribe({.topics = {"tasks"}}); !status.ok()) return status;
  int left = 2;
  absl::Status ran = (*worker)->Run(
      [&](const millrace::ConsumerRecord& task) {
        absl::Status done = Do(task);
        if (done.ok() && --left == 0) (*worker)->Wakeup();  // a real worker goes on for ever
        return done;
      },
      {.attempts = 3, .backoff = std::chrono::milliseconds(10), .dead_letter_topic = "tasks-dead"});
  if (!ran.ok()) return ran;

  auto dead = millrace::Consumer::Create({.client = client});
  if (!dead.ok()) return dead.status();
  absl::Status assigned = (*dead)->Assign({{.topic = "tasks-dead", .until = millrace::Position::End()}});
  if (!assigned.ok()) return assigned;
  for (const millrace::ConsumerRecord& task : **dead) {
    std::cout << "set aside: " << *task.value;
    for (const millrace::Header& header : task.headers) {
      if (header.key == "millrace.error" || header.key == "millrace.attempts") std::cout << ", " << *header.value;
    }
    std::cout << "\n";
  }
  return (*dead)->status();
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status status = Main({.bootstrap_servers = argc > 1 ? argv[1] : "127.0.0.1:9470"});
  if (!status.ok()) std::cerr << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
