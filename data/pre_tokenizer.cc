#include "data/pre_tokenizer.h"

#include <utility>

#include "core/base/error.h"

namespace halo::data {

const std::string_view kGpt2Split =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const std::string_view kQwen3Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";

namespace {

using Range = PreTokenizer::Range;

/// Joins each match with the piece before it; `ranges` may be walked backwards for the piece after it. A match that
/// follows a match stays alone.
template <class Iterator, class Join>
std::vector<Range> merge_matches(Iterator begin, Iterator end, Join join) {
  std::vector<Range> merged;
  bool previous = false;
  for (Iterator range = begin; range != end; ++range) {
    if (range->match && !previous && !merged.empty()) {
      join(merged.back(), *range);
    } else {
      merged.push_back(*range);
    }
    previous = range->match;
  }
  return merged;
}

std::vector<Range> merge_contiguous(const std::vector<Range>& ranges) {
  std::vector<Range> merged;
  for (const Range& range : ranges) {
    if (!merged.empty() && merged.back().match == range.match) {
      merged.back().end = range.end;
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

void rearrange(SplitStep::Behavior behavior, std::vector<Range>& ranges) {
  switch (behavior) {
    case SplitStep::Behavior::kRemoved:
      std::erase_if(ranges, [](const Range& range) { return range.match; });
      return;
    case SplitStep::Behavior::kIsolated:
      return;
    case SplitStep::Behavior::kMergedWithPrevious:
      ranges = merge_matches(ranges.begin(), ranges.end(),
                             [](Range& piece, const Range& match) { piece.end = match.end; });
      return;
    case SplitStep::Behavior::kMergedWithNext: {
      ranges = merge_matches(ranges.rbegin(), ranges.rend(),
                             [](Range& piece, const Range& match) { piece.begin = match.begin; });
      ranges = {ranges.rbegin(), ranges.rend()};
      return;
    }
    case SplitStep::Behavior::kContiguous:
      ranges = merge_contiguous(ranges);
      return;
  }
}

}  // namespace

PreTokenizer::Step PreTokenizer::make_step(SplitStep spec, const std::string& place) {
  Step step{std::move(spec), {}};
  HALO_REQUIRE_INPUT(!step.spec.pattern.empty(), place + ": an empty split pattern");
  if (!step.spec.literal) step.regex.emplace_back(step.spec.pattern, place);
  return step;
}

PreTokenizer::PreTokenizer(const PreTokenizerSpec& spec, const std::string& place)
    : add_prefix_space_(spec.add_prefix_space) {
  for (const SplitStep& split : spec.splits) steps_.push_back(make_step(split, place));
  if (spec.use_regex) {
    SplitStep gpt2;
    gpt2.pattern = kGpt2Split;
    after_prefix_.push_back(make_step(std::move(gpt2), place));
  }
}

void PreTokenizer::find_ranges(const Step& step, std::string_view text, Scratch& scratch) {
  std::vector<Range>& ranges = scratch.ranges;
  ranges.clear();
  const bool invert = step.spec.invert;
  std::size_t at = 0;
  const auto add_match = [&](std::size_t begin, std::size_t end) {
    if (begin > at) ranges.push_back({at, begin, invert});
    ranges.push_back({begin, end, !invert});
    at = end;
  };
  if (step.spec.literal) {
    const std::string& word = step.spec.pattern;
    for (auto i = text.find(word); i != std::string_view::npos; i = text.find(word, at)) {
      add_match(i, i + word.size());
    }
  } else {
    while (at < text.size()) {
      const auto match = step.regex.front().find(text, at, scratch.regex);
      if (!match) break;
      add_match(match->first, match->second);
    }
  }
  if (at < text.size()) ranges.push_back({at, text.size(), invert});
}

void PreTokenizer::apply(const Step& step, std::string_view text, Scratch& scratch,
                         std::vector<std::string_view>& pieces) {
  if (step.spec.behavior == SplitStep::Behavior::kIsolated && !step.spec.literal) {
    return apply_isolated(step.regex.front(), text, scratch, pieces);
  }
  find_ranges(step, text, scratch);
  rearrange(step.spec.behavior, scratch.ranges);
  for (const Range& range : scratch.ranges) {
    pieces.push_back(text.substr(range.begin, range.end - range.begin));
  }
}

void PreTokenizer::apply_isolated(const Regex& regex, std::string_view text, Scratch& scratch,
                                  std::vector<std::string_view>& pieces) {
  std::size_t at = 0;
  while (at < text.size()) {
    const auto match = regex.find(text, at, scratch.regex);
    if (!match) break;
    if (match->first > at) pieces.push_back(text.substr(at, match->first - at));
    pieces.push_back(text.substr(match->first, match->second - match->first));
    at = match->second;
  }
  if (at < text.size()) pieces.push_back(text.substr(at));
}

void PreTokenizer::add_spaces(Scratch& scratch, std::vector<std::string_view>& pieces) const {
  if (!add_prefix_space_) return;
  scratch.prefixed.clear();
  for (std::string_view& piece : pieces) {
    if (piece.front() == ' ') continue;
    piece = scratch.prefixed.emplace_back(str(' ', piece));
  }
}

void PreTokenizer::split(std::string_view text, Scratch& scratch,
                         std::vector<std::string_view>& pieces) const {
  pieces.clear();
  if (text.empty()) return;
  pieces.push_back(text);
  const auto apply_all = [&](const std::vector<Step>& steps) {
    for (const Step& step : steps) {
      std::swap(scratch.before, pieces);
      pieces.clear();
      for (const std::string_view piece : scratch.before) apply(step, piece, scratch, pieces);
    }
  };
  apply_all(steps_);
  add_spaces(scratch, pieces);
  apply_all(after_prefix_);
}

}  // namespace halo::data
