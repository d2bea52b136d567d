#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/rng.h"
#include "core/base/stream.h"
#include "core/base/text.h"
#include "data/text_reader.h"
#include "data/token_file.h"
#include "data/tokenizer.h"
#include "launch/commands/commands.h"

namespace halo::launch {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string tokenizer;
  std::string out = "tokens.h5";
  std::string eos;
  double validation_fraction = 0;
  std::string validation_out;
  int deflate = 0;
  int threads = 0;
  bool ids = false;
  data::TextReaderOptions reader;
  std::vector<std::string> files;
};

struct Counts {
  std::int64_t documents = 0;
  std::int64_t tokens = 0;
  std::int64_t bytes = 0;
};

/// The token after each document: the one asked for, or what chat models end a turn with, or GPT's.
std::int32_t end_token(const data::Tokenizer& tokenizer, const Options& options) {
  if (options.eos == "none") return -1;
  if (!options.eos.empty()) {
    const auto id = tokenizer.id_of(options.eos);
    HALO_REQUIRE_INPUT(id.has_value(), str(options.tokenizer, ": has no token \"", options.eos,
                                           "\" to end documents with (--eos)"));
    return *id;
  }
  for (const char* usual : {"<|im_end|>", "<|endoftext|>"}) {
    if (const auto id = tokenizer.id_of(usual)) return *id;
  }
  throw InputError(str(options.tokenizer,
                       ": has neither <|im_end|> nor <|endoftext|>: name the token that ends a "
                       "document with --eos, or say --eos none"));
}

/// Reads documents in groups, encodes a group on all threads, and writes it in the documents' order.
class Job {
 public:
  explicit Job(const Options& options)
      : options_(options),
        tokenizer_(std::filesystem::path(options.tokenizer)),
        eos_(end_token(tokenizer_, options)),
        stream_(options.threads > 0
                    ? options.threads
                    : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()))),
        validation_choice_(0, "tokenize.validation") {
    const data::TokenFileInfo info{tokenizer_.vocab_size(), eos_, tokenizer_.sha256()};
    writer_.emplace(options.out, info, options.deflate);
    if (!options.validation_out.empty()) {
      validation_writer_.emplace(options.validation_out, info, options.deflate);
    }
  }

  void run() {
    std::string document;
    std::int64_t group_bytes = 0;
    for (const std::string& file : options_.files) {
      data::TextReader reader(file, options_.reader);
      while (reader.next(document)) {
        group_bytes += std::ssize(document);
        group_.push_back(std::move(document));
        if (group_bytes < kGroupBytes) continue;
        write_group();
        group_bytes = 0;
      }
    }
    write_group();
    HALO_REQUIRE_INPUT(train_.documents > 0, "the files hold no text to train on");
    if (validation_writer_) {
      HALO_REQUIRE_INPUT(validation_.documents > 0,
                         str("none of the ", train_.documents,
                             " documents was chosen for validation: raise --validation_fraction"));
      validation_writer_->finish();
    }
    writer_->finish();
  }

  void print_statistics(double seconds) const {
    print(options_.out, train_);
    if (validation_writer_) print(options_.validation_out, validation_);
    const double bytes = static_cast<double>(train_.bytes + validation_.bytes);
    std::printf("%s of text in %s, %.1f MB/s on %d threads\n", human_bytes(bytes).c_str(),
                human_seconds(seconds).c_str(), bytes / 1e6 / seconds, stream_.threads());
  }

 private:
  static constexpr std::int64_t kGroupBytes = std::int64_t{4} << 20;

  void write_group() {
    ids_.resize(group_.size());
    stream_.parallel_each(std::ssize(group_), [&](std::int64_t i) {
      auto& ids = ids_[static_cast<std::size_t>(i)];
      ids.clear();
      tokenizer_.encode(group_[static_cast<std::size_t>(i)], ids);
      if (eos_ >= 0) ids.push_back(eos_);
    });
    for (std::size_t i = 0; i < group_.size(); ++i) {
      const auto number = static_cast<std::uint64_t>(train_.documents + validation_.documents);
      const bool held_out =
          validation_writer_ && validation_choice_.uniform(number) < options_.validation_fraction;
      Counts& counts = held_out ? validation_ : train_;
      (held_out ? validation_writer_ : writer_)->add_document(ids_[i]);
      ++counts.documents;
      counts.tokens += std::ssize(ids_[i]);
      counts.bytes += std::ssize(group_[i]);
    }
    group_.clear();
  }

  static void print(const std::string& file, const Counts& counts) {
    std::printf("%s: %s documents, %s tokens, %.2f bytes a token\n", file.c_str(),
                human_count(static_cast<double>(counts.documents)).c_str(),
                human_count(static_cast<double>(counts.tokens)).c_str(),
                static_cast<double>(counts.bytes) / static_cast<double>(counts.tokens));
  }

  const Options& options_;
  data::Tokenizer tokenizer_;
  std::int32_t eos_;
  Stream stream_;
  CounterRng validation_choice_;  // which documents are held out
  std::optional<data::TokenFileWriter> writer_, validation_writer_;
  std::vector<std::string> group_;
  std::vector<std::vector<std::int32_t>> ids_;
  Counts train_, validation_;
};

