#include "core/model/parameters.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace halo::model {
namespace {

std::vector<double> values(const TensorView& x) {
  return {x.as<double>(), x.as<double>() + x.size()};
}

class GradientTest : public ::testing::Test {
 protected:
  GradientTest() {
    std::fill_n(set.flat_gradients().as<double>(), set.flat_gradients().size(),
                std::numeric_limits<double>::quiet_NaN());
  }
  /// Adds ones (N, 2)^T ones (N, 3): every element gets N.
  void add(const std::string& name, std::int64_t N) {
    std::vector<double> ones(static_cast<std::size_t>(3 * N), 1.0);
    add_matrix_gradient(set.at(name), view(ones.data(), {N, 2}), view(ones.data(), {N, 3}), stream);
  }

  Stream stream{1};
  ParameterSet set{stream,
                   {{"norm", {5}, {}, {}}, {"used", {2, 3}, {}, {}}, {"unused", {2, 3}, {}, {}}},
                   DType::kFloat64,
                   ParameterSet::Use::kTrained};
};

TEST_F(GradientTest, TheFirstContributionAfterClearingOverwrites) {
  set.clear_gradients();
  EXPECT_EQ(values(settled_gradient(set.at("norm"), stream)), std::vector<double>(5, 0.0));
  add("used", 4);
  EXPECT_EQ(values(set.at("used").grad), std::vector<double>(6, 4.0));
  add("used", 3);
  EXPECT_EQ(values(set.at("used").grad), std::vector<double>(6, 7.0));
  set.settle_gradients(stream);
  EXPECT_EQ(values(set.at("used").grad), std::vector<double>(6, 7.0));
  EXPECT_EQ(values(set.at("unused").grad), std::vector<double>(6, 0.0));

  set.clear_gradients();
  set.settle_gradients(stream);
  EXPECT_EQ(values(set.at("used").grad), std::vector<double>(6, 0.0));
  add("used", 2);
  EXPECT_EQ(values(set.at("used").grad), std::vector<double>(6, 2.0));
}

TEST_F(GradientTest, OfAFreshSetIsAddedTo) {
  std::fill_n(set.flat_gradients().as<double>(), set.flat_gradients().size(), 1.0);
  add("used", 4);
  EXPECT_EQ(values(set.at("used").grad), std::vector<double>(6, 5.0));
}

TEST(FrozenParameterTest, TakesNoGradient) {
  Stream stream(1);
  const ParameterSet set(stream, {{"frozen", {2, 3}, {}, {}}}, DType::kFloat64,
                         ParameterSet::Use::kFrozen);
  std::vector<double> ones(12, 1.0);
  add_matrix_gradient(set.at("frozen"), view(ones.data(), {4, 2}), view(ones.data(), {4, 3}),
                      stream);
  settle_gradient(set.at("frozen"), stream);
  EXPECT_TRUE(set.at("frozen").grad.empty());
}

}  // namespace
}  // namespace halo::model
