#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/model/parameters.h"
#include "parallel/region.h"

namespace halo::checkpoints {
class CheckpointReader;
}

namespace halo::model {

/// Named weights to start a model from: a Hugging Face folder, a safetensors file, or a training checkpoint's masters.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  [[nodiscard]] virtual const std::string& name() const = 0;  // for messages
  [[nodiscard]] virtual std::vector<std::string> tensors() const = 0;
  [[nodiscard]] virtual bool contains(const std::string& tensor) const = 0;
  [[nodiscard]] virtual Shape shape(const std::string& tensor) const = 0;
  /// Reads a rectangle into `out` (of region.shape), converting the dtype. Throws InputError.
  virtual void read(const std::string& tensor, const parallel::Region& region,
                    TensorView out) const = 0;
};

/// The weights of a Hugging Face folder or a safetensors file. Throws InputError with the path and the reason; NaN or
/// infinite weights are one.
[[nodiscard]] std::unique_ptr<WeightSource> open_weights(const std::filesystem::path& path);
/// The masters of a training checkpoint.
[[nodiscard]] std::unique_ptr<WeightSource> checkpoint_weights(
    std::unique_ptr<checkpoints::CheckpointReader> reader);

/// Reads this rank's slice of one parameter. Throws InputError when the source lacks it or has another shape.
void load_parameter(const Parameter& parameter, const WeightSource& source);
/// The same from the tensor of another name.
void load_parameter(const Parameter& parameter, const WeightSource& source,
                    const std::string& tensor);
/// Reads every parameter of the set.
void load_parameters(const ParameterSet& parameters, const WeightSource& source);
/// Reads the parameters of the set that the source has. Throws InputError when it names one that is not among `all`, those
/// of the whole model.
void replace_parameters(const ParameterSet& parameters, const std::vector<ParameterSpec>& all,
                        const WeightSource& source);

}  // namespace halo::model
