#include "checkpoints/manifest.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>
#include <set>

#include "checkpoints/manifest.pb.h"
#include "checkpoints/regions.h"
#include "core/base/crc32c.h"
#include "core/base/error.h"

namespace halo::checkpoints {
namespace {

using google::protobuf::TextFormat;

constexpr int kFormatVersion = 1;
constexpr std::size_t kLargestManifest = 256 << 20;
constexpr std::size_t kMostSlices = 1
                                    << 14;  // of one tensor: their overlaps are looked for in pairs
constexpr std::string_view kChecksumMark = "# crc32c ";
constexpr std::size_t kChecksumLine = kChecksumMark.size() + 8 + 1;

std::string checksum_line(std::string_view text) {
  char digits[16];
  std::snprintf(digits, sizeof digits, "%08x\n", crc32c(std::as_bytes(std::span(text))));
  return std::string(kChecksumMark) + digits;
}

std::string_view require_checksum(std::string_view text, const std::string& name) {
  HALO_REQUIRE_INPUT(text.size() <= kLargestManifest,
                     str(name, ": ", text.size(), " bytes, above the limit of ", kLargestManifest));
  HALO_REQUIRE_INPUT(
      text.size() >= kChecksumLine,
      str(name, ": ", text.size(), " bytes: truncated, its last line is a checksum"));
  const std::string_view body = text.substr(0, text.size() - kChecksumLine);
  HALO_REQUIRE_INPUT(text.substr(body.size()) == checksum_line(body),
                     str(name, ": its text does not match the checksum in its last line"));
  return body;
}

class FirstError final : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, int column, const std::string& message) override {
    if (reason_.empty()) reason_ = str("line ", line + 1, ", column ", column + 1, ": ", message);
  }
  [[nodiscard]] const std::string& reason() const { return reason_; }

 private:
  std::string reason_;
};

template <class Numbers>
void add_all(Numbers* to, const Shape& shape) {
  for (const std::int64_t n : shape.dims()) to->Add(n);
}

/// Nothing when the numbers make no shape of 1 to 5 axes that can be addressed.
template <class Numbers>
std::optional<Shape> shape_of(const Numbers& numbers) {
  const bool ok = !numbers.empty() && numbers.size() <= Shape::kMaxRank &&
                  std::all_of(numbers.begin(), numbers.end(), [](auto n) { return n >= 0; });
  if (!ok) return std::nullopt;
  return Shape(std::span(numbers.data(), static_cast<std::size_t>(numbers.size())));
}

void write_tensor(const CheckpointTensor& tensor, proto::Tensor* to) {
  to->set_name(tensor.name);
  add_all(to->mutable_shape(), tensor.shape);
  to->set_moments(tensor.moments);
}

CheckpointTensor read_tensor(const proto::Tensor& from, const std::string& name) {
  const auto shape = shape_of(from.shape());
  HALO_REQUIRE_INPUT(shape && addressable(*shape),
                     str(name, ": tensor '", printable(from.name()), "': has no usable shape"));
  return {from.name(), *shape, from.moments()};
}

void write_file_entry(const RankFileEntry& file, const std::vector<CheckpointTensor>& tensors,
                      proto::File* to) {
  to->set_name(file.name);
  to->set_bytes(file.bytes);
  to->set_crc32c(file.crc);
  to->set_processor(file.processor);
  for (const StoredSlice& slice : file.slices) {
    proto::Slice* entry = to->add_slice();
    entry->set_tensor(static_cast<std::int32_t>(slice.tensor));
    add_all(entry->mutable_offset(), slice.region.offset);
    add_all(entry->mutable_shape(), slice.region.shape);
    const std::size_t stored = tensors[slice.tensor].moments ? 3 : 1;
    for (std::size_t i = 0; i < stored; ++i) entry->add_crc32c(slice.crc[i]);
  }
}

