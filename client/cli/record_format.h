// What `consume --format` writes for a record:
//
//     %t topic     %p partition     %o offset       %e leader epoch    %T timestamp, ms since 1970
//     %k key       %v value         %h headers, NAME=VALUE,NAME=VALUE
//     %K, %V       length of key and value in bytes, -1 when null
//     %%           a percent sign   \n \t \r \0 \\ \xNN   bytes
//
// A null key or value writes nothing, a null header value NULL, as kcat does.
//
//     absl::StatusOr<RecordFormat> format = RecordFormat::Compile("%o %k %v\\n");
//     format->Append(out, record);
#pragma once

#include <millrace/record.h>

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace millrace::cli {

// Resolves the escapes above; also for `--key-separator`. kInvalidArgument for an unknown one.
absl::StatusOr<std::string> ResolveEscapes(std::string_view text);

class RecordFormat {
 public:
  static absl::StatusOr<RecordFormat> Compile(std::string_view format);

  void Append(std::string& out, const ConsumerRecord& record) const;

 private:
  enum class Field : char {
    kLiteral = 0,
    kTopic = 't',
    kPartition = 'p',
    kOffset = 'o',
    kLeaderEpoch = 'e',
    kTimestamp = 'T',
    kKey = 'k',
    kValue = 'v',
    kHeaders = 'h',
    kKeyLength = 'K',
    kValueLength = 'V',
  };
  struct Segment {
    Field field = Field::kLiteral;
    std::string literal;
  };

  void AddLiteral(char c);

  std::vector<Segment> segments_;
};

// Appends a record as one line of JSON, as record_json.h describes.
void AppendJsonRecord(std::string& out, const ConsumerRecord& record);

// Appends a value as `--length-prefixed` has it: 4 bytes length (signed, big-endian), then the bytes; -1 for null.
void AppendLengthPrefixed(std::string& out, const ConsumerRecord& record);

}  // namespace millrace::cli
