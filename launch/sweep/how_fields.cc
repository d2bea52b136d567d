#include "launch/sweep/how_fields.h"

#include <google/protobuf/text_format.h>

#include "core/base/error.h"

namespace halo::launch {
namespace {

namespace pb = google::protobuf;

const pb::FieldDescriptor& field_of(const pb::Message& message, std::string_view name) {
  const auto* field = message.GetDescriptor()->FindFieldByName(std::string(name));
  HALO_REQUIRE(field != nullptr, str("the schema has no field ", name));
  return *field;
}

std::string text_in(const pb::Message& message, std::string_view path) {
  const std::size_t dot = path.find('.');
  const pb::FieldDescriptor& field = field_of(message, path.substr(0, dot));
  std::string text;
  if (dot == std::string_view::npos)
    pb::TextFormat::PrintFieldValueToString(message, &field, -1, &text);
  else if (message.GetReflection()->HasField(message, &field))
    text = text_in(message.GetReflection()->GetMessage(message, &field), path.substr(dot + 1));
  return text;
}

void clear_in(pb::Message& message, std::string_view path) {
  const std::size_t dot = path.find('.');
  const pb::FieldDescriptor& field = field_of(message, path.substr(0, dot));
  const pb::Reflection& reflection = *message.GetReflection();
  if (dot == std::string_view::npos)
    reflection.ClearField(&message, &field);
  else if (reflection.HasField(message, &field))
    clear_in(*reflection.MutableMessage(&message, &field), path.substr(dot + 1));
}

}  // namespace

std::string field_text(const proto::Job& job, std::string_view path) { return text_in(job, path); }

void clear_field(proto::Job& job, std::string_view path) { clear_in(job, path); }

}  // namespace halo::launch
