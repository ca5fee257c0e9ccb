// SPDX-License-Identifier: Apache-2.0
#include "core/nested/offered_cpuid.h"

#include <algorithm>
#include <span>

#include "core/nested/offered_capabilities.h"
#include "core/nested/vmcs01.h"
#include "core/vmx/controls.h"
#include "core/x86/control_registers.h"

namespace nvmx {
namespace {

consteval uint32_t Bit(unsigned n) { return uint32_t{1} << n; }

// A feature, which L1 has if the bits of CR4 are offered and the secondary controls are. Both 0: it
// never has it.
struct Feature {
  uint32_t leaf;
  uint32_t subleaf;
  uint32_t CpuidRegisters::*where;
  uint32_t bit;
  uint64_t cr4;
  uint32_t secondary;
};
constexpr uint32_t CpuidRegisters::*kEax = &CpuidRegisters::eax;
constexpr uint32_t CpuidRegisters::*kEbx = &CpuidRegisters::ebx;
constexpr uint32_t CpuidRegisters::*kEcx = &CpuidRegisters::ecx;
constexpr uint32_t CpuidRegisters::*kEdx = &CpuidRegisters::edx;
constexpr Feature kFeatures[] = {
    {0x1, 0, kEcx, Bit(6), Cr4::kSmxe, 0},
    {0x1, 0, kEcx, Bit(17), Cr4::kPcide, 0},
    {0x7, 0, kEbx, Bit(0), Cr4::kFsgsbase, 0},
    {0x7, 0, kEbx, Bit(2), 0, 0},  // SGX
    {0x7, 0, kEbx, Bit(7), Cr4::kSmep, 0},
    {0x7, 0, kEbx, Bit(10), 0, Secondary::kEnableInvpcid},
    {0x7, 0, kEbx, Bit(14), 0, 0},  // MPX
    {0x7, 0, kEbx, Bit(20), Cr4::kSmap, 0},
    {0x7, 0, kEbx, Bit(25), 0, 0},  // Intel PT
    {0x7, 0, kEcx, Bit(2), Cr4::kUmip, 0},
    {0x7, 0, kEcx, Bit(3), Cr4::kPke, 0},
    {0x7, 0, kEcx, Bit(4), Cr4::kPke, 0},
    {0x7, 0, kEcx, Bit(5), 0, Secondary::kEnableUserWaitAndPause},
    {0x7, 0, kEcx, Bit(7), Cr4::kCet, 0},
    {0x7, 0, kEcx, Bit(16), Cr4::kLa57, 0},
    {0x7, 0, kEcx, Bit(22), 0, Secondary::kEnableRdtscp},  // RDPID
    {0x7, 0, kEcx, Bit(23), Cr4::kKl, 0},
    {0x7, 0, kEcx, Bit(29), 0, Secondary::kPasidTranslation},  // ENQCMD
    {0x7, 0, kEcx, Bit(30), 0, 0},                             // SGX launch configuration
    {0x7, 0, kEcx, Bit(31), Cr4::kPks, 0},
    {0x7, 0, kEdx, Bit(5), Cr4::kUintr, 0},
    {0x7, 0, kEdx, Bit(18), 0, Secondary::kEnablePconfig},
    {0x7, 0, kEdx, Bit(19), 0, 0},  // architectural LBRs
    {0x7, 0, kEdx, Bit(20), Cr4::kCet, 0},
    {0x7, 1, kEax, Bit(17), 0, 0},  // FRED
    {0x7, 1, kEax, Bit(26), Cr4::kLamSup, 0},
    {0xD, 1, kEax, Bit(3), 0, Secondary::kEnableXsavesXrstors},
    {0x80000001, 0, kEdx, Bit(27), 0, Secondary::kEnableRdtscp},
};

// Leaves about such features: SGX, Intel PT, Key Locker, PCONFIG, architectural LBRs.
constexpr uint32_t kEmptyLeaves[] = {0x12, 0x14, 0x19, 0x1B, 0x1C};

// The rows about a leaf, which lie together.
consteval std::span<const Feature> RowsAbout(uint32_t leaf) {
  const auto is_about = [leaf](const Feature& row) { return row.leaf == leaf; };
  const auto* first = std::ranges::find_if(kFeatures, is_about);
  const auto* last = std::find_if_not(first, std::end(kFeatures), is_about);
  return {first, last};
}

std::span<const Feature> FeaturesOf(uint32_t leaf) {
  static_assert(std::ranges::is_sorted(kFeatures, {}, &Feature::leaf));
  switch (leaf) {
    case 0x1:
      return RowsAbout(0x1);
    case 0x7:
      return RowsAbout(0x7);
    case 0xD:
      return RowsAbout(0xD);
    case 0x80000001:
      return RowsAbout(0x80000001);
    default:
      return {};
  }
}
// No row is left out there.
static_assert(RowsAbout(0x1).size() + RowsAbout(0x7).size() + RowsAbout(0xD).size() +
                  RowsAbout(0x80000001).size() ==
              std::size(kFeatures));

bool HasFeature(const Capabilities& offered, const Feature& feature) {
  if (feature.cr4 == 0 && feature.secondary == 0) return false;
  return (feature.cr4 & ~offered.cr4_fixed1) == 0 &&
         (feature.secondary == 0 || offered.SupportsSecondary(feature.secondary));
}

void FollowL1(Vcpu& vcpu, CpuidRegisters& leaf1) {
  constexpr uint32_t kOsxsave = Bit(27);
  const bool enabled = (ReadL1Cr4(vcpu) & Cr4::kOsxsave) != 0;
  leaf1.ecx = enabled ? leaf1.ecx | kOsxsave : leaf1.ecx & ~kOsxsave;
}

// The leaf that answers: the highest basic one, if the processor does not have this one. SDM Vol.
// 2A, "CPUID-CPU Identification".
uint32_t AnsweringLeaf(Cpu& cpu, uint32_t leaf) {
  constexpr uint32_t kExtended = 0x80000000;
  if (leaf <= 1) return leaf;
  const uint32_t highest = cpu.Cpuid(0, 0).eax;
  if (leaf <= highest) return leaf;
  const bool has_it = leaf >= kExtended && leaf <= cpu.Cpuid(kExtended, 0).eax;
  return has_it ? leaf : highest;
}

}  // namespace

CpuidRegisters OfferedCpuid(Vcpu& vcpu, uint32_t leaf, uint32_t subleaf) {
  leaf = AnsweringLeaf(vcpu.ports.cpu, leaf);
  for (uint32_t empty : kEmptyLeaves) {
    if (leaf == empty) return {};
  }
  CpuidRegisters result = vcpu.ports.cpu.Cpuid(leaf, subleaf);
  for (const Feature& feature : FeaturesOf(leaf)) {
    const bool any_subleaf = leaf != 0x7 && leaf != 0xD;
    if (!any_subleaf && feature.subleaf != subleaf) continue;
    if (!HasFeature(vcpu.state.offered, feature)) result.*feature.where &= ~feature.bit;
  }
  if (leaf == 0x1) FollowL1(vcpu, result);
  if (leaf == 0x80000001 && !OffersIa32eMode(vcpu.state.offered)) {
    result.edx &= ~Bit(29);
  }
  // IA32_XSS, which only XSAVES and XRSTORS use, has no bit.
  if (leaf == 0xD && subleaf == 1 &&
      !vcpu.state.offered.SupportsSecondary(Secondary::kEnableXsavesXrstors)) {
    result.ecx = 0;
    result.edx = 0;
  }
  return result;
}

}  // namespace nvmx
