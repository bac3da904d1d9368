// The thread that does the network I/O of producers, consumers and admins.
//
// By default everything in a process shares one such thread, which starts with the first user and ends with the last.
// Give something a Runtime of its own to keep it apart:
//
//     millrace::ConsumerOptions options;
//     options.client.runtime = millrace::Runtime::Create();
//
// Thread safety: all of it. Ownership: shared by those who use it; the thread ends with the last of them.
#pragma once

#include <memory>

namespace millrace {

class Runtime {
 public:
  // With a thread of its own.
  static std::shared_ptr<Runtime> Create();

  // The process's shared one.
  static std::shared_ptr<Runtime> Shared();

  virtual ~Runtime() = default;

 protected:
  Runtime() = default;
};

}  // namespace millrace