RankFileEntry read_file_entry(const proto::File& from, const std::vector<CheckpointTensor>& tensors,
                              const std::string& name) {
  RankFileEntry file{from.name(), from.bytes(), from.crc32c(), from.processor(), {}};
  const std::string where = str(name, ": file '", printable(file.name), "': ");
  HALO_REQUIRE_INPUT(file.bytes >= 0, str(where, file.bytes, " bytes"));
  for (const proto::Slice& entry : from.slice()) {
    const auto tensor = static_cast<std::size_t>(entry.tensor());
    HALO_REQUIRE_INPUT(entry.tensor() >= 0 && tensor < tensors.size(),
                       str(where, "a slice of tensor ", entry.tensor(), " of ", tensors.size()));
    const auto offset = shape_of(entry.offset());
    const auto shape = shape_of(entry.shape());
    const int expected = tensors[tensor].moments ? 3 : 1;
    HALO_REQUIRE_INPUT(offset && shape && entry.crc32c_size() == expected,
                       str(where, "a slice of '", printable(tensors[tensor].name),
                           "' without a usable offset, shape or ", expected, " checksums"));
    StoredSlice slice{tensor, {*offset, *shape}, {}};
    std::copy(entry.crc32c().begin(), entry.crc32c().end(), slice.crc.begin());
    file.slices.push_back(slice);
  }
  return file;
}

void write_info(const CheckpointInfo& info, proto::Manifest& to) {
  to.set_step(info.step);
  to.set_adam_steps(info.adam_steps);
  to.set_stage(info.stage);
  to.set_dtype(std::string(dtype_name(info.dtype)));
  to.set_config(info.config_text);
  for (const auto& [begin, end] : info.skipped) {
    proto::Range* range = to.add_skipped();
    range->set_begin(begin);
    range->set_end(end);
  }
  for (const auto& [key, value] : info.notes) {
    proto::Note* note = to.add_note();
    note->set_key(key);
    note->set_value(value);
  }
}

CheckpointInfo read_info(const proto::Manifest& from, const std::string& name) {
  CheckpointInfo info{from.step(), from.adam_steps(), from.config(), from.stage(), {}, {}, {}};
  HALO_REQUIRE_INPUT(info.step >= 0 && info.adam_steps >= 0,
                     str(name, ": step ", info.step, ", adam_steps ", info.adam_steps));
  const bool wide = from.dtype() == dtype_name(DType::kFloat64);
  HALO_REQUIRE_INPUT(
      wide || from.dtype() == dtype_name(DType::kFloat32),
      str(name, ": dtype '", printable(from.dtype()), "' is neither float32 nor float64"));
  info.dtype = wide ? DType::kFloat64 : DType::kFloat32;
  for (const proto::Range& range : from.skipped()) {
    HALO_REQUIRE_INPUT(0 <= range.begin() && range.begin() <= range.end(),
                       str(name, ": skipped steps from ", range.begin(), " to ", range.end()));
    info.skipped.emplace_back(range.begin(), range.end());
  }
  for (const proto::Note& note : from.note()) info.notes[note.key()] = note.value();
  return info;
}

/// Of files in a checkpoint's folder and of groups in an HDF5 file.
bool is_path_component(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

}  // namespace

std::string_view which_name(Which which) {
  constexpr std::array<std::string_view, 3> kNames = {"master", "m", "v"};
  return kNames[static_cast<std::size_t>(which)];
}

std::string to_bytes(const RankReport& report) {
  proto::Manifest message;
  for (const CheckpointTensor& tensor : report.tensors) write_tensor(tensor, message.add_tensor());
  write_file_entry(report.file, report.tensors, message.add_file());
  return message.SerializeAsString();
}

RankReport rank_report_from_bytes(std::string_view bytes) {
  const std::string name = "a rank's report";
  proto::Manifest message;
  HALO_REQUIRE(message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) &&
                   message.file_size() == 1,
               "a rank's report of its checkpoint file arrived damaged");
  RankReport report;
  for (const proto::Tensor& tensor : message.tensor()) {
    report.tensors.push_back(read_tensor(tensor, name));
  }
  report.file = read_file_entry(message.file(0), report.tensors, name);
  return report;
}

