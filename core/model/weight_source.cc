#include "core/model/weight_source.h"

#include <set>

#include "checkpoints/checkpoint_reader.h"
#include "checkpoints/weight_files.h"
#include "core/base/host_access.h"

namespace halo::model {
namespace {

class FileSource final : public WeightSource {
 public:
  explicit FileSource(const std::filesystem::path& path) : name_(path.string()), files_(path) {
    files_.require_finite();
  }
  const std::string& name() const override { return name_; }
  std::vector<std::string> tensors() const override { return files_.names(); }
  bool contains(const std::string& tensor) const override { return files_.contains(tensor); }
  Shape shape(const std::string& tensor) const override { return files_.info(tensor).shape; }
  void read(const std::string& tensor, const parallel::Region& region,
            TensorView out) const override {
    files_.read(tensor, region, out);
  }

 private:
  std::string name_;
  checkpoints::WeightFiles files_;
};

class CheckpointSource final : public WeightSource {
 public:
  explicit CheckpointSource(std::unique_ptr<checkpoints::CheckpointReader> reader)
      : name_(reader->folder().string()), reader_(std::move(reader)) {}
  const std::string& name() const override { return name_; }
  std::vector<std::string> tensors() const override {
    std::vector<std::string> names;
    for (const auto& tensor : reader_->tensors()) names.push_back(tensor.name);
    return names;
  }
  bool contains(const std::string& tensor) const override { return reader_->contains(tensor); }
  Shape shape(const std::string& tensor) const override { return reader_->tensor(tensor).shape; }
  void read(const std::string& tensor, const parallel::Region& region,
            TensorView out) const override {
    reader_->read(tensor, checkpoints::Which::kMaster, region, out);
  }

 private:
  std::string name_;
  std::unique_ptr<checkpoints::CheckpointReader> reader_;
};

}  // namespace

std::unique_ptr<WeightSource> open_weights(const std::filesystem::path& path) {
  return std::make_unique<FileSource>(path);
}

std::unique_ptr<WeightSource> checkpoint_weights(
    std::unique_ptr<checkpoints::CheckpointReader> reader) {
  return std::make_unique<CheckpointSource>(std::move(reader));
}

void load_parameter(const Parameter& p, const WeightSource& source, const std::string& tensor) {
  const Shape stored = source.shape(tensor);
  HALO_REQUIRE_INPUT(stored == p.global_shape,
                     str(source.name(), ": tensor ", tensor, ": the shape is ", to_string(stored),
                         ", the model's ", to_string(p.global_shape)));
  write_from_host(p.weight, *p.stream,
                  [&](const TensorView& weight) { source.read(tensor, p.region, weight); });
}

void load_parameter(const Parameter& p, const WeightSource& source) {
  load_parameter(p, source, p.name);
}

void load_parameters(const ParameterSet& parameters, const WeightSource& source) {
  for (const Parameter& p : parameters.all()) load_parameter(p, source);
}

void replace_parameters(const ParameterSet& parameters, const std::vector<ParameterSpec>& all,
                        const WeightSource& source) {
  std::set<std::string> known;
  for (const ParameterSpec& spec : all) known.insert(spec.name);
  for (const std::string& name : source.tensors()) {
    HALO_REQUIRE_INPUT(known.contains(name), str(source.name(), ": tensor ", name,
                                                 ": the model has no parameter of this name"));
    if (const Parameter* p = parameters.find(name)) load_parameter(*p, source);
  }
}

}  // namespace halo::model
