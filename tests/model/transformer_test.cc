// Whole models: gradients of every parameter under every option of the blocks, and passes that must agree.
#include "core/model/transformer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "core/base/rng.h"
#include "core/infer/generate.h"

namespace halo::model {
namespace {

ModelConfig teacher_config() {
  ModelConfig c;
  c.vocab_size = 13;
  c.hidden_size = 12;
  c.intermediate_size = 10;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 4;
  c.num_key_value_heads = 2;
  c.head_dim = 6;
  return c;
}

/// A model with one layer of each mixer and random weights, in float64.
struct Model {
  Model(const ModelConfig& config, Stream& stream)
      : parameters(stream, parameter_specs(config), DType::kFloat64, ParameterSet::Use::kTrained),
        transformer(config, parameters.lookup()),
        rope(config, DType::kFloat64) {
    for (const Parameter& p : parameters.all()) {
      const CounterRng rng(3, p.name);
      for (std::int64_t i = 0; i < p.weight.size(); ++i) {
        const bool norm = p.init.kind == Initializer::Kind::kOnes;
        p.weight.as<double>()[i] =
            (norm ? 1.0 : 0.0) + 0.3 * rng.normal(static_cast<std::uint64_t>(i));
      }
    }
  }
  ParameterSet parameters;
  Transformer transformer;
  RopeTables rope;
};

struct Tokens {
  std::int64_t T = 7, B = 2;
  std::vector<std::int32_t> ids, labels, document_start;
};

Tokens make_tokens(std::int64_t T, std::int64_t B, bool documents) {
  Tokens tokens{T, B, {}, {}, {}};
  const CounterRng rng(5, "tokens");
  for (std::int64_t i = 0; i < T * B; ++i) {
    tokens.ids.push_back(
        static_cast<std::int32_t>(rng.below(13, static_cast<std::uint64_t>(2 * i))));
    tokens.labels.push_back(
        static_cast<std::int32_t>(rng.below(13, static_cast<std::uint64_t>(2 * i + 1))));
    if (documents) tokens.document_start.push_back(i / B >= 3 ? 3 : 0);
  }
  return tokens;
}

Sequence sequence_of(Model& model, const Tokens& tokens, Stream& stream) {
  Sequence sequence = model.rope.sequence(tokens.T, tokens.B, 0, stream);
  if (!tokens.document_start.empty()) {
    sequence.document_start = view(tokens.document_start.data(), {tokens.T, tokens.B});
  }
  return sequence;
}

/// The loss of a training pass, with its gradients left in the parameters.
double train_pass(Model& model, const Tokens& tokens, bool recompute, Stream& stream) {
  const Shape rows{tokens.T * tokens.B};
  const Sequence sequence = sequence_of(model, tokens, stream);
  fill_zero(model.parameters.flat_gradients(), stream);
  Transformer::Saved saved;
  const Tensor h =
      model.transformer.forward(view(tokens.ids.data(), rows), sequence, recompute, saved, stream);
  Tensor d(stream, h.view().shape, DType::kFloat64);
  double loss = 0;
  model.transformer.head().ce_loss(view(&loss, {1}), d, h, view(tokens.labels.data(), rows), 1.0,
                                   stream);
  model.transformer.backward(d, sequence, saved, stream);
  return loss;
}

double loss_of(Model& model, const Tokens& tokens, Stream& stream) {
  const Shape rows{tokens.T * tokens.B};
  const Tensor h = model.transformer.hidden(view(tokens.ids.data(), rows),
                                            sequence_of(model, tokens, stream), stream);
  double loss = 0;
  model.transformer.head().ce_loss(view(&loss, {1}), {}, h, view(tokens.labels.data(), rows), 1.0,
                                   stream);
  return loss;
}

struct Variant {
  std::string name;
  std::function<void(ModelConfig&)> change;
  bool documents = false;
};
void PrintTo(const Variant& variant, std::ostream* out) { *out << variant.name; }

ModelConfig config_of(const Variant& variant) {
  HybridOptions options;
  ModelConfig config = hybrid_config(teacher_config(), {1}, options);
  variant.change(config);
  return config;
}

class TransformerTest : public testing::TestWithParam<Variant> {};

TEST_P(TransformerTest, GradientsAreThoseOfFiniteDifferences) {
  Stream stream(1);
  Model model(config_of(GetParam()), stream);
  const Tokens tokens = make_tokens(7, 2, GetParam().documents);
  train_pass(model, tokens, false, stream);
  const std::vector<double> gradient(
      model.parameters.flat_gradients().as<double>(),
      model.parameters.flat_gradients().as<double>() + model.parameters.flat_gradients().size());
  constexpr double kStep = 1e-4;
  for (const Parameter& p : model.parameters.all()) {
    for (std::int64_t k = 0; k < 4; ++k) {
      const std::int64_t i = k * (p.weight.size() - 1) / 3;
      double& w = p.weight.as<double>()[i];
      const double kept = w;
      const auto loss_at = [&](double shift) {
        w = kept + shift;
        const double loss = loss_of(model, tokens, stream);
        w = kept;
        return loss;
      };
      // Two central differences leave the step's fourth power, about 1e-16, and rounding of some 1e-15 * loss / step.
      const double near = loss_at(kStep) - loss_at(-kStep),
                   far = loss_at(2 * kStep) - loss_at(-2 * kStep);
      const double expected = (8 * near - far) / (12 * kStep);
      const double ours = gradient[static_cast<std::size_t>(model.parameters.flat_offset(p) + i)];
      EXPECT_NEAR(ours, expected, 1e-8 * std::max(1.0, std::fabs(expected)))
          << p.name << '[' << i << ']';
    }
  }
}

TEST_P(TransformerTest, RecomputationGivesTheSameBits) {
  Stream stream(1);
  Model model(config_of(GetParam()), stream);
  const Tokens tokens = make_tokens(9, 3, GetParam().documents);
  const TensorView flat = model.parameters.flat_gradients();
  const double kept = train_pass(model, tokens, false, stream);
  const std::vector<double> gradient(flat.as<double>(), flat.as<double>() + flat.size());
  EXPECT_EQ(train_pass(model, tokens, true, stream), kept);
  for (std::size_t i = 0; i < gradient.size(); ++i)
    ASSERT_EQ(flat.as<double>()[i], gradient[i]) << i;
}

TEST_P(TransformerTest, TokenByTokenWithACacheEqualsOnePass) {
  if (GetParam().documents) return;  // a cache holds one document
  Stream stream(1);
  Model model(config_of(GetParam()), stream);
  const Tokens tokens = make_tokens(8, 2, false);
  const Tensor whole = model.transformer.hidden(view(tokens.ids.data(), {16}),
                                                sequence_of(model, tokens, stream), stream);
  std::vector<MixerCache> caches;
  for (int i = 0; i < model.transformer.layers(); ++i) {
    caches.push_back(model.transformer.block(i).mixer().make_cache(8, 2, DType::kFloat64, stream));
  }
  for (std::int64_t t = 0; t < 8; t += (t == 0 ? 3 : 1)) {
    const std::int64_t n = t == 0 ? 3 : 1;
    const Sequence part = model.rope.sequence(n, 2, t, stream);
    const Tensor h =
        model.transformer.hidden(view(tokens.ids.data() + 2 * t, {2 * n}), part, stream, &caches);
    for (std::int64_t i = 0; i < h.view().size(); ++i) {
      ASSERT_NEAR(h.view().as<double>()[i], whole.view().as<double>()[2 * t * 12 + i], 1e-12) << t;
    }
  }
}

std::vector<Variant> variants() {
  return {{"method", [](ModelConfig&) {}},
          {"qwen3", [](ModelConfig& c) { c = teacher_config(); }},
          {"untied", [](ModelConfig& c) { c.tie_word_embeddings = false; }},
          {"grouped_lightning", [](ModelConfig& c) { c.lightning_nkv = 2; }},
          {"no_output_gates",
           [](ModelConfig& c) { c.lightning_use_output_gate = c.attn_use_output_gate = false; }},
          {"no_output_norm", [](ModelConfig& c) { c.lightning_use_output_norm = false; }},
          {"no_qk_norm", [](ModelConfig& c) { c.lightning_use_qk_norm = false; }},
          {"no_lightning_rope", [](ModelConfig& c) { c.lightning_use_rope = false; }},
          {"attention_rope", [](ModelConfig& c) { c.attn_use_rope = true; }},
          {"documents", [](ModelConfig&) {}, true}};
}

INSTANTIATE_TEST_SUITE_P(Options, TransformerTest, testing::ValuesIn(variants()),
                         [](const testing::TestParamInfo<Variant>& tested) {
                           return tested.param.name;
                         });

TEST(TransformerPassTest, DocumentMasksEqualSeparateDocuments) {
  Stream stream(1);
  Model model(hybrid_config(teacher_config(), {1}, {}), stream);
  const Tokens both = make_tokens(7, 2, true);
  const Tensor h = model.transformer.hidden(view(both.ids.data(), {14}),
                                            sequence_of(model, both, stream), stream);
  Sequence second = model.rope.sequence(4, 2, 3, stream);  // at the same positions
  const Tensor alone = model.transformer.hidden(view(both.ids.data() + 6, {8}), second, stream);
  for (std::int64_t i = 0; i < alone.view().size(); ++i) {
    ASSERT_NEAR(h.view().as<double>()[6 * 12 + i], alone.view().as<double>()[i], 1e-12) << i;
  }
}

TEST(TransformerPassTest, HypeScalesTheQueriesOfAttentionLayersByPosition) {
  Stream stream(1);
  ModelConfig config = hybrid_config(teacher_config(), {1}, {});
  Model plain(config, stream);
  config.attn_logits_scaling = parse_logits_scaling("hype 500");
  const Transformer scaled(config, plain.parameters.lookup());
  const Tokens tokens = make_tokens(7, 1, false);
  const Sequence sequence = sequence_of(plain, tokens, stream);
  const Tensor a = plain.transformer.hidden(view(tokens.ids.data(), {7}), sequence, stream);
  const Tensor b = scaled.hidden(view(tokens.ids.data(), {7}), sequence, stream);
  double first = 0, later = 0;
  for (std::int64_t i = 0; i < 12; ++i) {
    first = std::max(first, std::fabs(a.view().as<double>()[i] - b.view().as<double>()[i]));
    later =
        std::max(later, std::fabs(a.view().as<double>()[72 + i] - b.view().as<double>()[72 + i]));
  }
  EXPECT_EQ(first, 0.0);  // log(0 + a) / log(a) is 1
  EXPECT_GT(later, 1e-8);
}

TEST(Transformer, TransposedMatricesGiveTheSameHiddenStatesAndLogits) {
  Stream stream(2);
  ModelConfig config = hybrid_config(teacher_config(), {1}, {});
  config.tie_word_embeddings = false;
  Model trained(config, stream);
  ParameterSet frozen(stream, parameter_specs(config), DType::kFloat64, ParameterSet::Use::kFrozen);
  copy(frozen.flat_weights(), trained.parameters.flat_weights(), stream);
  frozen.transpose_matrices(stream);
  const Parameter& gate = frozen.at("model.layers.0.mlp.gate_proj.weight");
  EXPECT_EQ(gate.weight.shape, (Shape{10, 12}));
  EXPECT_EQ(gate.weight.stride(0), 1);
  EXPECT_TRUE(frozen.at(kEmbedding).weight.contiguous());

  const Transformer transformer(config, frozen.lookup());
  const Tokens tokens = make_tokens(7, 2, false);
  const TensorView ids = view(tokens.ids.data(), {14});
  const auto logits = [&](const Transformer& model) {
    const Tensor h = model.hidden(ids, sequence_of(trained, tokens, stream), stream);
    Tensor z(stream, {14, config.vocab_size}, DType::kFloat64);
    model.head().logits(z, h, stream);
    return z;
  };
  const Tensor expected = logits(trained.transformer), got = logits(transformer);
  for (std::int64_t i = 0; i < expected.view().size(); ++i) {
    const double value = expected.view().as<double>()[i];
    EXPECT_NEAR(got.view().as<double>()[i], value, 1e-13 * (1 + std::fabs(value))) << i;
  }
}

}  // namespace
}  // namespace halo::model
