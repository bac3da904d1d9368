// Goal: no release changes what a field or an enum number means. Method: every number of every .proto (as protoc
// describes them) is listed in
// fields.golden; lines of that list stay for ever, new numbers are added to it.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"
#include "gtest/gtest.h"

namespace millrace {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

using Lines = std::set<std::string>;

std::string TypeOf(const FieldDescriptor& field) {
  if (field.is_map()) {
    return "map<" + TypeOf(*field.message_type()->map_key()) + "," + TypeOf(*field.message_type()->map_value()) + ">";
  }
  if (field.message_type() != nullptr) return field.message_type()->full_name();
  if (field.enum_type() != nullptr) return field.enum_type()->full_name();
  return field.type_name();
}

std::string LabelOf(const FieldDescriptor& field) {
  if (field.is_map()) return "";
  if (field.is_repeated()) return field.is_packed() ? "repeated packed " : "repeated ";
  if (field.real_containing_oneof() != nullptr) return "oneof " + field.real_containing_oneof()->name() + " ";
  return field.has_optional_keyword() ? "optional " : "";
}

void List(const EnumDescriptor& type, Lines* lines) {
  for (int i = 0; i < type.value_count(); ++i) {
    lines->insert(type.full_name() + " " + std::to_string(type.value(i)->number()) + " = " + type.value(i)->name());
  }
}

void List(const Descriptor& message, Lines* lines) {
  if (message.options().map_entry()) return;
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    lines->insert(message.full_name() + " " + std::to_string(field.number()) + " = " + LabelOf(field) + TypeOf(field) +
                  " " + field.name());
  }
  for (int i = 0; i < message.nested_type_count(); ++i) List(*message.nested_type(i), lines);
  for (int i = 0; i < message.enum_type_count(); ++i) List(*message.enum_type(i), lines);
}

void List(const ServiceDescriptor& service, Lines* lines) {
  for (int i = 0; i < service.method_count(); ++i) {
    const MethodDescriptor& method = *service.method(i);
    lines->insert(method.full_name() + "(" + (method.client_streaming() ? "stream " : "") +
                  method.input_type()->name() + ") returns (" + (method.server_streaming() ? "stream " : "") +
                  method.output_type()->name() + ")");
  }
}

Lines ListProtoFiles() {
  std::ifstream in(MILLRACE_DESCRIPTORS, std::ios::binary);
  google::protobuf::FileDescriptorSet files;  // imported ones first
  EXPECT_TRUE(files.ParseFromIstream(&in)) << MILLRACE_DESCRIPTORS;
  google::protobuf::DescriptorPool pool;
  Lines lines;
  for (const auto& proto : files.file()) {
    const FileDescriptor* file = pool.BuildFile(proto);
    if (file == nullptr) {
      ADD_FAILURE() << proto.name();
      continue;
    }
    for (int i = 0; i < file->message_type_count(); ++i) List(*file->message_type(i), &lines);
    for (int i = 0; i < file->enum_type_count(); ++i) List(*file->enum_type(i), &lines);
    for (int i = 0; i < file->service_count(); ++i) List(*file->service(i), &lines);
  }
  return lines;
}

Lines ReadGolden() {
  std::ifstream in(MILLRACE_FIELDS_GOLDEN);
  Lines lines;
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) lines.insert(line);
  }
  return lines;
}

Lines Missing(const Lines& wanted, const Lines& there) {
  Lines missing;
  std::ranges::set_difference(wanted, there, std::inserter(missing, missing.end()));
  return missing;
}

std::string Joined(const Lines& lines) {
  std::string text;
  for (const std::string& line : lines) text += "  " + line + "\n";
  return text;
}

TEST(Fields, NumbersKeepTheirMeaning) {
  const Lines now = ListProtoFiles(), golden = ReadGolden();
  ASSERT_FALSE(now.empty());
  const Lines gone = Missing(golden, now);
  EXPECT_TRUE(gone.empty())
      << "These were released and are gone from proto/, or mean something else there:\n"
      << Joined(gone)
      << "Older clients, brokers and stored data still use them. Put them back as they were; a field "
         "that is no longer used stays, with a comment. What is new gets a number never used before.";
  const Lines added = Missing(now, golden);
  if (gone.empty() && std::getenv("MILLRACE_ADD_FIELDS") != nullptr) {
    std::ofstream out(MILLRACE_FIELDS_GOLDEN);
    for (const std::string& line : now) out << line << "\n";
    ASSERT_TRUE(out.flush());
    return;
  }
  EXPECT_TRUE(added.empty())
      << "New in proto/ and not yet listed in tests/wire/fields.golden:\n"
      << Joined(added)
      << "From its first release on, a number keeps its meaning. If these are what you want, run this "
         "test once with MILLRACE_ADD_FIELDS=1 and commit the list with your change.";
}

}  // namespace
}  // namespace millrace
