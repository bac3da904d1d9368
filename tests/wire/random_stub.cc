#include "tests/wire/random_stub.h"

#include <set>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/unknown_field_set.h"

namespace millrace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

namespace {

void SetField(RandomInput& random, UnknownFields unknown, Message* message, const FieldDescriptor* field) {
  const Reflection& reflection = *message->GetReflection();
  switch (field->type()) {
    case FieldDescriptor::TYPE_INT64:
    case FieldDescriptor::TYPE_SINT64:
      return reflection.SetInt64(message, field, random.SignedNumber());
    case FieldDescriptor::TYPE_INT32:
      return reflection.SetInt32(message, field, static_cast<int32_t>(random.SignedNumber()));
    case FieldDescriptor::TYPE_UINT64:
      if (field->is_repeated()) return reflection.AddUInt64(message, field, random.Number());
      return reflection.SetUInt64(message, field, random.Number());
    case FieldDescriptor::TYPE_FIXED64:
      return reflection.SetUInt64(message, field, random.Number());
    case FieldDescriptor::TYPE_UINT32:
    case FieldDescriptor::TYPE_FIXED32:
      return reflection.SetUInt32(message, field, static_cast<uint32_t>(random.Number()));
    case FieldDescriptor::TYPE_BOOL:
      return reflection.SetBool(message, field, random.OneIn(2));
    case FieldDescriptor::TYPE_ENUM:
      return reflection.SetEnumValue(message, field, static_cast<int>(random.SignedNumber()));
    case FieldDescriptor::TYPE_STRING:
      return reflection.SetString(message, field, random.Text());
    case FieldDescriptor::TYPE_BYTES:
      return reflection.SetString(message, field, random.SomeBytes());
    case FieldDescriptor::TYPE_MESSAGE:
      return FillRandomly(
          random, unknown,
          field->is_repeated() ? reflection.AddMessage(message, field) : reflection.MutableMessage(message, field));
    default:
      FAIL() << field->full_name() << " has a type that random messages do not know yet";
  }
}

void AddUnknownField(RandomInput& random, Message* message) {
  auto* fields = message->GetReflection()->MutableUnknownFields(message);
  const int number = static_cast<int>(1000 + random.Below(100'000));
  switch (random.Below(4)) {
    case 0:
      return fields->AddVarint(number, random.Number());
    case 1:
      return fields->AddFixed32(number, 7);
    case 2:
      return fields->AddFixed64(number, 7);
    case 3:
      return fields->AddLengthDelimited(number, random.SomeBytes());
  }
}

}  // namespace

void FillRandomly(RandomInput& random, UnknownFields unknown, Message* message) {
  std::set<const FieldDescriptor*> left_out;
  for (int i = 0; i < message->GetDescriptor()->real_oneof_decl_count(); ++i) {
    const auto* oneof = message->GetDescriptor()->oneof_decl(i);
    for (int j = 0; j < oneof->field_count(); ++j) left_out.insert(oneof->field(j));
    left_out.erase(oneof->field(static_cast<int>(random.Below(static_cast<size_t>(oneof->field_count())))));
  }
  for (int i = 0; i < message->GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message->GetDescriptor()->field(i);
    if (left_out.contains(field) || random.OneIn(3)) continue;
    for (size_t n = field->is_repeated() ? random.Below(4) : 1; n > 0; --n) SetField(random, unknown, message, field);
  }
  if (unknown == UnknownFields::kSome && random.OneIn(2)) AddUnknownField(random, message);
}

}  // namespace millrace
