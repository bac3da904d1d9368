// A network that doubles messages and delivers some late, some out of order.
//
//     BadMail mail(random);
//     cluster.Turn(…);
//     mail.Disturb(cluster.under_way());
//     cluster.Deliver();
#pragma once

#include <map>
#include <string>
#include <vector>

#include "raft/messages.h"
#include "raft/random.h"

namespace millrace {

class BadMail {
 public:
  // How often a message is "doubled" and "delayed" goes into `counts`.
  BadMail(raft::Random& random, std::map<std::string, int>& counts) : random_(random), counts_(counts) {}

  // Of `messages` some are kept back, some of those kept back before come along.
  void Disturb(std::vector<raft::Message>& messages);

 private:
  bool OneIn(int n) { return random_.UpTo(n) == 0; }

  raft::Random& random_;
  std::map<std::string, int>& counts_;
  std::vector<raft::Message> late_;
};

}  // namespace millrace
