// Where the controller's decisions go, and what they rest on.
//
//     metadata.Propose(records, [&](const absl::Status& status) {
//       if (status.ok()) ...                      // metadata.image() has them
//     });
//
// Threads: the executor's that the metadata lives on; `done` is called there, maybe before Propose returns.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "server/metadata_image.h"

namespace millrace::internal::v1 {
class MetadataRecords;
}

namespace millrace::server {

class MetadataProposer {
 public:
  using Done = std::function<void(const absl::Status&)>;

  virtual ~MetadataProposer() = default;

  // All that is decided and applied here; never null.
  virtual const std::shared_ptr<const MetadataImage>& image() const = 0;
  // Records that take effect together. `done`: OK when they have, and are in image(). kUnknown: they may have taken effect or
  // still may (MayHaveHappened). Anything else: nothing has happened; kFailedPrecondition when this broker is not the controller,
  // kUnavailable and kResourceExhausted when the same may work later. Not called any more when the proposer is destroyed.
  virtual void Propose(const millrace::internal::v1::MetadataRecords& records, Done done) = 0;
};

// Of a proposal's status.
inline bool MayHaveHappened(const absl::Status& status) { return absl::IsUnknown(status); }

}  // namespace millrace::server
