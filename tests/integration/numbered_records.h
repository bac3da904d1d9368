// A topic whose partitions hold the records 0, 1, 2 … each, and what is there of them for whoever asks.
//
//     NumberedRecords records(4);                                    // partitions
//     ASSERT_NO_FATAL_FAILURE(records.Create(cluster.addresses()));
//     ASSERT_NO_FATAL_FAILURE(records.Connect(cluster.addresses())); // a producer, from now on
//     records.Send(20);                                              // to each partition
//     ASSERT_NO_FATAL_FAILURE(records.Flush());                      // all were acked
//     records.ExpectAll(cluster.at(2).address());                    // as a client finds them that knows this address alone
#pragma once

#include <millrace/producer.h>

#include <cstdint>
#include <memory>
#include <string>

namespace millrace {

class NumberedRecords {
 public:
  static constexpr char kTopic[] = "t";

  explicit NumberedRecords(int32_t partitions) : partitions_(partitions) {}

  void Create(const std::string& addresses) const;
  void Connect(const std::string& addresses);
  void Send(int records);
  void Flush();
  // Each of them once and in order.
  void ExpectAll(const std::string& addresses) const;

 private:
  const int32_t partitions_;
  std::unique_ptr<Producer> producer_;
  int sent_ = 0;  // to each partition
};

}  // namespace millrace
