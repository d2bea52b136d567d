#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace halo::data {

/// Remembers the ids of short pieces of text in 4 MiB, so that frequent words are merged once. Each piece has one place;
/// a newcomer takes it from whoever is there. Used by one thread at a time.
class PieceCache {
 public:
  static constexpr std::size_t kMaxBytes = 30;
  static constexpr std::size_t kMaxIds = 8;

  PieceCache() : slots_(std::size_t{1} << kBits) {}

  /// The ids of `piece`; empty when it is not here. Valid until the next insert.
  [[nodiscard]] std::span<const std::int32_t> find(std::string_view piece) const {
    if (piece.size() > kMaxBytes) return {};
    const Slot& slot = slots_[place(piece)];
    if (slot.bytes != piece.size() || std::memcmp(slot.piece, piece.data(), piece.size()) != 0) {
      return {};
    }
    return {slot.ids, slot.count};
  }

  /// Does nothing for a piece that is too long or has too many ids. `piece` is not empty.
  void insert(std::string_view piece, std::span<const std::int32_t> ids) {
    if (piece.size() > kMaxBytes || ids.size() > kMaxIds) return;
    Slot& slot = slots_[place(piece)];
    slot.bytes = static_cast<std::uint8_t>(piece.size());
    slot.count = static_cast<std::uint8_t>(ids.size());
    std::memcpy(slot.piece, piece.data(), piece.size());
    std::copy(ids.begin(), ids.end(), slot.ids);
  }

 private:
  static constexpr int kBits = 16;
  struct alignas(64) Slot {  // one cache line
    std::uint8_t bytes = 0;
    std::uint8_t count = 0;
    char piece[kMaxBytes] = {};
    std::int32_t ids[kMaxIds] = {};
  };

  static std::size_t place(std::string_view piece) {
    std::uint64_t hash = piece.size();
    while (piece.size() > 8) {
      hash = mix(hash, word(piece.substr(0, 8)));
      piece.remove_prefix(8);
    }
    return static_cast<std::size_t>(mix(hash, word(piece)) >> (64 - kBits));
  }
  static std::uint64_t word(std::string_view bytes) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data(), bytes.size());
    return value;
  }
  static std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
    hash = (hash ^ value) * 0x9E3779B97F4A7C15u;
    return hash ^ (hash >> 32);
  }

  std::vector<Slot> slots_;
};

}  // namespace halo::data
