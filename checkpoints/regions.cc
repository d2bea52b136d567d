#include "checkpoints/regions.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace halo::checkpoints {
namespace {

using parallel::Region;

void cut(const Region& region, int axis, std::int64_t max_elements,
         const std::function<void(const Region&)>& body) {
  std::int64_t inner = 1;
  for (int k = axis + 1; k < region.shape.rank(); ++k) inner *= region.shape[k];
  const bool fits = axis >= region.shape.rank() || inner * region.shape[axis] <= max_elements;
  if (fits) return body(region);
  const std::int64_t rows = std::max<std::int64_t>(max_elements / inner, 1);
  const std::int64_t end = region.offset[axis] + region.shape[axis];
  for (std::int64_t begin = region.offset[axis]; begin < end; begin += rows) {
    Region block = region;
    block.offset[axis] = begin;
    block.shape[axis] = std::min(rows, end - begin);
    cut(block, axis + 1, max_elements, body);
  }
}

/// Two regions that share an element. Swept along the first axis, on which nearly every tensor is cut.
std::optional<std::pair<std::size_t, std::size_t>> overlapping_pair(
    std::span<const Region> regions) {
  std::vector<std::size_t> order(regions.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return regions[a].offset[0] < regions[b].offset[0];
  });
  for (std::size_t i = 0; i < order.size(); ++i) {
    const Region& first = regions[order[i]];
    for (std::size_t j = i + 1; j < order.size(); ++j) {
      const Region& second = regions[order[j]];
      if (second.offset[0] >= first.offset[0] + first.shape[0]) break;
      if (intersection(first, second)) return std::pair(order[i], order[j]);
    }
  }
  return std::nullopt;
}

}  // namespace

bool addressable(const Shape& shape) {
  std::int64_t bytes = 8;
  for (const std::int64_t n : shape.dims()) {
    if (n < 0 || __builtin_mul_overflow(bytes, std::max<std::int64_t>(n, 1), &bytes)) return false;
  }
  return true;
}

bool inside(const Region& region, const Shape& shape) {
  if (region.offset.rank() != shape.rank() || region.shape.rank() != shape.rank()) return false;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const std::int64_t begin = region.offset[axis];
    const std::int64_t n = region.shape[axis];
    if (begin < 0 || n < 0 || begin > shape[axis] || n > shape[axis] - begin) return false;
  }
  return true;
}

std::optional<Region> intersection(const Region& a, const Region& b) {
  Region common = a;
  for (int axis = 0; axis < a.shape.rank(); ++axis) {
    const std::int64_t begin = std::max(a.offset[axis], b.offset[axis]);
    const std::int64_t end =
        std::min(a.offset[axis] + a.shape[axis], b.offset[axis] + b.shape[axis]);
    if (begin >= end) return std::nullopt;
    common.offset[axis] = begin;
    common.shape[axis] = end - begin;
  }
  return common;
}

TensorView part_of(TensorView view, const Shape& origin, const Region& region) {
  for (int axis = 0; axis < region.shape.rank(); ++axis) {
    const std::int64_t begin = region.offset[axis] - origin[axis];
    view = view.slice(axis, begin, begin + region.shape[axis]);
  }
  return view;
}

void for_each_block(const Region& region, std::int64_t max_elements,
                    const std::function<void(const Region&)>& body) {
  if (region.shape.elements() > 0) cut(region, 0, max_elements, body);
}

std::string coverage_problem(const Shape& shape, std::span<const Region> regions) {
  std::int64_t covered = 0;
  for (const Region& region : regions) {
    if (!inside(region, shape)) {
      return str("the slice ", to_string(region), " lies outside of ", to_string(shape));
    }
    // Each slice alone fits the tensor, so that a sum past its size is found before it can overflow.
    covered += region.shape.elements();
    if (covered > shape.elements()) break;
  }
  if (shape.rank() > 0) {
    if (const auto pair = overlapping_pair(regions)) {
      return str("the slices ", to_string(regions[pair->first]), " and ",
                 to_string(regions[pair->second]), " overlap");
    }
  }
  if (covered != shape.elements()) {
    return str("its slices hold ", covered, " of ", shape.elements(), " elements");
  }
  return {};
}

std::string to_string(const Region& region) {
  return str(halo::to_string(region.shape), " at ", halo::to_string(region.offset));
}

std::string printable(std::string_view name) {
  constexpr std::size_t kLongest = 160;
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string text;
  for (const char c : name.substr(0, kLongest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      text += str("\\x", kHex[byte >> 4], kHex[byte & 15u]);
    } else {
      text += c;
    }
  }
  if (name.size() > kLongest) text += "...";
  return text;
}

}  // namespace halo::checkpoints
