// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_L0_MEMORY_H_
#define NVMX_BACKENDS_SIM_MACHINE_L0_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "backends/sim/machine/memory.h"
#include "backends/sim/machine/processor_profile.h"
#include "core/nested/embedder.h"
#include "core/nested/host_pages.h"
#include "core/nested/vcpu.h"

namespace nvmx::sim {

// L0's own physical memory in a simulated machine: EPT01, and for each CPU the host pages. It lies
// at the end of the physical address space, where no guest program has its windows, and EPT01 maps
// everything but it to itself.
class L0Memory {
 public:
  // The most bits that a physical address of the machine has.
  static constexpr uint64_t kMostWidth = 40;
  // For a machine with that many CPUs, which have EPT and these capabilities: EPT01 uses pages of 1
  // GByte if there are any. `memory` must outlive this object.
  L0Memory(Memory& memory, uint32_t cpus, const Capabilities& hardware = SimulatedCapabilities());

  // The 2^30 bytes that are missing in EPT01 begin here.
  static constexpr uint64_t BaseFor(uint64_t width) {
    return (uint64_t{1} << width) - (uint64_t{1} << 30);
  }

  // What Embedder::MapEpt01() must say of EPT01.
  Ept01Mapping Map(GuestPhysicalAddress address) const;

  // A value of the EPT-pointer field that names EPT01; the second is that of a machine with the
  // most bits.
  uint64_t Ept01Pointer() const { return Ept01PointerAt(base_); }
  static uint64_t Ept01PointerOfWidest() { return Ept01PointerAt(BaseFor(kMostWidth)); }
  HostPages HostPagesOf(uint32_t cpu);
  // Vcpu::shadow_pages.
  HostPages ShadowPagesOf(uint32_t cpu);
  // EPT01 into VMCS01, which is current and has its controls.
  void ConfigureVmcs01(Vcpu& vcpu);

  // Whether something wrote where only this class writes.
  bool IsDamaged() const;
  // The host pages as they were at first; `used` of them, the first, may have been written.
  void ClearHostPages(uint32_t cpu, size_t used);
  // How many host pages a CPU of L0 in that state may have written.
  static size_t UsedHostPages(const VcpuState& state) {
    return kFirstEpt02Page + state.ept02.pages_begun;
  }

 private:
  enum Page : size_t { kCanaryBelow, kPml4, kPdpts };
  static constexpr size_t kPdptPages = 2;  // 2^40 bytes in pages of 2^30
  static constexpr size_t kPageDirectories =
      kPdpts + kPdptPages;  // one for each 2^30 bytes, if any
  // Of each CPU: the host pages, those for the shadow VMCS, and a page that nothing may touch.
  static constexpr size_t kEpt02Pages = 96;
  static constexpr size_t kHostPageCount = kFirstEpt02Page + kEpt02Pages;
  static constexpr size_t kShadowPageCount = 3;
  static constexpr size_t kCanaryOfCpu = kHostPageCount + kShadowPageCount;
  static constexpr size_t kPagesOfCpu = kCanaryOfCpu + 1;

  static uint64_t Ept01PointerAt(uint64_t base);
  PhysicalAddress AddressOf(size_t page) const { return PhysicalAddress{base_ + page * kPageSize}; }
  size_t FirstPageOf(uint32_t cpu) const { return shared_pages_ + cpu * kPagesOfCpu; }
  void FillConstantPages();
  // The entry of a PDPT for the 2^30 bytes at the address, and what is below it.
  uint64_t MakePdpte(uint64_t address);
  uint64_t ConstantPagesDigest() const;

  const uint32_t cpus_;
  const uint64_t base_;
  const unsigned block_shift_;  // log2 of the size of EPT01's pages
  const size_t shared_pages_;
  std::vector<HostPage> pages_;
  uint64_t digest_;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_L0_MEMORY_H_
