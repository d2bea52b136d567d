#include "core/base/allocator.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "core/base/error.h"

namespace halo {
namespace {

/// Two blocks at once, the first released again: what recorded work might do.
std::set<void*> use(Allocator& allocator) {
  void* const a = allocator.allocate(1000);
  void* const b = allocator.allocate(5000);
  allocator.release(a, 1000);
  void* const again = allocator.allocate(1000);
  EXPECT_EQ(again, a);
  allocator.release(b, 5000);
  allocator.release(again, 1000);
  return {a, b};
}

TEST(AllocatorTest, AnArenasBlocksAreNobodyElsesUntilItGoes) {
  const auto allocator = std::make_shared<CpuAllocator>();
  static_cast<void>(use(*allocator));
  std::set<void*> recorded;
  {
    CachingAllocator::Arena arena(allocator);
    recorded = use(*allocator);
    arena.close();
    EXPECT_GE(allocator->bytes_in_use(), 6000U) << "they are the graph's";
    for (void* const block : use(*allocator)) EXPECT_FALSE(recorded.contains(block));
  }
  EXPECT_EQ(allocator->bytes_in_use(), 0U);
  int back = 0;
  for (void* const block : use(*allocator)) back += recorded.contains(block) ? 1 : 0;
  EXPECT_GT(back, 0);
}

TEST(AllocatorTest, MemoryThatOutlivesARecordingIsRefused) {
  const auto allocator = std::make_shared<CpuAllocator>();
  void* kept = nullptr;
  {
    CachingAllocator::Arena arena(allocator);
    kept = allocator->allocate(100);
    EXPECT_THROW(arena.close(), Error);
  }
  allocator->release(kept, 100);
  EXPECT_EQ(allocator->bytes_in_use(), 0U);
}

/// Has room for `limit` bytes.
class SmallAllocator final : public CachingAllocator {
 public:
  explicit SmallAllocator(std::size_t limit) : room_(limit) {}
  ~SmallAllocator() override { trim(); }
  [[nodiscard]] std::size_t room() const { return room_; }

 private:
  static constexpr std::size_t kBlock = 1024;
  void* obtain(std::size_t bytes) override {
    EXPECT_EQ(bytes, kBlock);
    if (room_ < kBlock) return nullptr;
    room_ -= kBlock;
    return std::malloc(kBlock);
  }
  void give_back(void* block) noexcept override {
    room_ += kBlock;
    std::free(block);
  }
  std::size_t room_;
};

/// What recorded work has used and released is its own: it is not given back to make room.
TEST(AllocatorTest, AShortageWhileRecordingIsAnError) {
  const auto allocator = std::make_shared<SmallAllocator>(2048);
  int told = 0;
  allocator->on_shortage([&] { return ++told > 0; });
  {
    CachingAllocator::Arena arena(allocator);
    void* const first = allocator->allocate(1024);
    allocator->release(allocator->allocate(1024), 1024);
    void* const second = allocator->allocate(1024);
    EXPECT_THROW(static_cast<void>(allocator->allocate(1024)), Error);
    allocator->release(first, 1024);
    allocator->release(second, 1024);
    EXPECT_EQ(allocator->room(), 0U);
  }
  EXPECT_EQ(told, 0);
  allocator->on_shortage({});
  void* const block = allocator->allocate(1024);
  allocator->release(block, 1024);
}

TEST(AllocatorTest, AShortageIsToldBeforeItIsAnError) {
  const auto allocator = std::make_shared<SmallAllocator>(2048);
  auto arena = std::make_unique<CachingAllocator::Arena>(allocator);
  allocator->release(allocator->allocate(1024), 1024);
  arena->close();
  int told = 0;
  allocator->on_shortage([&] {
    ++told;
    if (arena == nullptr) return false;
    arena.reset();
    return true;
  });
  void* const first = allocator->allocate(1024);
  EXPECT_EQ(told, 0);
  void* const second = allocator->allocate(1024);
  EXPECT_EQ(told, 1);
  EXPECT_THROW(static_cast<void>(allocator->allocate(1024)), Error);
  EXPECT_EQ(told, 2);
  allocator->release(first, 1024);
  allocator->release(second, 1024);
}

}  // namespace
}  // namespace halo