void print_ids(const Options& options) {
  const data::Tokenizer tokenizer{std::filesystem::path(options.tokenizer)};
  const std::string text{std::istreambuf_iterator<char>(std::cin), {}};
  const char* separator = "";
  for (const std::int32_t id : tokenizer.encode(text)) {
    std::cout << separator << id;
    separator = " ";
  }
  std::cout << '\n';
}

void run(const Options& options) {
  if (options.ids) {
    HALO_REQUIRE_INPUT(options.files.empty(), "--ids reads standard input, not files");
    return print_ids(options);
  }
  HALO_REQUIRE_INPUT(!options.files.empty(), "no text files are given");
  HALO_REQUIRE_INPUT((options.validation_fraction > 0) == !options.validation_out.empty(),
                     "--validation_fraction and --validation_out go together");
  std::vector<std::filesystem::path> inputs(options.files.begin(), options.files.end());
  inputs.emplace_back(options.tokenizer);
  require_no_input(options.out, inputs);
  require_no_input(options.validation_out, inputs);
  HALO_REQUIRE_INPUT(
      options.validation_out.empty() || !is_same_file(options.validation_out, options.out),
      "--validation_out and --out are the same file");
  Job job(options);
  const auto begin = Clock::now();
  job.run();
  job.print_statistics(std::chrono::duration<double>(Clock::now() - begin).count());
}

}  // namespace

void add_tokenize(Command& program) {
  Command command =
      program.command("tokenize", "Turn text into a token file, or into ids on the terminal");
  const auto o = std::make_shared<Options>();
  command.option("--tokenizer", o->tokenizer, "A Hugging Face tokenizer.json (byte-level BPE)")
      .required();
  command.option("--out", o->out, "The token file to write (HDF5)").shows_default();
  command.option("--eos", o->eos,
                 "The token put after each document, or none. Otherwise <|im_end|>, or "
                 "<|endoftext|> when there is no such token");
  command
      .option("--validation_fraction", o->validation_fraction,
              "The share of documents held out for --validation_out")
      .in_range(0.0, 0.9);
  command.option("--validation_out", o->validation_out, "The token file of what is held out");
  command.option("--field", o->reader.field, "The text's name in JSON lines").shows_default();
  command.flag("--split_at_blank_lines", o->reader.split_at_blank_lines,
               "A .txt file holds documents with blank lines between, not one");
  command.option("--deflate", o->deflate, "Compression of the token file, 0 (none) to 9")
      .in_range(0, 9)
      .shows_default();
  command.option("--threads", o->threads, "0: one a core").in_range(0, 1024).shows_default();
  command.flag("--ids", o->ids,
               "Read text from standard input, verbatim, and print its ids on one line");
  command.option("files", o->files, "Text: .txt or .jsonl, also with .gz or .zst after it");
  command.does([o] { run(*o); });
}

}  // namespace halo::launch
