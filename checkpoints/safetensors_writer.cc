#include "checkpoints/safetensors_writer.h"

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "checkpoints/convert.h"
#include "checkpoints/output_file.h"
#include "checkpoints/regions.h"
#include "checkpoints/safetensors.h"
#include "core/base/error.h"

namespace halo::checkpoints {
namespace {

constexpr std::int64_t kBlockBytes = 8 << 20;

std::vector<const OutputTensor*> in_file_order(std::span<const OutputTensor> tensors) {
  std::vector<const OutputTensor*> order;
  std::set<std::string_view> names;
  for (const OutputTensor& tensor : tensors) {
    HALO_REQUIRE(names.insert(tensor.name).second && tensor.name != "__metadata__",
                 str("two tensors named '", printable(tensor.name), "'"));
    HALO_REQUIRE(addressable(tensor.shape), str("a tensor of ", halo::to_string(tensor.shape)));
    HALO_REQUIRE(tensor.fill || tensor.data.shape == tensor.shape,
                 str("'", printable(tensor.name), "' is ", halo::to_string(tensor.shape),
                     ", its data ", halo::to_string(tensor.data.shape)));
    order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(), [](const OutputTensor* a, const OutputTensor* b) {
    const std::size_t size_a = dtype_size(a->dtype);
    const std::size_t size_b = dtype_size(b->dtype);
    return size_a != size_b ? size_a > size_b : a->name < b->name;
  });
  return order;
}

std::string header_text(std::span<const OutputTensor* const> order,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::int64_t begin = 0;
  for (const OutputTensor* tensor : order) {
    const std::int64_t end =
        begin + tensor->shape.elements() * static_cast<std::int64_t>(dtype_size(tensor->dtype));
    auto& entry = header[tensor->name];
    entry["dtype"] = safetensors_dtype(tensor->dtype);
    entry["shape"] =
        std::vector<std::int64_t>(tensor->shape.dims().begin(), tensor->shape.dims().end());
    entry["data_offsets"] = {begin, end};
    begin = end;
  }
  try {
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');  // the data begins aligned to 8 bytes
    return text;
  } catch (const nlohmann::json::exception& error) {  // a name that is not UTF-8
    throw Error(str("a safetensors header: ", error.what()));
  }
}

void write_tensor(OutputFile& file, const OutputTensor& tensor, std::vector<std::byte>& buffer) {
  const auto element = static_cast<std::int64_t>(dtype_size(tensor.dtype));
  const parallel::Region all = parallel::whole(tensor.shape);
  for_each_block(all, kBlockBytes / element, [&](const parallel::Region& block) {
    const auto bytes = static_cast<std::size_t>(block.shape.elements() * element);
    buffer.resize(std::max(buffer.size(), bytes));
    const TensorView out(buffer.data(), tensor.dtype, block.shape);
    if (tensor.fill) {
      tensor.fill(block, out);
    } else {
      convert(out, part_of(tensor.data, all.offset, block), tensor.name);
    }
    HALO_REQUIRE_INPUT(tensor.dtype != DType::kFloat16 || nonfinite_elements(out) == 0,
                       str(tensor.name,
                           ": holds values that float16 has not: write bfloat16 or "
                           "float32"));
    file.write(std::span(buffer).first(bytes));
  });
}

}  // namespace

std::map<std::string, std::string> default_metadata() { return {{"format", "pt"}}; }

void write_safetensors(const std::filesystem::path& path, std::span<const OutputTensor> tensors,
                       const std::map<std::string, std::string>& metadata) {
  const std::vector<const OutputTensor*> order = in_file_order(tensors);
  const std::string header = header_text(order, metadata);
  AtomicOutputFile output(path);
  static_assert(std::endian::native == std::endian::little, "the length is little-endian");
  const std::uint64_t length = header.size();
  output.file().write(std::as_bytes(std::span(&length, 1)));
  output.file().write(std::as_bytes(std::span(header)));
  std::vector<std::byte> buffer;
  for (const OutputTensor* tensor : order) write_tensor(output.file(), *tensor, buffer);
  output.commit();
}

}  // namespace halo::checkpoints
