// SPDX-License-Identifier: Apache-2.0
//
// The six ports in memory, without a machine. What they are asked to do they also write, one line
// for each call, into an EventLog that all ports of a CPU share: the order between two ports is
// often what a test is about.
#ifndef NVMX_CORE_TESTING_FAKE_PORTS_H_
#define NVMX_CORE_TESTING_FAKE_PORTS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/ports/ports.h"
#include "core/smp/shared.h"
#include "core/vmx/capabilities.h"
#include "core/vmx/vmcs_image.h"

namespace nvmx {

// The lines are "load CELL", "store CELL", "add CELL", "release CELL", "spin CELL=VALUE", "spin
// CELL>=VALUE", "acquire CELL", "VMPTRLD VMCS01", "VMREAD FIELD", "VMWRITE FIELD", "RDMSR 10",
// "WRMSR 10" (hexadecimal), "CPUID", "unblock NMI", "INVEPT", "INVVPID", "XSETBV", "MOV to CR0",
// "RDTSC", "NMI to all others", "NMI to 2", "trace KIND", "read memory", "write memory".
using EventLog = std::vector<std::string>;

class FakeCpu final : public Cpu {
 public:
  FakeCpu(CpuIndex index, EventLog& log) : index_(index), log_(log) {}

  CpuIndex Index() const override { return index_; }
  std::optional<uint64_t> ReadMsr(uint32_t msr) override;
  bool WriteMsr(uint32_t msr, uint64_t value) override;
  CpuidRegisters Cpuid(uint32_t leaf, uint32_t subleaf) override;
  void UnblockNmi() override;
  void Invalidate(const Invalidation& invalidation) override;
  void WriteXcr0(uint64_t value) override;
  void WriteCacheControl(uint64_t cr0) override;
  void BeforeSharedAccess(const SharedAccess& access) override;
  // If the condition does not hold, calls WhileWaiting's function once. If it then still does not
  // hold, the test fails, and the cell is set to the wanted value so that it ends.
  void SpinUntil(const SpinCondition& condition) override;

  // The MSRs. One that is absent raises #GP.
  std::map<uint32_t, uint64_t>& msrs() { return msrs_; }
  // What else an accepted WRMSR of the MSR does.
  void OnWrmsr(uint32_t msr, std::function<void(uint64_t value)> effect) {
    wrmsr_effects_[msr] = std::move(effect);
  }
  // Those of them that WRMSR does not accept.
  std::set<uint32_t>& read_only_msrs() { return read_only_msrs_; }

  // What CPUID answers; for what was not set, numbers made of leaf and subleaf.
  void SetCpuid(uint32_t leaf, uint32_t subleaf, const CpuidRegisters& registers) {
    cpuid_[{leaf, subleaf}] = registers;
  }

  // What others do while this CPU waits, and what can be observed right before each Shared<T>
  // operation.
  void WhileWaiting(std::function<void(const SpinCondition&)> others) {
    while_waiting_ = std::move(others);
  }
  void BeforeEachAccess(std::function<void(const SharedAccess&)> observer) {
    before_access_ = std::move(observer);
  }

  // Sends an NMI: the handler runs now, or, while NMIs are blocked, in UnblockNmi(). The latch
  // holds one.
  void SendNmi();
  void SetNmiBlocked(bool blocked) { nmi_blocked_ = blocked; }
  bool nmi_blocked() const { return nmi_blocked_; }
  void SetNmiHandler(std::function<void()> handler) { nmi_handler_ = std::move(handler); }

  int unblock_nmi_calls() const { return unblock_nmi_calls_; }
  // What was to be dropped, in order.
  const std::vector<Invalidation>& invalidations() const { return invalidations_; }
  uint64_t xcr0() const { return xcr0_; }
  // CR0.CD and CR0.NW.
  uint64_t cache_control() const { return cache_control_; }

