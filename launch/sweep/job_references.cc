#include "launch/sweep/job_references.h"

#include <functional>

namespace halo::launch {
namespace {

namespace pb = google::protobuf;

/// Hands every text in a message, at any depth, to `change`.
void for_each_text(pb::Message& message, const std::function<std::string(std::string)>& change) {
  const pb::Reflection& reflection = *message.GetReflection();
  std::vector<const pb::FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const pb::FieldDescriptor* field : fields) {
    const int size = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    for (int i = 0; i < size; ++i) {
      if (field->message_type() != nullptr) {
        for_each_text(field->is_repeated() ? *reflection.MutableRepeatedMessage(&message, field, i)
                                           : *reflection.MutableMessage(&message, field),
                      change);
      } else if (field->cpp_type() == pb::FieldDescriptor::CPPTYPE_STRING) {
        if (field->is_repeated())
          reflection.SetRepeatedString(&message, field, i,
                                       change(reflection.GetRepeatedString(message, field, i)));
        else
          reflection.SetString(&message, field, change(reflection.GetString(message, field)));
      }
    }
  }
}

}  // namespace

std::vector<std::string> models_read(const proto::Job& job) {
  std::vector<std::string> models{job.train().teacher(), job.train().student(), job.train().model(),
                                  job.export_().from()};
  models.insert(models.end(), job.evaluate().models().begin(), job.evaluate().models().end());
  std::erase(models, std::string());
  return models;
}

std::set<std::string> jobs_read(const proto::Job& job) {
  std::set<std::string> names;
  proto::Job copy = job;
  for_each_text(copy, [&](std::string text) {
    if (const std::string_view name = referenced_job(text); !name.empty()) names.emplace(name);
    return text;
  });
  return names;
}

void rename_jobs_read(proto::Job& job, const std::map<std::string, std::string>& names) {
  for_each_text(job, [&](std::string text) {
    const auto found = names.find(std::string(referenced_job(text)));
    return found == names.end() ? text : "job:" + found->second;
  });
}

}  // namespace halo::launch
