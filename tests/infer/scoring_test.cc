#include "core/infer/scoring.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/base/rng.h"
#include "core/infer/generate.h"
#include "parallel/comm/local_communicator.h"
#include "tests/infer/byte_tokenizer.h"

namespace halo::infer {
namespace {

/// A hybrid of random weights over the byte tokenizer's vocabulary, padded by three ids that no token has.
struct Model {
  explicit Model(Stream& stream)
      : config(make_config()),
        parameters(stream, model::parameter_specs(config), DType::kFloat64,
                   model::ParameterSet::Use::kFrozen),
        transformer(config, parameters.lookup()) {
    for (const model::Parameter& p : parameters.all()) {
      const CounterRng rng(8, p.name);
      for (std::int64_t i = 0; i < p.weight.size(); ++i)
        p.weight.as<double>()[i] = 0.4 * rng.normal(static_cast<std::uint64_t>(i));
    }
  }

  static model::ModelConfig make_config() {
    model::ModelConfig c;
    c.vocab_size = tokenizer().vocab_size() + 3;
    c.hidden_size = 16;
    c.intermediate_size = 12;
    c.num_hidden_layers = 2;
    c.num_attention_heads = 2;
    c.num_key_value_heads = 1;
    c.head_dim = 8;
    return model::hybrid_config(c, {1}, {});
  }
  static const data::Tokenizer& tokenizer() {
    static const data::Tokenizer made = byte_tokenizer();
    return made;
  }

