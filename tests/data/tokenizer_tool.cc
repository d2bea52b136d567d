// Lets a script compare this project's tokenizer with another one:
//   tokenizer_tool encode TOKENIZER_JSON < texts      a JSON array of strings in, an array of arrays of ids out
//   tokenizer_tool encode_hex TOKENIZER_JSON < texts  the same, each text as hexadecimal bytes
//   tokenizer_tool decode TOKENIZER_JSON < ids        the way back
//   tokenizer_tool train VOCAB_SIZE FILE...           a tokenizer.json out
//   tokenizer_tool speed TOKENIZER_JSON FILE          seconds and MB/s of one thread
#include <chrono>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/file.h"
#include "data/tokenizer.h"
#include "data/tokenizer_trainer.h"

namespace halo::data {
namespace {

using nlohmann::json;

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

json answer(const std::string& what, const Tokenizer& tokenizer, const json& input) {
  json output = json::array();
  for (const json& one : input) {
    if (what == "encode") output.push_back(tokenizer.encode(one.get_ref<const std::string&>()));
    if (what == "encode_hex") output.push_back(tokenizer.encode(from_hex(one.get<std::string>())));
    if (what == "decode") output.push_back(tokenizer.decode(one.get<std::vector<std::int32_t>>()));
  }
  return output;
}

void train(int vocab_size, const std::vector<std::string>& files) {
  TrainerOptions options;
  options.vocab_size = vocab_size;
  TokenizerTrainer trainer(options);
  for (const std::string& file : files) trainer.add(read_file(file));
  std::cout << trainer.train();
}

void measure(const Tokenizer& tokenizer, const std::string& text) {
  for (int i = 0; i < 2; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const std::size_t tokens = tokenizer.encode(text).size();
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
    std::cout << tokens << " tokens, " << time.count() << " s, "
              << static_cast<double>(text.size()) / 1e6 / time.count() << " MB/s\n";
  }
}

int run(const std::vector<std::string>& arguments) {
  HALO_REQUIRE_INPUT(arguments.size() >= 2, "usage: tokenizer_tool WHAT FILE...");
  const std::string& what = arguments[0];
  if (what == "train") {
    train(std::stoi(arguments[1]), {arguments.begin() + 2, arguments.end()});
    return 0;
  }
  const Tokenizer tokenizer{std::filesystem::path(arguments[1])};
  if (what == "speed") {
    measure(tokenizer, read_file(arguments.at(2)));
    return 0;
  }
  const std::string input{std::istreambuf_iterator<char>(std::cin), {}};
  std::cout << answer(what, tokenizer, json::parse(input)).dump();
  return 0;
}

}  // namespace
}  // namespace halo::data

int main(int argc, char** argv) {
  try {
    return halo::data::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
