#include <iostream>

#include "launch/commands/commands.h"
#include "launch/jobs/export_model.h"

namespace halo::launch {
namespace {

struct Options {
  std::string from;
  std::string to;
  std::string dtype = "float32";
  std::string scaling;
};

DType parse_dtype(const std::string& name) {
  if (name == "bfloat16") return DType::kBFloat16;
  if (name == "float16") return DType::kFloat16;
  return name == "float64" ? DType::kFloat64 : DType::kFloat32;
}

void run(const Options& options) {
  const ModelSource source = open_model(options.from, "");
  export_model(source, {options.to, parse_dtype(options.dtype), options.scaling});
  std::cout << "wrote " << source.weights->tensors().size() << " tensors of "
            << source.weights->name() << " to " << options.to << '\n';
}

}  // namespace

void add_export(Command& program) {
  auto options = std::make_shared<Options>();
  Command command = program.command("export", "Write a trained model as a Hugging Face folder");
  command
      .option("--from", options->from,
              "A job's folder, one of its checkpoints, or a Hugging Face folder")
      .required()
      .takes("DIR");
  command.option("--to", options->to, "The folder to write, made when missing")
      .required()
      .takes("DIR");
  command.option("--dtype", options->dtype, "Of the weights: float32, bfloat16, float16 or float64")
      .one_of({"float32", "bfloat16", "float16", "float64"})
      .shows_default();
  command
      .option("--attn_logits_scaling", options->scaling,
              "HyPE's scaling for long inputs, such as \"hype 500\"")
      .takes("TEXT");
  command.does([options] { run(*options); });
}

}  // namespace halo::launch
