// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_SMP_SHARED_H_
#define NVMX_CORE_SMP_SHARED_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "core/ports/cpu.h"

namespace nvmx {

// What the value of a cell means. An observer needs it to print the value, and to know which values
// change when CPUs are renumbered.
enum class CellKind : uint8_t {
  kNumber,  // a count or a flag
  kCpu,     // 0, or the index of a CPU + 1
  kLock,    // as kCpu: the holder
  kCpuSet,  // bit n is set for the CPU with index n
  kBlock,   // an object larger than a machine word, written only while all other CPUs are stopped
};

// Memory that more than one CPU, or one CPU and its NMI context, can touch. Everything of that kind
// in L0 is a cell: on metal a cell is an atomic, in the simulator each operation on one is also a
// point where another CPU may run or an NMI may be taken. Every operation names the CPU that
// performs it.
class SharedCell {
 public:
  SharedCell(const SharedCell&) = delete;
  SharedCell& operator=(const SharedCell&) = delete;

  const char* name() const { return name_; }
  CellKind kind() const { return kind_; }
  // The bytes of the value. For an observer that owns all CPUs; the core itself uses the
  // operations.
  std::span<std::byte> bytes() const { return {bytes_, size_}; }
  // The value of a cell that is no block.
  uint64_t Peek() const { return __atomic_load_n(word(), __ATOMIC_ACQUIRE); }

 protected:
  constexpr SharedCell(const char* name, CellKind kind, void* bytes, size_t size)
      : name_(name), kind_(kind), bytes_(static_cast<std::byte*>(bytes)), size_(size) {}
  ~SharedCell() = default;

 private:
  // Aligned as an atomic is, also where other numbers of 64 bits are not.
  using Word [[gnu::aligned(8)]] = uint64_t;
  Word* word() const { return reinterpret_cast<Word*>(bytes_); }

  const char* name_;
  CellKind kind_;
  std::byte* bytes_;
  size_t size_;
};

inline bool SpinCondition::Holds() const {
  return comparison == Comparison::kAtLeast ? cell->Peek() >= wanted : cell->Peek() == wanted;
}

// A number or flag of one machine word.
class Shared final : public SharedCell {
 public:
  explicit Shared(const char* name, CellKind kind = CellKind::kNumber)
      : SharedCell(name, kind, &value_, sizeof value_) {}

  // The value; acquires what the storing CPU released.
  uint64_t Load(Cpu& cpu) const {
    cpu.BeforeSharedAccess({this, SharedOperation::kLoad});
    return value_.load(std::memory_order_seq_cst);
  }
  // Sequentially consistent: the order of two stores to different cells is part of the quiesce
  // protocol.
  void Store(Cpu& cpu, uint64_t value) {
    cpu.BeforeSharedAccess({this, SharedOperation::kStore});
    value_.store(value, std::memory_order_seq_cst);
  }
  // Atomically adds (modulo 2^64). Returns nothing on purpose: a CPU that does not learn what
  // others added cannot come to depend on it, and an observer need not tell such states apart.
  void Add(Cpu& cpu, uint64_t addend) {
    cpu.BeforeSharedAccess({this, SharedOperation::kAdd});
    value_.fetch_add(addend, std::memory_order_seq_cst);
  }
  // Returns once the value equals `wanted`.
  void SpinUntilEquals(Cpu& cpu, uint64_t wanted) {
    cpu.SpinUntil({this, wanted, SpinCondition::Comparison::kEquals});
  }
  // Returns once the value is `wanted` or more.
  void SpinUntilAtLeast(Cpu& cpu, uint64_t wanted) {
    cpu.SpinUntil({this, wanted, SpinCondition::Comparison::kAtLeast});
  }

 private:
  friend class Lock;
  std::atomic<uint64_t> value_{0};
};

// A larger object. It may be written only by a CPU that has stopped all others (StoppedWorld proves
// it), so it needs no atomicity of its own.
template <typename T>
class SharedBlock final : public SharedCell {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  explicit SharedBlock(const char* name)
      : SharedCell(name, CellKind::kBlock, &value_, sizeof value_) {}

  // A copy of the object.
  T Load(Cpu& cpu) const {
    cpu.BeforeSharedAccess({this, SharedOperation::kLoad});
    return value_;
  }
  // Replaces the object. `Proof` is what only a CPU that has stopped all others owns.
  template <typename Proof>
  void Store(Cpu& cpu, const Proof&, const T& value) {
    static_assert(Proof::kAllOthersStopped);
    cpu.BeforeSharedAccess({this, SharedOperation::kStore});
    value_ = value;
  }

 private:
  T value_{};
};

}  // namespace nvmx

#endif  // NVMX_CORE_SMP_SHARED_H_
