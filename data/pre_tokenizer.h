#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "data/regex.h"

namespace halo::data {

/// GPT-2's split pattern, which ByteLevel uses by itself, and Qwen2's and Qwen3's.
extern const std::string_view kGpt2Split;
extern const std::string_view kQwen3Split;

/// One Split of a tokenizer.json: what becomes of the matches of a pattern and of the text between them.
struct SplitStep {
  enum class Behavior : std::uint8_t {
    kRemoved,             // matches are dropped
    kIsolated,            // a match is a piece of its own
    kMergedWithPrevious,  // a match joins the piece before it
    kMergedWithNext,      // a match joins the piece after it
    kContiguous,          // neighbouring matches are one piece
  };
  std::string pattern;
  bool literal = false;  // the pattern is plain text
  Behavior behavior = Behavior::kIsolated;
  bool invert = false;  // what the pattern does not match counts as the match
};

struct PreTokenizerSpec {
  std::vector<SplitStep> splits;  // in order, each on the pieces of the one before
  bool add_prefix_space = false;  // then a space before every piece that has none
  bool use_regex = false;         // then GPT-2's pattern
};

/// Cuts a text into the pieces that BPE sees one by one. Const methods may run on several threads, each with its own
/// Scratch.
class PreTokenizer {
 public:
  /// `place` names the file in errors. Throws InputError for a pattern that cannot be used.
  PreTokenizer(const PreTokenizerSpec& spec, const std::string& place);

  struct Range {
    std::size_t begin = 0;
    std::size_t end = 0;
    bool match = false;
  };
  struct Scratch {
    RegexScratch regex;
    std::vector<Range> ranges;
    std::vector<std::string_view> before;
    std::deque<std::string> prefixed;
  };

  /// The pieces of `text` (UTF-8), none of them empty. They point into `text` and `scratch`.
  void split(std::string_view text, Scratch& scratch, std::vector<std::string_view>& pieces) const;

 private:
  struct Step {
    SplitStep spec;
    std::vector<Regex> regex;  // one; none for literal text
  };

  static Step make_step(SplitStep spec, const std::string& place);
  static void find_ranges(const Step& step, std::string_view text, Scratch& scratch);
  static void apply(const Step& step, std::string_view text, Scratch& scratch,
                    std::vector<std::string_view>& pieces);
  static void apply_isolated(const Regex& regex, std::string_view text, Scratch& scratch,
                             std::vector<std::string_view>& pieces);
  void add_spaces(Scratch& scratch, std::vector<std::string_view>& pieces) const;

  std::vector<Step> steps_;
  std::vector<Step> after_prefix_;  // ByteLevel's own pattern, when used
  bool add_prefix_space_;
};

}  // namespace halo::data
