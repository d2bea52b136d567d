#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "checkpoints/json_events.h"
#include "checkpoints/regions.h"
#include "checkpoints/safetensors.h"

namespace halo::checkpoints {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

constexpr std::size_t kLengthBytes = 8;
constexpr std::uint64_t kLargestHeader = 100'000'000;  // the reference implementation's limit

struct DTypeName {
  std::string_view name;
  DType dtype;
};
constexpr std::array<DTypeName, 9> kDTypes = {{{"F64", DType::kFloat64},
                                               {"F32", DType::kFloat32},
                                               {"BF16", DType::kBFloat16},
                                               {"F16", DType::kFloat16},
                                               {"I64", DType::kInt64},
                                               {"I32", DType::kInt32},
                                               {"U32", DType::kUint32},
                                               {"U16", DType::kUint16},
                                               {"U8", DType::kUint8}}};

/// Builds the header from the JSON's events, so that a hostile header never becomes a tree in memory.
class HeaderEvents final : public JsonEvents {
 public:
  explicit HeaderEvents(SafetensorsHeader& header) : header_(header) {}

  bool start_object(std::size_t) override {
    if (place_ == Place::kOutside) return enter(Place::kRoot);
    if (place_ == Place::kRoot && tensor_name_) {
      entry_ = {};
      has_dtype_ = has_shape_ = has_offsets_ = false;
      return enter(Place::kEntry);
    }
    if (place_ == Place::kRoot) return enter(Place::kMetadata);
    return refuse("an object");
  }

  bool key(std::string& text) override {
    key_ = text;
    if (place_ == Place::kMetadata) {
      if (header_.metadata.contains(text)) return reject(str("'", printable(text), "' twice"));
      return true;
    }
    if (place_ == Place::kRoot) {
      if (!names_.insert(text).second) return reject(str("'", printable(text), "' twice"));
      tensor_name_.reset();
      if (text != "__metadata__") tensor_name_ = text;
      return true;
    }
    const bool again = (text == "dtype" && has_dtype_) || (text == "shape" && has_shape_) ||
                       (text == "data_offsets" && has_offsets_);
    if (again) return reject(str(where(), "'", text, "' twice"));
    if (text != "dtype" && text != "shape" && text != "data_offsets") {
      return reject(str(where(), "unknown field '", printable(text), "'"));
    }
    return true;
  }

  bool string(std::string& text) override {
    if (place_ == Place::kMetadata) {
      header_.metadata[key_] = text;
      return true;
    }
    if (place_ != Place::kEntry || key_ != "dtype") return refuse("a string");
    const auto* found = std::find_if(kDTypes.begin(), kDTypes.end(),
                                     [&](const DTypeName& known) { return known.name == text; });
    if (found == kDTypes.end()) {
      return reject(str(where(), "dtype '", printable(text),
                        "' is none of F64 F32 BF16 F16 I64 I32 U32 U16 U8"));
    }
    entry_.dtype = found->dtype;
    return has_dtype_ = true;
  }

  bool start_array(std::size_t) override {
    numbers_.clear();
    if (place_ != Place::kEntry || key_ == "dtype") return refuse("an array");
    return enter(Place::kNumbers);
  }

  bool number_unsigned(std::uint64_t value) override {
    if (place_ != Place::kNumbers) return refuse("a number");
    numbers_.push_back(value);
    if (numbers_.size() > Shape::kMaxRank && key_ == "shape") {
      return reject(str(where(), "a shape of more than ", Shape::kMaxRank, " axes"));
    }
    if (numbers_.size() > 2 && key_ == "data_offsets") {
      return reject(str(where(), "more than two data_offsets"));
    }
    return true;
  }

  bool end_array() override {
    place_ = Place::kEntry;
    return key_ == "shape" ? take_shape() : take_offsets();
  }

  bool end_object() override {
    if (place_ == Place::kEntry) {
      if (!has_dtype_ || !has_shape_ || !has_offsets_) {
        return reject(str(where(), "needs dtype, shape and data_offsets"));
      }
      entry_.name = *tensor_name_;
      header_.tensors.push_back(entry_);
    }
    place_ = place_ == Place::kRoot ? Place::kOutside : Place::kRoot;
    return true;
  }

 protected:
  bool refuse(std::string_view what) override {
    return reject(str(where(), "holds ", what, " where none belongs"));
  }

 private:
  enum class Place { kOutside, kRoot, kMetadata, kEntry, kNumbers };

