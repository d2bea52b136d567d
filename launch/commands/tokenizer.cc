#include <chrono>
#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/text.h"
#include "data/text_reader.h"
#include "data/tokenizer.h"
#include "data/tokenizer_trainer.h"
#include "launch/commands/commands.h"

namespace halo::launch {
namespace {

struct Options {
  data::TrainerOptions trainer;
  data::TextReaderOptions reader;
  std::string out = "tokenizer.json";
  std::vector<std::string> files;
};

void run(const Options& options) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  require_no_input(options.out,
                   std::vector<std::filesystem::path>(options.files.begin(), options.files.end()));
  data::TokenizerTrainer trainer(options.trainer);
  std::int64_t documents = 0;
  std::int64_t bytes = 0;
  std::string document;
  for (const std::string& file : options.files) {
    data::TextReader reader(file, options.reader);
    while (reader.next(document)) {
      trainer.add(document);
      ++documents;
      bytes += std::ssize(document);
    }
  }
  HALO_REQUIRE_INPUT(documents > 0, "the files hold no text");
  const std::string json = trainer.train();
  const std::int32_t size = data::Tokenizer::parse(json, options.out).vocab_size();
  write_file_atomically(options.out, json);
  const std::chrono::duration<double> time = Clock::now() - begin;
  std::cout << options.out << ": " << size << " tokens learned from "
            << human_count(static_cast<double>(documents)) << " documents, "
            << human_bytes(static_cast<double>(bytes)) << ", in " << human_seconds(time.count())
            << '\n';
  if (size < options.trainer.vocab_size) {
    std::cout << "fewer than the " << options.trainer.vocab_size
              << " asked for: no other pair of tokens occurs twice in this text\n";
  }
}

}  // namespace

void add_tokenizer(Command& program) {
  Command command = program.command("tokenizer", "Make a tokenizer");
  command.require_command();
  Command train = command.command(
      "train", "Learn a byte-level BPE tokenizer.json, as Hugging Face has it, from text");
  const auto options = std::make_shared<Options>();
  train
      .option("--vocab", options->trainer.vocab_size,
              "Tokens in all: 256 bytes, merges, special tokens")
      .shows_default();
  train.option("--out", options->out, "The file to write").shows_default();
  train
      .option("--special", options->trainer.special_tokens,
              "A special token; repeat for more. They take the last ids")
      .one_at_a_time()
      .shows_default();
  train.option("--field", options->reader.field, "The text's name in JSON lines").shows_default();
  train.option("files", options->files, "Text: .txt or .jsonl, also with .gz or .zst after it")
      .required();
  train.does([options] { run(*options); });
}

}  // namespace halo::launch