  model::ModelConfig config;
  model::ParameterSet parameters;
  model::Transformer transformer;
};

Task task_of(TaskExample::Type type, const std::vector<TaskExample>& examples) {
  Task task{"task", type, examples};
  for (TaskExample& example : task.examples) example.type = type;
  return task;
}

/// The score of a task on `ranks` ranks; all must find the same.
double score_on(int ranks, const Task& task, std::int64_t max_tokens = 512) {
  std::vector<double> scores(static_cast<std::size_t>(ranks));
  comm::run_ranks(ranks, [&](comm::Communicator& world) {
    Stream stream(1);
    const Model model(stream);
    scores[static_cast<std::size_t>(world.rank())] = score_task(
        model.transformer, task, Model::tokenizer(), max_tokens, DType::kFloat64, world, stream);
  });
  for (const double score : scores) EXPECT_EQ(score, scores.front());
  return scores.front();
}

std::string continuation(const std::string& prompt, std::int64_t tokens) {
  Stream stream(1);
  const Model model(stream);
  std::vector<std::int32_t> ids = generate_greedy(
      model.transformer, Model::tokenizer().encode(prompt), tokens, {}, DType::kFloat64, stream);
  std::erase_if(ids, [](std::int32_t id) { return id >= Model::tokenizer().vocab_size(); });
  return Model::tokenizer().decode(ids, true);
}

/// What the model makes of each token of `text` behind `context`, from the logits of the whole sequence.
struct Prediction {
  double log_likelihood;
  bool is_first_choice;
};
std::vector<Prediction> predictions(const std::string& context, const std::string& text) {
  Stream stream(1);
  const Model model(stream);
  const std::vector<std::int32_t> ids = Model::tokenizer().encode(context + text);
  const auto T = static_cast<std::int64_t>(ids.size());
  const auto V = static_cast<std::size_t>(model.config.vocab_size);
  model::RopeTables rope(model.config, DType::kFloat64);
  const Tensor h =
      model.transformer.hidden(view(ids.data(), {T}), rope.sequence(T, 1, 0, stream), stream);
  Tensor logits(stream, {T, model.config.vocab_size}, DType::kFloat64);
  model.transformer.head().logits(logits, h, stream);
  std::vector<Prediction> result;
  for (std::size_t t = Model::tokenizer().encode(context).size(); t < ids.size(); ++t) {
    const std::span z(logits.view().as<double>() + (t - 1) * V, V);
    double sum = 0;
    for (const double value : z) sum += std::exp(value);
    const double label = z[static_cast<std::size_t>(ids[t])];
    result.push_back({label - std::log(sum), label == *std::max_element(z.begin(), z.end())});
  }
  return result;
}

double log_likelihood_a_character(const std::string& context, const std::string& text) {
  double sum = 0;
  for (const Prediction& p : predictions(context, text)) sum += p.log_likelihood;
  return sum / static_cast<double>(text.size());
}

TEST(Scoring, AChoiceIsRightWhenItsAnswerIsTheLikeliestACharacter) {
  const std::vector<std::string> answers{" x", " longer one", " Q?"};
  std::size_t best = 0;
  const auto of = [&](std::size_t a) {
    return log_likelihood_a_character("some context", answers[a]);
  };
  for (std::size_t i = 1; i < answers.size(); ++i) best = of(i) > of(best) ? i : best;
  std::vector<TaskExample> examples;
  for (int right = 0; right < 3; ++right)
    examples.push_back({TaskExample::Type::kChoice, "some context", answers, right});
  for (int right = 0; right < 3; ++right) {
    const Task task =
        task_of(TaskExample::Type::kChoice, {examples[static_cast<std::size_t>(right)]});
    EXPECT_EQ(score_on(1, task), right == static_cast<int>(best) ? 1.0 : 0.0) << right;
  }
  const Task all = task_of(TaskExample::Type::kChoice, examples);
  for (const int ranks : {1, 2, 4}) EXPECT_DOUBLE_EQ(score_on(ranks, all), 1.0 / 3);
}

TEST(Scoring, RecallIsTheShareOfTheAnswersTokensThatAreTheFirstChoice) {
  std::vector<TaskExample> examples;
  double expected = 0;
  for (const char c : std::string("abcdefgh")) {
    const std::string prompt(2, c);
    const std::string said = continuation(prompt, 1);
    const std::string answer = (said < "~" && !said.empty() ? said : std::string("b")) + "zz";
    examples.push_back({TaskExample::Type::kRecall, prompt, {answer}, 0});
    const std::vector<Prediction> tokens = predictions(prompt, answer);
    for (const Prediction& p : tokens)
      expected += (p.is_first_choice ? 1.0 : 0.0) / static_cast<double>(8 * tokens.size());
  }
  ASSERT_TRUE(0.05 < expected && expected < 0.95) << expected << " tells little";
  const Task task = task_of(TaskExample::Type::kRecall, examples);
  for (const int ranks : {1, 2, 3}) EXPECT_NEAR(score_on(ranks, task), expected, 1e-12);
}

TEST(Scoring, AGenerationCountsWhenItsAnswerStandsInTheContinuation) {
  const std::string said = continuation("key: ", 48);
  const std::string inside = said.substr(said.size() / 2);
  ASSERT_NE(inside.find_first_not_of(" \t\r\n"), std::string::npos) << said;
  const TaskExample right{TaskExample::Type::kGeneration, "key: ", {" " + inside + "\n"}, 0};
  const TaskExample wrong{TaskExample::Type::kGeneration, "key: ", {"not at all said by it"}, 0};
  EXPECT_EQ(score_on(1, task_of(TaskExample::Type::kGeneration, {right})), 1.0);
  EXPECT_EQ(score_on(1, task_of(TaskExample::Type::kGeneration, {wrong})), 0.0);
  const Task mixed = task_of(TaskExample::Type::kGeneration, {right, wrong, wrong, wrong});
  for (const int ranks : {1, 2, 5}) EXPECT_EQ(score_on(ranks, mixed), 0.25);
}

TEST(Scoring, AGenerationThatDoesNotFitNamesItsExample) {
  const Task task = task_of(TaskExample::Type::kGeneration,
                            {{TaskExample::Type::kGeneration, "p", {"a"}, 0},
                             {TaskExample::Type::kGeneration, "p", {std::string(200, 'a')}, 0}});
  try {
    score_on(2, task, 100);
    FAIL() << "400 tokens fit 100";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("example 2"), std::string::npos) << error.what();
  }
}

TEST(Scoring, BatchesHoldEachSequenceOnceWithinTheirRows) {
  std::vector<ScoredSequence> sequences;
  for (const int length : {5, 2, 9, 30, 2, 4, 3})
    sequences.push_back(
        {std::vector<std::int32_t>(static_cast<std::size_t>(length), 7), length - 1, 1, 0, 0});
  std::vector<int> seen(sequences.size());
  for (const ScoredBatch& batch : scored_batches(sequences, 20)) {
    EXPECT_TRUE(batch.T * batch.B <= 20 || batch.B == 1);
    for (std::size_t lane = 0; lane < batch.sequences.size(); ++lane) {
      const ScoredSequence& s = sequences[batch.sequences[lane]];
      ++seen[batch.sequences[lane]];
      int scored = 0;
      for (std::int64_t t = 0; t < batch.T; ++t) {
        const auto at = static_cast<std::size_t>(t * batch.B) + lane;
        if (batch.labels[at] < 0) continue;
        ++scored;
        EXPECT_EQ(t + 1, s.answer_begin) << "the row before the answer predicts it";
      }
      EXPECT_EQ(scored, 1);
    }
  }
  EXPECT_EQ(seen, std::vector<int>(sequences.size(), 1));
}

}  // namespace
}  // namespace halo::infer
