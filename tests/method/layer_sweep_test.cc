#include "core/halo/layer_sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/base/rng.h"
#include "core/halo/transfer.h"
#include "core/infer/generate.h"
#include "parallel/comm/local_communicator.h"
#include "tests/infer/byte_tokenizer.h"

namespace halo::method {
namespace {

using infer::Task;
using infer::TaskExample;

constexpr int kLayers = 5;

/// A teacher and mixers of random weights over the byte tokenizer's vocabulary, padded by three ids that no token has.
class LayerSweepTest : public testing::Test {
 protected:
  LayerSweepTest()
      : hybrid_(model::hybrid_config(config_, {}, {})),
        teacher_(stream_, model::parameter_specs(config_), DType::kFloat64,
                 model::ParameterSet::Use::kFrozen),
        mixers_(stream_, align_specs(hybrid_), DType::kFloat64, model::ParameterSet::Use::kFrozen),
        models_{config_, teacher_, mixers_, model::hybrid_options_of(hybrid_)} {
    fill(teacher_, 1);
    fill(mixers_, 2);
  }

  static void fill(const model::ParameterSet& set, std::uint64_t seed) {
    for (const model::Parameter& p : set.all()) {
      const CounterRng rng(seed, p.name);
      for (std::int64_t i = 0; i < p.weight.size(); ++i)
        p.weight.as<double>()[i] = 0.4 * rng.normal(static_cast<std::uint64_t>(i));
    }
  }
  static model::ModelConfig make_config() {
    model::ModelConfig c;
    c.vocab_size = tokenizer().vocab_size() + 3;
    c.hidden_size = 16;
    c.intermediate_size = 12;
    c.num_hidden_layers = kLayers;
    c.num_attention_heads = 2;
    c.num_key_value_heads = 1;
    c.head_dim = 8;
    return c;
  }
  static const data::Tokenizer& tokenizer() {
    static const data::Tokenizer made = infer::byte_tokenizer();
    return made;
  }

  /// The teacher, then each M(i), as whole models.
  [[nodiscard]] std::vector<model::Transformer> whole_models() const {
    std::vector<model::Transformer> all;
    all.emplace_back(config_, teacher_.lookup());
    for (int layer = 0; layer < kLayers; ++layer)
      all.push_back(model::replace_mixers(config_, teacher_, mixers_, {layer}, models_.hybrid));
    return all;
  }

  /// Of each kind one; generations whose answers some of the models say and others do not.
  [[nodiscard]] std::vector<Task> tasks() {
    using enum TaskExample::Type;
    Task choice{"choice", kChoice, {}}, recall{"recall", kRecall, {}},
        generation{"generation", kGeneration, {}};
    const std::vector<model::Transformer> models = whole_models();
    for (int i = 0; i < 40; ++i) {
      const std::string text(static_cast<std::size_t>(3 + i % 7), static_cast<char>('a' + i % 26));
      choice.examples.push_back({kChoice, text + text, {" x", " longer " + text, "Q?"}, i % 3});
      recall.examples.push_back({kRecall, text + text + text, {text.substr(0, 2) + " the"}, 0});
      if (i % 6 > 0) continue;
      const auto said = continuation(models[static_cast<std::size_t>(i / 6 % 6)], text, 48);
      generation.examples.push_back({kGeneration, text, {said.substr(said.size() / 2)}, 0});
    }
    return {choice, recall, generation};
  }
  std::string continuation(const model::Transformer& model, const std::string& prompt,
                           std::int64_t tokens) {
    auto ids = infer::generate_greedy(model, tokenizer().encode(prompt), tokens, {},
                                      DType::kFloat64, stream_);
    std::erase_if(ids, [](std::int32_t id) { return id >= tokenizer().vocab_size(); });
    return tokenizer().decode(ids, true);
  }

  SweepResult measured(const LayerSweep& sweep, int shards) {
    SweepResult sum = sweep.nothing(kLayers);
    for (int i = shards; i-- > 0;) {  // in whatever order
      const auto shard = sweep.measure(
          models_, {i, shards}, [] { return false; }, stream_);
      EXPECT_TRUE(shard);
      LayerSweep::add(sum, *shard);
    }
    return sum;
  }

