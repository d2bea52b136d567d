#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace halo {

/// Memory of one device that is handed out again instead of being returned to the system, so that a training step
/// allocates nothing after the first. Thread-safe but for the meta device's.
class Allocator {
 public:
  Allocator() = default;
  Allocator(const Allocator&) = delete;
  Allocator& operator=(const Allocator&) = delete;
  virtual ~Allocator() = default;

  /// At least `bytes`, aligned to 64 bytes; never null, also for 0. Throws Error when the device has no more.
  [[nodiscard]] virtual void* allocate(std::size_t bytes) = 0;
  virtual void release(void* memory, std::size_t bytes) noexcept = 0;

  [[nodiscard]] virtual std::size_t bytes_in_use() const = 0;
  [[nodiscard]] virtual std::size_t peak_bytes() const = 0;  // of bytes_in_use, since reset_peak
  virtual void reset_peak() = 0;
  /// How many bytes there may still be for this process, within its limit. Others may take them meanwhile.
  [[nodiscard]] virtual std::size_t available_bytes() const {
    return std::numeric_limits<std::size_t>::max();
  }
  /// Bytes in use that available_bytes counts up to; nothing is refused for it.
  virtual void set_limit(std::size_t /*bytes*/) {}
  /// Called when the device has no more, before allocate throws: says whether it released something. Empty: nothing is.
  virtual void on_shortage(std::function<bool()> /*release*/) {}
};

/// Memory that is given back at the end of a scope.
class AllocatorBlock {
 public:
  AllocatorBlock(Allocator& allocator, std::size_t bytes)
      : allocator_(allocator), bytes_(bytes), memory_(allocator.allocate(bytes)) {}
  AllocatorBlock(const AllocatorBlock&) = delete;
  AllocatorBlock& operator=(const AllocatorBlock&) = delete;
  ~AllocatorBlock() { allocator_.release(memory_, bytes_); }
  [[nodiscard]] std::byte* begin() const { return static_cast<std::byte*>(memory_); }

 private:
  Allocator& allocator_;
  std::size_t bytes_;
  void* memory_;
};

/// Keeps released blocks by size. Where blocks are used in the order of one stream, a block may be handed out again while
/// work that used it is still queued.
class CachingAllocator : public Allocator {
 public:
  using FreeBlocks = std::map<std::size_t, std::vector<void*>>;  // by rounded size

  /// Memory that work recorded once uses each time it runs. From its making until close() every block that is allocated
  /// is of the arena: it comes from the device, or was released since. One at a time.
  class Arena {
   public:
    explicit Arena(std::shared_ptr<CachingAllocator> allocator);
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;
    /// Gives the blocks to everybody: nothing that uses them may be queued any more.
    ~Arena();
    /// Ends the recording; the arena's blocks count as in use as long as it lives. Throws Error when something that was
    /// allocated since the beginning has not been released: it would be written over each time.
    void close();

   private:
    std::shared_ptr<CachingAllocator> allocator_;
    FreeBlocks blocks_;   // until close() the others', then the arena's own
    std::size_t in_use_;  // at the beginning
    std::size_t bytes_ = 0;
    bool open_ = true;
  };

  [[nodiscard]] void* allocate(std::size_t bytes) override;
  void release(void* memory, std::size_t bytes) noexcept override;
  [[nodiscard]] std::size_t bytes_in_use() const override;
  [[nodiscard]] std::size_t peak_bytes() const override;
  void reset_peak() override;
  [[nodiscard]] std::size_t available_bytes() const override;
  void set_limit(std::size_t bytes) override { limit_ = bytes; }
  void on_shortage(std::function<bool()> release) override { on_shortage_ = std::move(release); }

 protected:
  /// A block of the device's memory; null when there is none.
  [[nodiscard]] virtual void* obtain(std::size_t bytes) = 0;
  virtual void give_back(void* block) noexcept = 0;
  /// That the device has beside what was obtained.
  [[nodiscard]] virtual std::size_t more_bytes() const {
    return std::numeric_limits<std::size_t>::max();
  }
  /// Gives back every block that is not in use; for destructors, and before memory is said to be out.
  void trim() noexcept;

 private:
  [[nodiscard]] void* reuse(std::size_t size);
  [[nodiscard]] static std::size_t total(const FreeBlocks& blocks);

  mutable std::mutex mutex_;
  FreeBlocks free_;
  std::function<bool()> on_shortage_;
  bool recording_ = false;  // free blocks may belong to work that is recorded: they are kept
  std::size_t limit_ = std::numeric_limits<std::size_t>::max();
  std::size_t in_use_ = 0;
  std::size_t peak_ = 0;
};

/// Host memory. Blocks of 2 MiB and more are asked for as huge pages.
class CpuAllocator final : public CachingAllocator {
 public:
  ~CpuAllocator() override { trim(); }

 private:
  [[nodiscard]] void* obtain(std::size_t bytes) override;
  void give_back(void* block) noexcept override;
};

/// Counts what CpuAllocator would hand out. Its addresses lead nowhere, but no two live blocks overlap.
class MetaAllocator final : public Allocator {
 public:
  [[nodiscard]] void* allocate(std::size_t bytes) override;
  void release(void* memory, std::size_t bytes) noexcept override;
  [[nodiscard]] std::size_t bytes_in_use() const override { return in_use_; }
  [[nodiscard]] std::size_t peak_bytes() const override { return peak_; }
  void reset_peak() override { peak_ = in_use_; }

 private:
  std::uintptr_t next_ = std::uintptr_t{1} << 46;
  std::size_t in_use_ = 0;
  std::size_t peak_ = 0;
};

}  // namespace halo
