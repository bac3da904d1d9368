// The flags that say which cluster a broker belongs to: --broker-id, --cluster, --join, --peer-secret-file. A part of config.h.
#pragma once

#include "absl/status/status.h"
#include "server/config.h"
#include "server/config_sources.h"

namespace millrace::server {

// Fills in broker_id, cluster, join and the secret; `config` has the addresses already. kInvalidArgument names the flag.
absl::Status ReadClusterFlags(const Sources& sources, const Host& host, Config& config);

}  // namespace millrace::server