  Stream stream_{1};
  model::ModelConfig config_ = make_config(), hybrid_;
  model::ParameterSet teacher_, mixers_;
  SweepModels models_;
};

TEST_F(LayerSweepTest, GivesWhatOneModelAfterTheOtherGives) {
  const std::vector<Task> all = tasks();
  const LayerSweep sweep(all, tokenizer(), 512);
  const SweepScores scores = sweep.scores(measured(sweep, 1));
  ASSERT_EQ(scores.layers.size(), static_cast<std::size_t>(kLayers));
  const auto world = comm::make_self_communicator("world");
  std::vector<double> generations;
  int model_index = 0;
  for (const model::Transformer& model : whole_models()) {
    SCOPED_TRACE(model_index);
    std::vector<double> alone;
    for (const Task& task : all)
      alone.push_back(
          infer::score_task(model, task, tokenizer(), 512, DType::kFloat64, *world, stream_));
    const LayerScore& shared = model_index == 0
                                   ? scores.teacher
                                   : scores.layers[static_cast<std::size_t>(model_index - 1)];
    EXPECT_DOUBLE_EQ(shared.csr, alone[0]);
    EXPECT_DOUBLE_EQ(shared.recall, (alone[1] + alone[2]) / 2);
    generations.push_back(alone[2]);
    ++model_index;
  }
  const auto [least, most] = std::ranges::minmax(generations);
  EXPECT_LT(least, most) << "all models say the same: the test says little";
}

TEST_F(LayerSweepTest, ABatchTakesTheTeachersPassesAndThoseOfTheSuffixes) {
  const std::vector<Task> all = tasks();
  const LayerSweep sweep(all, tokenizer(), 512);
  const SweepPasses passes = measured(sweep, 1).passes;
  EXPECT_EQ(passes.batches, sweep.batches());
  EXPECT_GT(passes.batches, 8);
  EXPECT_EQ(passes.teacher, passes.batches * kLayers);
  EXPECT_EQ(passes.branches, passes.batches * kLayers * (kLayers + 1) / 2);
  std::int64_t decoded = 0;  // the first new token comes of the prompt's pass
  for (const auto& prompt : infer::generation_prompts(all[2], tokenizer(), 512))
    decoded += prompt.new_tokens - 1;
  EXPECT_GE(decoded, 7 * 47);
  EXPECT_EQ(passes.decoding, decoded * (kLayers + 1) * kLayers);
}

TEST_F(LayerSweepTest, AnyShardsGiveTheSameBits) {
  const LayerSweep sweep(tasks(), tokenizer(), 512);
  const SweepResult whole = measured(sweep, 1);
  const SweepScores expected = sweep.scores(whole);
  for (const int shards : {2, 3, 7, sweep.batches() + 3}) {
    SCOPED_TRACE(shards);
    const SweepResult sum = measured(sweep, shards);
    for (std::size_t task = 0; task < 3; ++task)
      for (std::size_t model = 0; model <= kLayers; ++model)
        for (std::size_t i = 0; i < sum.scores[task][model].size(); ++i)
          EXPECT_EQ(sum.scores[task][model][i].log_likelihood,
                    whole.scores[task][model][i].log_likelihood);
    const SweepScores scores = sweep.scores(sum);
    for (std::size_t layer = 0; layer < kLayers; ++layer) {
      EXPECT_EQ(scores.layers[layer].recall, expected.layers[layer].recall);
      EXPECT_EQ(scores.layers[layer].csr, expected.layers[layer].csr);
    }
    EXPECT_EQ(sum.passes.branches, whole.passes.branches);
  }
}

TEST_F(LayerSweepTest, NothingIsCountedTwiceOrMissed) {
  const LayerSweep sweep(tasks(), tokenizer(), 512);
  SweepResult sum = sweep.nothing(kLayers);
  const auto never = [] { return false; };
  const auto shard = sweep.measure(models_, {0, 2}, never, stream_);
  ASSERT_TRUE(shard);
  LayerSweep::add(sum, *shard);
  EXPECT_THROW(std::ignore = sweep.scores(sum), Error);
  EXPECT_THROW(LayerSweep::add(sum, *shard), Error);
}

TEST_F(LayerSweepTest, StopsBetweenBranches) {
  const LayerSweep sweep(tasks(), tokenizer(), 512);
  int asked = 0;
  EXPECT_FALSE(sweep.measure(
      models_, {0, 1}, [&] { return ++asked == 3; }, stream_));
  EXPECT_EQ(asked, 3);
}

TEST_F(LayerSweepTest, WantsBothKindsOfTasks) {
  std::vector<Task> all = tasks();
  EXPECT_THROW(LayerSweep({all[0]}, tokenizer()), InputError);
  EXPECT_THROW(LayerSweep({all[1], all[2]}, tokenizer()), InputError);
}

}  // namespace
}  // namespace halo::method
