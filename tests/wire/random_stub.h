// Random messages of generated code.
#pragma once

#include "google/protobuf/message.h"
#include "tests/wire/random_input.h"

namespace millrace {

enum class UnknownFields { kNone, kSome };

// Sets about two thirds of the fields, in submessages too; of a oneof at most one. Enums get numbers that no release knows.
void FillRandomly(RandomInput& random, UnknownFields unknown, google::protobuf::Message* message);

}  // namespace millrace