 private:
  CpuIndex index_;
  EventLog& log_;
  std::map<uint32_t, uint64_t> msrs_;
  std::set<uint32_t> read_only_msrs_;
  std::map<uint32_t, std::function<void(uint64_t)>> wrmsr_effects_;
  std::map<std::pair<uint32_t, uint32_t>, CpuidRegisters> cpuid_;
  std::function<void(const SpinCondition&)> while_waiting_;
  std::function<void(const SharedAccess&)> before_access_;
  std::function<void()> nmi_handler_;
  bool nmi_blocked_ = false;
  bool nmi_latched_ = false;
  int unblock_nmi_calls_ = 0;
  std::vector<Invalidation> invalidations_;
  uint64_t xcr0_ = 1;
  uint64_t cache_control_ = 0;
};

// VMCS01, VMCS02 and the shadow VMCS. An access to a field that a CPU with these capabilities does
// not have fails the test.
class FakeVmcs final : public Vmcs {
 public:
  FakeVmcs(const Capabilities& hardware, EventLog& log) : hardware_(hardware), log_(log) {}

  void MakeCurrent(VmcsRole role) override;
  VmcsRole Current() const override { return current_; }
  uint64_t Read(VmcsField field) override;
  void Write(VmcsField field, uint64_t value) override;

  // The contents, past the log.
  VmcsImage& vmcs01() { return images_[0]; }
  VmcsImage& vmcs02() { return images_[1]; }
  VmcsImage& shadow() { return images_[2]; }
  VmcsImage& current_image() { return images_[static_cast<size_t>(current_)]; }

 private:
  Capabilities hardware_;
  EventLog& log_;
  VmcsRole current_ = VmcsRole::kVmcs01;
  std::array<VmcsImage, 3> images_;
};

// Zeroed memory from 0 to `size`, except the pages that were taken out of it.
class FakeGuestMemory final : public GuestMemory {
 public:
  FakeGuestMemory(uint64_t size, EventLog& log) : size_(size), log_(log) {}

  bool Read(GuestPhysicalAddress address, std::span<std::byte> bytes) override;
  bool Write(GuestPhysicalAddress address, std::span<const std::byte> bytes) override;

  uint64_t size() const { return size_; }
  // Makes the page that holds the address one that is not backed.
  void RemovePage(uint64_t address) { removed_.insert(PageBase(address)); }

  // The object at an address that is backed, past the log.
  template <typename T>
  T Peek(uint64_t address) {
    T value;
    Copy(address, std::as_writable_bytes(std::span<T, 1>(&value, 1)));
    return value;
  }
  template <typename T>
  void Poke(uint64_t address, const T& value) {
    Fill(address, std::as_bytes(std::span<const T, 1>(&value, 1)));
  }

 private:
  using Page = std::array<std::byte, kPageSize>;
  bool IsBacked(uint64_t address, size_t length) const;
  std::byte& At(uint64_t address) { return pages_[PageBase(address)][PageOffset(address)]; }
  void Copy(uint64_t address, std::span<std::byte> bytes);
  void Fill(uint64_t address, std::span<const std::byte> bytes);

  uint64_t size_;
  EventLog& log_;
  std::map<uint64_t, Page> pages_;
  std::set<uint64_t> removed_;
};

class FakeApic final : public Apic {
 public:
  explicit FakeApic(EventLog& log) : log_(log) {}
  void SendNmiToAllOthers() override;
  void SendNmi(CpuIndex cpu) override;
  int nmis_sent() const { return nmis_sent_; }

 private:
  EventLog& log_;
  int nmis_sent_ = 0;
};

// Advances by one with each reading.
class FakeClock final : public Clock {
 public:
  explicit FakeClock(EventLog& log) : log_(log) {}
  uint64_t ReadTsc() override;
  void Set(uint64_t tsc) { tsc_ = tsc; }

 private:
  EventLog& log_;
  uint64_t tsc_ = 0;
};

struct TraceEvent {
  TraceKind kind;
  uint64_t first;
  uint64_t second;
  friend bool operator==(const TraceEvent&, const TraceEvent&) = default;
};
const char* Name(TraceKind kind);
void PrintTo(const TraceEvent& event, std::ostream* os);

class FakeTrace final : public Trace {
 public:
  explicit FakeTrace(EventLog& log) : log_(log) {}
  void Record(TraceKind kind, uint64_t first, uint64_t second) override;
  const std::vector<TraceEvent>& events() const { return events_; }
  // How many events of this kind there were.
  int Count(TraceKind kind) const;

 private:
  EventLog& log_;
  std::vector<TraceEvent> events_;
};

}  // namespace nvmx

#endif  // NVMX_CORE_TESTING_FAKE_PORTS_H_
