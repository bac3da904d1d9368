// What producers, consumers and admins stand on: time, a thread, randomness and the network. Tests give fakes of all
// four and run everything in one thread.
#pragma once

#include "proto/wire/runtime.h"
#include "proto/wire/transport.h"

namespace millrace::client {

// References outlive everything that is given them.
struct ClientEnvironment {
  Clock& clock;
  Executor& executor;
  Random& random;
  ClientTransport& transport;
};

}  // namespace millrace::client
