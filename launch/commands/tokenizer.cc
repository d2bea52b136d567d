#include <CLI/CLI.hpp>
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

void add_tokenizer(CLI::App& app) {
  CLI::App* command = app.add_subcommand("tokenizer", "Make a tokenizer");
  command->require_subcommand(1);
  CLI::App* train = command->add_subcommand(
      "train", "Learn a byte-level BPE tokenizer.json, as Hugging Face has it, from text");
  const auto options = std::make_shared<Options>();
  train
      ->add_option("--vocab", options->trainer.vocab_size,
                   "Tokens in all: 256 bytes, merges, special tokens")
      ->capture_default_str();
  train->add_option("--out", options->out, "The file to write")->capture_default_str();
  train
      ->add_option("--special", options->trainer.special_tokens,
                   "A special token; repeat for more. They take the last ids")
      ->expected(1)
      ->take_all()
      ->capture_default_str();
  train->add_option("--field", options->reader.field, "The text's name in JSON lines")
      ->capture_default_str();
  train->add_option("files", options->files, "Text: .txt or .jsonl, also with .gz or .zst after it")
      ->required();
  train->callback([options] { run(*options); });
}

}  // namespace halo::launch
