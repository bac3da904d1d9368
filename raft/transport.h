// The way to the other replicas, as one group's driver uses it.
//
//     transport.Send(group, std::move(message));      // to message.to, some time or never
//
// Threads: called by the thread that drives the group, only within calls of its GroupDriver. Order: messages of one group to one
// replica should mostly keep theirs (the core takes any, but asks again for what seems lost). Ownership: the message is the
// transport's; payloads are shared, not copied. Failure: there is none to tell; what is lost the core sends again, what is known
// to be lost (a connection broke) is told with Core::OnUnreachable. Send never calls back into the driver.
#pragma once

#include "raft/messages.h"
#include "raft/types.h"

namespace millrace::raft {

class Transport {
 public:
  virtual ~Transport() = default;

  virtual void Send(GroupId group, Message message) = 0;
};

}  // namespace millrace::raft
