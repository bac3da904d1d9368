#include "server/broker_info.h"

#include "millrace/internal/v1/metadata.pb.h"

namespace millrace::server {

BrokerInfo FromRecord(const internal::v1::BrokerRecord& record) {
  return {.id = {raft::BrokerId(record.broker_id()), record.incarnation()},
          .address = record.address(),
          .rack = record.rack(),
          .feature_levels = {record.feature_level_min(), record.feature_level_max()},
          .build = record.build(),
          .session = record.session(),
          .starts = record.starts()};
}

void FillRecord(internal::v1::BrokerRecord& record, const BrokerInfo& broker) {
  record.set_broker_id(static_cast<int32_t>(broker.id.broker.value()));
  record.set_incarnation(broker.id.incarnation);
  record.set_address(broker.address);
  record.set_rack(broker.rack);
  record.set_feature_level_min(broker.feature_levels.min);
  record.set_feature_level_max(broker.feature_levels.max);
  record.set_build(broker.build);
  record.set_session(broker.session);
  record.set_starts(broker.starts);
}

}  // namespace millrace::server
