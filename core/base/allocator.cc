#include "core/base/allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>

#include "core/base/error.h"

namespace halo {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

/// Sizes are rounded up to eighths of a power of two, so that at most one eighth is lost and blocks are found again.
std::size_t rounded(std::size_t bytes) {
  const std::size_t wanted = std::max<std::size_t>(bytes, 64);
  const std::size_t step = std::max<std::size_t>(std::bit_floor(wanted) / 8, 64);
  return (wanted + step - 1) / step * step;
}

}  // namespace

void* CachingAllocator::reuse(std::size_t size) {
  const std::lock_guard lock(mutex_);
  in_use_ += size;
  peak_ = std::max(peak_, in_use_);
  auto& blocks = free_[size];
  if (blocks.empty()) return nullptr;
  void* const block = blocks.back();
  blocks.pop_back();
  return block;
}

void* CachingAllocator::allocate(std::size_t bytes) {
  const std::size_t size = rounded(bytes);
  if (void* const block = reuse(size)) return block;
  if (void* const block = obtain(size)) return block;
  while (!recording_) {
    trim();
    if (void* const block = obtain(size)) return block;
    if (!on_shortage_ || !on_shortage_()) break;
  }
  const std::lock_guard lock(mutex_);
  in_use_ -= size;
  throw Error(str("out of memory: ", bytes, " bytes wanted with ", in_use_, " in use"));
}

void CachingAllocator::release(void* memory, std::size_t bytes) noexcept {
  const std::size_t size = rounded(bytes);
  const std::lock_guard lock(mutex_);
  in_use_ -= size;
  free_[size].push_back(memory);
}

void CachingAllocator::trim() noexcept {
  const std::lock_guard lock(mutex_);
  for (auto& [size, blocks] : free_) {
    for (void* block : blocks) give_back(block);
    blocks.clear();
  }
}

std::size_t CachingAllocator::bytes_in_use() const {
  const std::lock_guard lock(mutex_);
  return in_use_;
}

std::size_t CachingAllocator::peak_bytes() const {
  const std::lock_guard lock(mutex_);
  return peak_;
}

std::size_t CachingAllocator::available_bytes() const {
  const std::lock_guard lock(mutex_);
  const std::size_t cached = total(free_);
  const std::size_t more = more_bytes(), within = limit_ > in_use_ ? limit_ - in_use_ : 0;
  return std::min(within,
                  more > std::numeric_limits<std::size_t>::max() - cached ? more : more + cached);
}

std::size_t CachingAllocator::total(const FreeBlocks& blocks) {
  std::size_t bytes = 0;
  for (const auto& [size, of_size] : blocks) bytes += size * of_size.size();
  return bytes;
}

void CachingAllocator::reset_peak() {
  const std::lock_guard lock(mutex_);
  peak_ = in_use_;
}

CachingAllocator::Arena::Arena(std::shared_ptr<CachingAllocator> allocator)
    : allocator_(std::move(allocator)) {
  allocator_->trim();
  const std::lock_guard lock(allocator_->mutex_);
  blocks_.swap(allocator_->free_);
  in_use_ = allocator_->in_use_;
  allocator_->recording_ = true;
}

void CachingAllocator::Arena::close() {
  const std::lock_guard lock(allocator_->mutex_);
  HALO_REQUIRE(allocator_->in_use_ == in_use_,
               "memory that was allocated while work was recorded is still in use");
  blocks_.swap(allocator_->free_);
  open_ = allocator_->recording_ = false;
  bytes_ = total(blocks_);
  allocator_->in_use_ += bytes_;
  allocator_->peak_ = std::max(allocator_->peak_, allocator_->in_use_);
}

CachingAllocator::Arena::~Arena() {
  const std::lock_guard lock(allocator_->mutex_);
  if (open_) allocator_->recording_ = false;
  for (auto& [size, blocks] : blocks_) {
    auto& free = allocator_->free_[size];
    free.insert(free.end(), blocks.begin(), blocks.end());
  }
  allocator_->in_use_ -= bytes_;
}

void* CpuAllocator::obtain(std::size_t bytes) {
  const bool huge = bytes >= kHugePage;
  const std::size_t alignment = huge ? kHugePage : 64;
  void* const block =
      std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (huge && block != nullptr) madvise(block, bytes, MADV_HUGEPAGE);  // advice only
  return block;
}

void CpuAllocator::give_back(void* block) noexcept { std::free(block); }

void* MetaAllocator::allocate(std::size_t bytes) {
  const std::size_t size = rounded(bytes);
  in_use_ += size;
  peak_ = std::max(peak_, in_use_);
  void* const block = reinterpret_cast<void*>(next_);
  next_ += size;
  return block;
}

void MetaAllocator::release(void* /*memory*/, std::size_t bytes) noexcept {
  in_use_ -= rounded(bytes);
}

}  // namespace halo