  bool enter(Place place) {
    place_ = place;
    return true;
  }
  [[nodiscard]] std::string where() const {
    if (tensor_name_ && place_ != Place::kOutside) {
      return str("tensor '", printable(*tensor_name_), "': ");
    }
    return place_ == Place::kMetadata ? "__metadata__: " : "header: ";
  }

  bool take_shape() {
    std::array<std::int64_t, Shape::kMaxRank> dims{};
    for (std::size_t i = 0; i < numbers_.size(); ++i) {
      if (numbers_[i] > std::uint64_t{INT64_MAX}) {
        return reject(str(where(), "an axis of ", numbers_[i], " elements"));
      }
      dims[i] = static_cast<std::int64_t>(numbers_[i]);
    }
    entry_.shape = Shape(std::span<const std::int64_t>(dims.data(), numbers_.size()));
    if (!addressable(entry_.shape)) {
      return reject(
          str(where(), "shape ", halo::to_string(entry_.shape), " overflows 64 bits of bytes"));
    }
    return has_shape_ = true;
  }

  bool take_offsets() {
    if (numbers_.size() != 2) return reject(str(where(), "data_offsets are not two numbers"));
    entry_.begin = numbers_[0];
    entry_.end = numbers_[1];
    return has_offsets_ = true;
  }

  SafetensorsHeader& header_;
  Place place_ = Place::kOutside;
  std::optional<std::string> tensor_name_;
  std::string key_;
  std::set<std::string> names_;
  StoredTensor entry_;
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  std::vector<std::uint64_t> numbers_;
};

/// Offsets, still relative to the data, become the file's; each is checked before it is used.
void place_tensors(SafetensorsHeader& header, std::size_t data_begin, std::size_t data_bytes,
                   const std::string& name) {
  for (const StoredTensor& tensor : header.tensors) {
    const std::string where = str(name, ": tensor '", printable(tensor.name), "': ");
    HALO_REQUIRE_INPUT(tensor.begin <= tensor.end && tensor.end <= data_bytes,
                       str(where, "data_offsets [", tensor.begin, ", ", tensor.end,
                           "] lie outside of the ", data_bytes, " data bytes"));
    const auto bytes = static_cast<std::size_t>(tensor.shape.elements()) * dtype_size(tensor.dtype);
    HALO_REQUIRE_INPUT(tensor.end - tensor.begin == bytes,
                       str(where, "data_offsets hold ", tensor.end - tensor.begin, " bytes, but ",
                           halo::to_string(tensor.shape), " of ", safetensors_dtype(tensor.dtype),
                           " needs ", bytes));
  }
  std::sort(header.tensors.begin(), header.tensors.end(),
            [](const StoredTensor& a, const StoredTensor& b) {
              return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
            });
  std::size_t expected = 0;
  for (StoredTensor& tensor : header.tensors) {
    HALO_REQUIRE_INPUT(tensor.begin == expected,
                       str(name, ": tensor '", printable(tensor.name), "': begins at data byte ",
                           tensor.begin, ", ",
                           tensor.begin < expected ? "within the tensor before, which ends at "
                                                   : "after a hole from ",
                           expected));
    expected = tensor.end;
    tensor.begin += data_begin;
    tensor.end += data_begin;
  }
  HALO_REQUIRE_INPUT(expected == data_bytes,
                     str(name, ": the tensors end at data byte ", expected, " of ", data_bytes));
}

}  // namespace

std::string_view safetensors_dtype(DType dtype) {
  for (const DTypeName& known : kDTypes) {
    if (known.dtype == dtype) return known.name;
  }
  throw Error(str("safetensors files hold no ", dtype_name(dtype)));
}

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file,
                                           const std::string& name) {
  HALO_REQUIRE_INPUT(file.size() >= kLengthBytes,
                     str(name, ": header: a safetensors file begins ",
                         "with 8 bytes of length, this one has ", file.size()));
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  HALO_REQUIRE_INPUT(length <= kLargestHeader,
                     str(name, ": header: a length of ", length, " bytes, above the limit of ",
                         kLargestHeader, " (is this a safetensors file?)"));
  HALO_REQUIRE_INPUT(length <= file.size() - kLengthBytes,
                     str(name, ": header: ", length, " bytes announced, but the file has only ",
                         file.size() - kLengthBytes, " after the length (truncated?)"));
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kLengthBytes, length);
  HALO_REQUIRE_INPUT(text.starts_with('{'), str(name, ": header: does not begin with '{'"));
  SafetensorsHeader header;
  HeaderEvents events(header);
  parse_json_events(text, events, name);
  const std::size_t data_begin = kLengthBytes + length;
  place_tensors(header, data_begin, file.size() - data_begin, name);
  return header;
}

}  // namespace halo::checkpoints
