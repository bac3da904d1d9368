// The whole C++ client library of Millrace. Link millrace::client; begin reading at producer.h and consumer.h.
#pragma once

#include "millrace/admin.h"
#include "millrace/consumer.h"
#include "millrace/error.h"
#include "millrace/options.h"
#include "millrace/producer.h"
#include "millrace/record.h"
#include "millrace/runtime.h"
#include "millrace/version.h"
