// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_L0_MEMORY_H_
#define NVMX_BACKENDS_SIM_MACHINE_L0_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "backends/sim/machine/memory.h"
#include "core/nested/embedder.h"
#include "core/nested/host_pages.h"
#include "core/nested/vcpu.h"

namespace nvmx::sim {

// L0's own physical memory in a simulated machine: EPT01, and for each CPU the host pages. It lies
// at the end of the physical address space, where no guest program has its windows, and EPT01 maps
// everything but it to itself.
class L0Memory {
 public:
  // For a machine with that many CPUs; `memory` must outlive this object.
  L0Memory(Memory& memory, uint32_t cpus);

  // The 2^30 bytes that are missing in EPT01 begin here.
  static constexpr uint64_t kBase = (uint64_t{1} << 40) - (uint64_t{1} << 30);

  // What Embedder::MapEpt01() must say of EPT01.
  static Ept01Mapping Map(GuestPhysicalAddress address);

  // A value of the EPT-pointer field that names EPT01.
  static uint64_t Ept01Pointer();
  HostPages HostPagesOf(uint32_t cpu);
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
  static constexpr size_t kSharedPages = kPdpts + kPdptPages;
  // Of each CPU: the host pages, and a page that nothing may touch.
  static constexpr size_t kEpt02Pages = 96;
  static constexpr size_t kHostPageCount = kFirstEpt02Page + kEpt02Pages;
  static constexpr size_t kPagesOfCpu = kHostPageCount + 1;

  static PhysicalAddress AddressOf(size_t page) {
    return PhysicalAddress{kBase + page * kPageSize};
  }
  static size_t FirstPageOf(uint32_t cpu) { return kSharedPages + cpu * kPagesOfCpu; }
  void FillConstantPages();
  uint64_t ConstantPagesDigest() const;

  const uint32_t cpus_;
  std::vector<HostPage> pages_;
  uint64_t digest_;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_L0_MEMORY_H_
