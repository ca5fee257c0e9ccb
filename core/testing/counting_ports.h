// SPDX-License-Identifier: Apache-2.0
//
// The six ports in memory, as light as they can be: each call is counted and costs next to nothing
// otherwise, so that what a benchmark measures is the core.
#ifndef NVMX_CORE_TESTING_COUNTING_PORTS_H_
#define NVMX_CORE_TESTING_COUNTING_PORTS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "core/ports/ports.h"
#include "core/smp/shared.h"
#include "core/vmx/vmcs_image.h"

namespace nvmx {

// The calls that are told apart.
enum class PortCall : uint8_t {
  kVmread,
  kVmwrite,
  kVmptrld,
  kMemoryRead,
  kMemoryWrite,
  kMemoryBytes,  // not calls, but how many bytes those two moved
  kRdmsr,
  kWrmsr,
  kInvalidate,
  kSharedAccess,
  kRdtsc,
  kOther,
};
inline constexpr size_t kPortCallKinds = 12;
constexpr const char* Name(PortCall call) {
  constexpr std::array<const char*, kPortCallKinds> kNames = {
      "VMREAD", "VMWRITE", "VMPTRLD", "mem-rd", "mem-wr", "bytes",
      "RDMSR",  "WRMSR",   "INVEPT",  "shared", "RDTSC",  "other"};
  return kNames[static_cast<size_t>(call)];
}

// How often each was called.
struct PortCalls {
  std::array<uint64_t, kPortCallKinds> counts{};

  uint64_t& operator[](PortCall call) { return counts[static_cast<size_t>(call)]; }
  uint64_t operator[](PortCall call) const { return counts[static_cast<size_t>(call)]; }
};

// RDMSR and WRMSR reach the MSRs 0 - 1FFFH and C0000000H - C0001FFFH, 0 at first; others raise #GP.
class CountingCpu final : public Cpu {
 public:
  explicit CountingCpu(PortCalls& calls) : calls_(calls) {}

  CpuIndex Index() const override { return 0; }
  std::optional<uint64_t> ReadMsr(uint32_t msr) override {
    ++calls_[PortCall::kRdmsr];
    const uint64_t* place = Find(msr);
    return place != nullptr ? std::optional(*place) : std::nullopt;
  }
  bool WriteMsr(uint32_t msr, uint64_t value) override {
    ++calls_[PortCall::kWrmsr];
    uint64_t* place = Find(msr);
    if (place != nullptr) *place = value;
    return place != nullptr;
  }
  CpuidRegisters Cpuid(uint32_t, uint32_t) override {
    ++calls_[PortCall::kOther];
    return {};
  }
  void UnblockNmi() override { ++calls_[PortCall::kOther]; }
  void Invalidate(const Invalidation&) override { ++calls_[PortCall::kInvalidate]; }
  void WriteXcr0(uint64_t) override { ++calls_[PortCall::kOther]; }
  void WriteCacheControl(uint64_t) override { ++calls_[PortCall::kOther]; }
  void BeforeSharedAccess(const SharedAccess&) override { ++calls_[PortCall::kSharedAccess]; }
  // There is no other CPU: what is waited for is so already.
  void SpinUntil(const SpinCondition&) override { ++calls_[PortCall::kSharedAccess]; }

 private:
  static constexpr uint32_t kHighMsrs = 0xC0000000;
  static constexpr uint32_t kRange = 0x2000;

  uint64_t* Find(uint32_t msr) {
    if (msr < kRange) return &low_[msr];
    if (msr - kHighMsrs < kRange) return &high_[msr - kHighMsrs];
    return nullptr;
  }

  PortCalls& calls_;
  std::array<uint64_t, kRange> low_{}, high_{};
};

class CountingVmcs final : public Vmcs {
 public:
  explicit CountingVmcs(PortCalls& calls) : calls_(calls) {}

  void MakeCurrent(VmcsRole role) override {
    ++calls_[PortCall::kVmptrld];
    current_ = role;
  }
  VmcsRole Current() const override { return current_; }
  uint64_t Read(VmcsField field) override {
    ++calls_[PortCall::kVmread];
    return image(current_).Read(field);
  }
  void Write(VmcsField field, uint64_t value) override {
    ++calls_[PortCall::kVmwrite];
    image(current_).Write(field, value);
  }

  // The contents, past the counting.
  VmcsImage& image(VmcsRole role) { return images_[static_cast<size_t>(role)]; }
  VmcsImage& current_image() { return image(current_); }

 private:
  PortCalls& calls_;
  VmcsRole current_ = VmcsRole::kVmcs01;
  std::array<VmcsImage, 2> images_;
};

// Memory from 0 on.
class CountingMemory final : public GuestMemory {
 public:
  CountingMemory(uint64_t size, PortCalls& calls) : calls_(calls), bytes_(size) {}

  bool Read(GuestPhysicalAddress address, std::span<std::byte> bytes) override {
    ++calls_[PortCall::kMemoryRead];
    calls_[PortCall::kMemoryBytes] += bytes.size();
    if (!IsBacked(address, bytes.size())) return false;
    std::memcpy(bytes.data(), bytes_.data() + address.value, bytes.size());
    return true;
  }
  bool Write(GuestPhysicalAddress address, std::span<const std::byte> bytes) override {
    ++calls_[PortCall::kMemoryWrite];
    calls_[PortCall::kMemoryBytes] += bytes.size();
    if (!IsBacked(address, bytes.size())) return false;
    std::memcpy(bytes_.data() + address.value, bytes.data(), bytes.size());
    return true;
  }

  // The contents, past the counting.
  std::span<std::byte> bytes() { return bytes_; }

 private:
  bool IsBacked(GuestPhysicalAddress address, size_t length) const {
    return address.value <= bytes_.size() && length <= bytes_.size() - address.value;
  }

  PortCalls& calls_;
  std::vector<std::byte> bytes_;
};

class CountingApic final : public Apic {
 public:
  explicit CountingApic(PortCalls& calls) : calls_(calls) {}
  void SendNmiToAllOthers() override { ++calls_[PortCall::kOther]; }
  void SendNmi(CpuIndex) override { ++calls_[PortCall::kOther]; }

 private:
  PortCalls& calls_;
};

class CountingClock final : public Clock {
 public:
  explicit CountingClock(PortCalls& calls) : calls_(calls) {}
  uint64_t ReadTsc() override {
    ++calls_[PortCall::kRdtsc];
    return tsc_++;
  }

 private:
  PortCalls& calls_;
  uint64_t tsc_ = 0;
};

// Traces are not counted: a backend need not do anything with them.
class IgnoringTrace final : public Trace {
 public:
  void Record(TraceKind, uint64_t, uint64_t) override {}
};

}  // namespace nvmx

#endif  // NVMX_CORE_TESTING_COUNTING_PORTS_H_