Manifest merge(const CheckpointInfo& info, std::span<const RankReport> reports) {
  std::map<std::string, CheckpointTensor> tensors;
  for (const RankReport& report : reports) {
    for (const CheckpointTensor& tensor : report.tensors) {
      const CheckpointTensor& known = tensors.emplace(tensor.name, tensor).first->second;
      HALO_REQUIRE(known.shape == tensor.shape && known.moments == tensor.moments,
                   str("ranks disagree about '", printable(tensor.name),
                       "': ", halo::to_string(known.shape), " and ", halo::to_string(tensor.shape),
                       known.moments != tensor.moments ? ", with moments and without" : ""));
    }
  }
  Manifest manifest{info, {}, {}};
  std::map<std::string_view, std::size_t> index;
  for (const auto& [name, tensor] : tensors) {
    index[name] = manifest.tensors.size();
    manifest.tensors.push_back(tensor);
  }
  for (const RankReport& report : reports) {
    manifest.files.push_back(report.file);
    for (StoredSlice& slice : manifest.files.back().slices) {
      slice.tensor = index.at(report.tensors[slice.tensor].name);
    }
  }
  return manifest;
}

std::string to_text(const Manifest& manifest) {
  proto::Manifest message;
  message.set_format_version(kFormatVersion);
  write_info(manifest.info, message);
  for (const CheckpointTensor& tensor : manifest.tensors) {
    write_tensor(tensor, message.add_tensor());
  }
  for (const RankFileEntry& file : manifest.files) {
    write_file_entry(file, manifest.tensors, message.add_file());
  }
  TextFormat::Printer printer;
  printer.SetUseShortRepeatedPrimitives(true);
  std::string text;
  HALO_REQUIRE(printer.PrintToString(message, &text), "a manifest could not be written as text");
  return text + checksum_line(text);
}

Manifest parse_manifest(std::string_view text, const std::string& name) {
  const std::string_view body = require_checksum(text, name);
  proto::Manifest message;
  TextFormat::Parser parser;
  FirstError error;
  parser.RecordErrorsTo(&error);
  const bool ok = parser.ParseFromString(std::string(body), &message);
  HALO_REQUIRE_INPUT(ok, str(name, ": ", printable(error.reason())));
  HALO_REQUIRE_INPUT(message.format_version() == kFormatVersion,
                     str(name, ": format_version ", message.format_version(),
                         ", this program reads ", kFormatVersion));
  Manifest manifest{read_info(message, name), {}, {}};
  for (const proto::Tensor& tensor : message.tensor()) {
    manifest.tensors.push_back(read_tensor(tensor, name));
  }
  for (const proto::File& file : message.file()) {
    manifest.files.push_back(read_file_entry(file, manifest.tensors, name));
  }
  require_complete(manifest, name);
  return manifest;
}

void require_complete(const Manifest& manifest, const std::string& name) {
  std::set<std::string_view> names;
  std::vector<std::vector<parallel::Region>> regions(manifest.tensors.size());
  for (const RankFileEntry& file : manifest.files) {
    HALO_REQUIRE_INPUT(
        is_path_component(file.name) && names.insert(file.name).second,
        str(name, ": file '", printable(file.name), "': a name used twice or unfit for a file"));
    for (const StoredSlice& slice : file.slices) {
      regions[slice.tensor].push_back(slice.region);
    }
  }
  names.clear();
  for (std::size_t i = 0; i < manifest.tensors.size(); ++i) {
    const CheckpointTensor& tensor = manifest.tensors[i];
    const std::string where = str(name, ": tensor '", printable(tensor.name), "': ");
    HALO_REQUIRE_INPUT(is_path_component(tensor.name) && names.insert(tensor.name).second,
                       str(where, "a name used twice or unfit for a tensor"));
    HALO_REQUIRE_INPUT(regions[i].size() <= kMostSlices,
                       str(where, regions[i].size(), " slices, above the limit of ", kMostSlices));
    const std::string problem = coverage_problem(tensor.shape, regions[i]);
    HALO_REQUIRE_INPUT(problem.empty(), str(where, problem));
  }
}

}  // namespace halo::checkpoints
