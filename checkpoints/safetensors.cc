#include "checkpoints/safetensors.h"

#include "checkpoints/convert.h"
#include "checkpoints/regions.h"
#include "core/base/text.h"

namespace halo::checkpoints {

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : name_(path.string()), file_(path), header_(parse_safetensors_header(file_.bytes(), name_)) {
  for (std::size_t i = 0; i < header_.tensors.size(); ++i) index_[header_.tensors[i].name] = i;
}

bool SafetensorsFile::contains(std::string_view tensor) const {
  return index_.find(tensor) != index_.end();
}

const StoredTensor& SafetensorsFile::tensor(std::string_view tensor) const {
  const auto found = index_.find(tensor);
  if (found != index_.end()) return header_.tensors[found->second];
  std::vector<std::string> names;
  for (const StoredTensor& stored : header_.tensors) names.push_back(stored.name);
  const std::string nearest = nearest_name(tensor, names);
  throw InputError(str(name_, ": holds no tensor '", printable(tensor), "'",
                       nearest.empty() ? "" : str(" (did you mean '", printable(nearest), "'?)")));
}

std::span<const std::byte> SafetensorsFile::bytes(std::string_view name) const {
  const StoredTensor& stored = tensor(name);
  return file_.bytes().subspan(stored.begin, stored.end - stored.begin);
}

TensorView SafetensorsFile::view_of(const StoredTensor& stored) const {
  return {const_cast<std::byte*>(file_.bytes().data() + stored.begin), stored.dtype, stored.shape};
}

void SafetensorsFile::read(std::string_view name, const parallel::Region& region,
                           TensorView out) const {
  const StoredTensor& stored = tensor(name);
  const std::string place = str(name_, ": tensor '", printable(name), "'");
  HALO_REQUIRE_INPUT(
      inside(region, stored.shape),
      str(place, ": has shape ", halo::to_string(stored.shape), ", wanted ", to_string(region)));
  const TensorView all = view_of(stored);
  convert(out, part_of(all, parallel::whole(stored.shape).offset, region), place);
}

std::int64_t SafetensorsFile::count_nonfinite(std::string_view name) const {
  return nonfinite_elements(view_of(tensor(name)));
}

}  // namespace halo::checkpoints
