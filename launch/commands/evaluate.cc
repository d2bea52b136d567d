#include <cmath>
#include <iostream>
#include <thread>

#include "checkpoints/safetensors_writer.h"
#include "core/base/file.h"
#include "data/batch_views.h"
#include "launch/commands/commands.h"
#include "launch/jobs/batches.h"
#include "launch/jobs/evaluation.h"
#include "parallel/comm/local_communicator.h"

namespace halo::launch {
namespace {

struct Options {
  std::string model;
  std::string tokens;
  std::vector<std::string> tasks;
  std::int64_t sequences = 64;
  std::int64_t sequence_length = 512;
  std::string precision = "FP32";
  int threads = 0;
  bool document_masks = false;
  std::string logits;  // file to write
  int replace_layer = -1;
  std::string mixers;
};

int thread_count(const Options& options) {
  return options.threads > 0 ? options.threads
                             : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

/// A safetensors file or a Hugging Face folder of mixers, described by the teacher's architecture.
ModelSource open_mixers(const Options& options, const ModelSource& teacher) {
  if (std::filesystem::is_directory(options.mixers)) return open_model(options.mixers, "");
  ModelSource mixers;
  mixers.reference = options.mixers;
  mixers.config = model::hybrid_config(teacher.config, {}, {});
  mixers.weights = model::open_weights(options.mixers);
  mixers.mixers_only = true;
  return mixers;
}

EvaluatedModel load(const Options& options, DType dtype, Stream& stream) {
  const ModelSource source = open_model(options.model, "");
  HALO_REQUIRE_INPUT((options.replace_layer >= 0) == !options.mixers.empty(),
                     "--replace_layer and --mixers belong together");
  if (options.replace_layer < 0) return load_whole(source, dtype, stream);
  return load_aligned(source, open_mixers(options, source), {options.replace_layer}, dtype, stream);
}

/// (B, T, V) logits of the first `sequences` samples of the token file.
void write_logits(const Options& options, const EvaluatedModel& model,
                  std::span<const data::MicroBatch> batches, DType dtype, Stream& stream) {
  const std::int64_t V = model.transformer().config().vocab_size;
  const std::int64_t T = options.sequence_length;
  Tensor logits(stream, {options.sequences, T, V}, dtype);
  model::RopeTables rope(model.transformer().config(), dtype);
  std::int64_t first = 0;
  for (const data::MicroBatch& batch : batches) {
    model::Sequence sequence = rope.sequence(T, batch.B, 0, stream);
    sequence.document_start = data::document_starts(batch);
    const Tensor h = model.transformer().hidden(data::token_ids(batch), sequence, stream);
    Tensor rows(stream, {T * batch.B, V}, dtype);
    model.transformer().head().logits(rows, h, stream);
    for (std::int64_t b = 0; b < batch.B; ++b) {
      copy(logits.view().select(0, first + b), rows.view().reshape({T, batch.B, V}).select(1, b),
           stream);
    }
    first += batch.B;
  }
  const std::vector<checkpoints::OutputTensor> tensors{
      {"logits", dtype, logits.view().shape, logits, {}}};
  checkpoints::write_safetensors(options.logits, tensors);
  std::cout << "wrote logits " << to_string(logits.view().shape) << " to " << options.logits
            << '\n';
}

void print_scores(const Options& options, const EvaluatedModel& model,
                  std::span<const data::MicroBatch> batches, DType dtype, Stream& stream) {
  const auto self = comm::make_self_communicator("evaluate");
  if (!batches.empty()) {
    const infer::TokenLoss loss =
        infer::token_loss(model.transformer(), batches, dtype, *self, stream);
    std::cout << "tokens " << loss.tokens << "  loss " << loss.mean() << "  perplexity "
              << std::exp(loss.mean()) << '\n';
  }
  if (options.tasks.empty()) return;
  const data::Tokenizer tokenizer(model.tokenizer / "tokenizer.json");
  for (const std::string& path : options.tasks) {
    const infer::Task task = infer::read_task(path);
    const double score =
        infer::score_task(model.transformer(), task, tokenizer, 4096, dtype, *self, stream);
    std::cout << task.name << "  " << (infer::measures_recall(task) ? "recall " : "acc_norm ")
              << score << "  of " << task.examples.size() << " examples\n";
  }
}

void run(const Options& options) {
  HALO_REQUIRE_INPUT(!options.tokens.empty() || !options.tasks.empty(),
                     "give --tokens or --tasks to evaluate on");
  HALO_REQUIRE_INPUT(options.logits.empty() || !options.tokens.empty(), "--logits needs --tokens");
  HALO_REQUIRE_INPUT(
      options.tokens.empty() || !options.logits.empty() || options.sequence_length >= 2,
      "--sequence_length: a sequence of 1 token has no next one to be scored");
  std::vector<std::filesystem::path> inputs(options.tasks.begin(), options.tasks.end());
  inputs.insert(inputs.end(), {options.tokens, options.mixers});
  for (const std::string& folder : {options.model, options.mixers}) add_files(inputs, folder);
  require_no_input(options.logits, inputs);
  const DType dtype = options.precision == "FP64" ? DType::kFloat64 : DType::kFloat32;
  Stream stream(thread_count(options));
  const EvaluatedModel model = load(options, dtype, stream);
  std::vector<data::MicroBatch> batches;
  if (!options.tokens.empty()) {
    const auto self = comm::make_self_communicator("evaluate");
    const parallel::DeviceMesh mesh(*self, {});
    batches = held_out_batches(
        {{options.tokens}, options.sequences, options.sequence_length, 8, options.document_masks},
        mesh);
  }
  if (!options.logits.empty()) {
    write_logits(options, model, batches, dtype, stream);
  } else {
    print_scores(options, model, batches, dtype, stream);
  }
}

}  // namespace

void add_evaluate(Command& program) {
  auto options = std::make_shared<Options>();
  Command command = program.command("evaluate", "Perplexity, task scores or logits of a model");
  command.option("--model", options->model, "A Hugging Face folder, a job's folder or a checkpoint")
      .required()
      .takes("DIR");
  command.option("--tokens", options->tokens, "Token file to score, from its start").takes("FILE");
  command.option("--tasks", options->tasks, "Task files (JSONL)").takes("FILE");
  command.option("--sequences", options->sequences, "Sequences of the token file")
      .in_range(1, 1 << 24)
      .shows_default();
  command.option("--sequence_length", options->sequence_length, "Tokens of a sequence")
      .in_range(1, 1 << 24)
      .shows_default();
  command.flag("--document_masks", options->document_masks,
               "Attention and state start anew at each document");
  command.option("--precision", options->precision, "FP32 or FP64")
      .one_of({"FP32", "FP64"})
      .shows_default();
  command.option("--threads", options->threads, "Threads; 0: all cores").in_range(0, 4096);
  command
      .option("--logits", options->logits,
              "Write the tokens' logits (B, T, V) to this safetensors file")
      .takes("FILE");
  command
      .option("--replace_layer", options->replace_layer,
              "Replace this layer's mixer by the aligned one")
      .in_range(0, 100000);
  command
      .option("--mixers", options->mixers,
              "Where the aligned mixers are: safetensors file or folder")
      .takes("PATH");
  command.does([options] { run(*options); });
}

}  // namespace halo::launch
