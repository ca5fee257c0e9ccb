// SPDX-License-Identifier: Apache-2.0
//
// CPUID. Features of instructions and of CR4 that VMX has a control or a bit for are shown by the
// same capabilities that allow those. SDM Vol. 2A, "CPUID-CPU Identification".
#include "backends/sim/machine/processor.h"
#include "backends/sim/machine/processor_features.h"
#include "core/vmx/controls.h"
#include "core/x86/control_registers.h"

namespace nvmx::sim {
namespace {

constexpr uint32_t kHighestLeaf = 0xD;
constexpr uint32_t kExtended = 0x80000000;
constexpr uint32_t kHighestExtendedLeaf = 0x80000008;
constexpr uint32_t kSignature = 0x000906EA;

enum class Register : uint8_t { kEbx, kEcx, kEdx };

// A feature flag that is there if all of this is: a bit of CR4 that may be 1, a secondary
// processor-based control, a VM-exit control; 0 asks for nothing.
struct Feature {
  uint32_t leaf;
  Register in;
  unsigned bit;
  uint64_t cr4 = 0;
  uint32_t secondary = 0;
};

// The order is that of leaf, register and bit.
constexpr Feature kFeatures[] = {
    {1, Register::kEcx, 0},                                         // SSE3
    {1, Register::kEcx, 3},                                         // MONITOR
    {1, Register::kEcx, 5, Cr4::kVmxe},                             // VMX
    {1, Register::kEcx, 17, Cr4::kPcide},                           // PCID
    {1, Register::kEcx, 21, 0, Secondary::kVirtualizeX2ApicMode},   // x2APIC
    {1, Register::kEcx, 26, Cr4::kOsxsave},                         // XSAVE
    {1, Register::kEcx, 28, Cr4::kOsxsave},                         // AVX
    {1, Register::kEcx, 30, 0, Secondary::kRdrandExiting},          // RDRAND
    {1, Register::kEdx, 0},                                         // x87 FPU
    {1, Register::kEdx, 1, Cr4::kVme},                              // VME
    {1, Register::kEdx, 2, Cr4::kDe},                               // DE
    {1, Register::kEdx, 3, Cr4::kPse},                              // PSE
    {1, Register::kEdx, 4},                                         // TSC
    {1, Register::kEdx, 5},                                         // MSR
    {1, Register::kEdx, 6, Cr4::kPae},                              // PAE
    {1, Register::kEdx, 7, Cr4::kMce},                              // MCE
    {1, Register::kEdx, 8},                                         // CMPXCHG8B
    {1, Register::kEdx, 9},                                         // APIC
    {1, Register::kEdx, 11},                                        // SYSENTER
    {1, Register::kEdx, 12},                                        // MTRR
    {1, Register::kEdx, 13, Cr4::kPge},                             // PGE
    {1, Register::kEdx, 14},                                        // MCA
    {1, Register::kEdx, 15},                                        // CMOV
    {1, Register::kEdx, 16},                                        // PAT
    {1, Register::kEdx, 17, Cr4::kPse},                             // PSE-36
    {1, Register::kEdx, 24, Cr4::kOsfxsr},                          // FXSR
    {1, Register::kEdx, 25, Cr4::kOsxmmexcpt},                      // SSE
    {1, Register::kEdx, 26, Cr4::kOsxmmexcpt},                      // SSE2
    {7, Register::kEbx, 0, Cr4::kFsgsbase},                         // FSGSBASE
    {7, Register::kEbx, 7, Cr4::kSmep},                             // SMEP
    {7, Register::kEbx, 10, 0, Secondary::kEnableInvpcid},          // INVPCID
    {7, Register::kEbx, 18, 0, Secondary::kRdseedExiting},          // RDSEED
    {7, Register::kEbx, 20, Cr4::kSmap},                            // SMAP
    {7, Register::kEcx, 2, Cr4::kUmip},                             // UMIP
    {7, Register::kEcx, 16, Cr4::kLa57},                            // LA57
    {0x80000001, Register::kEcx, 0},                                // LAHF in 64-bit mode
    {0x80000001, Register::kEdx, 11},                               // SYSCALL
    {0x80000001, Register::kEdx, 20},                               // execute disable
    {0x80000001, Register::kEdx, 26},                               // 1-GByte pages
    {0x80000001, Register::kEdx, 27, 0, Secondary::kEnableRdtscp},  // RDTSCP
    {0x80000001, Register::kEdx, 29},                               // Intel 64
};

// SDM Vol. 1, 13.4.2: the legacy region, the XSAVE header, the AVX state.
constexpr uint32_t kXsaveAreaWithoutAvx = 576;
constexpr uint32_t kAvxState = 256;

void AddFeatures(uint32_t leaf, const Capabilities& capabilities, CpuidRegisters& result) {
  for (const Feature& feature : kFeatures) {
    if (feature.leaf != leaf || (feature.cr4 & ~capabilities.cr4_fixed1) != 0 ||
        (feature.secondary != 0 && !capabilities.SupportsSecondary(feature.secondary))) {
      continue;
    }
    uint32_t& word = feature.in == Register::kEbx   ? result.ebx
                     : feature.in == Register::kEcx ? result.ecx
                                                    : result.edx;
    word |= uint32_t{1} << feature.bit;
  }
}

}  // namespace

bool Processor::HasPerformanceCounters() const {
  return capabilities_.SupportsVmEntry(VmEntry::kLoadIa32PerfGlobalCtrl) ||
         capabilities_.SupportsVmExit(VmExit::kLoadIa32PerfGlobalCtrl);
}

CpuidRegisters Processor::Cpuid(uint32_t leaf, uint32_t subleaf) const {
  constexpr uint32_t kOsxsave = uint32_t{1} << 27;
  // A leaf above the highest basic one gives what that gives.
  if ((leaf > kHighestLeaf && leaf < kExtended) || leaf > kHighestExtendedLeaf) {
    leaf = kHighestLeaf;
  }
  CpuidRegisters result{};
  if (leaf != 7 || subleaf == 0) AddFeatures(leaf, capabilities_, result);
  switch (leaf) {
    case 0:
      return {kHighestLeaf, 0x756E6547, 0x6C65746E, 0x49656E69};  // "GenuineIntel"
    case 1:
      result.eax = kSignature;
      if ((state_.switched.cr4 & Cr4::kOsxsave) != 0) result.ecx |= kOsxsave;
      break;
    case 5:
      // The smallest and the largest monitor-line size; the extensions are there, and interrupts
      // as break events.
      return {64, 64, 3, 0};
    case 0xA:
      // Version 2; the counters have 48 bits; seven events, none of which is available.
      if (HasPerformanceCounters()) {
        return {0x07300002 | uint32_t{PerformanceCounters::kGeneral} << 8, 0x7F, 0,
                uint32_t{PerformanceCounters::kFixed} | 48u << 5};
      }
      break;
    case 0xD:
      return CpuidOfXsave(subleaf);
    case kExtended:
      return {kHighestExtendedLeaf, 0, 0, 0};
    case kHighestExtendedLeaf:
      result.eax = static_cast<uint32_t>(capabilities_.physical_address_width |
                                         capabilities_.linear_address_width << 8);
      break;
    default:
      break;
  }
  return result;
}

CpuidRegisters Processor::CpuidOfXsave(uint32_t subleaf) const {
  constexpr uint32_t kAvxSubleaf = 2;
  if ((capabilities_.cr4_fixed1 & Cr4::kOsxsave) == 0) return {};
  if (subleaf == kAvxSubleaf) return {kAvxState, kXsaveAreaWithoutAvx, 0, 0};
  if (subleaf != 0) return {};
  const bool avx = (state_.xcr0 & Xcr0::kAvx) != 0;
  return {Xcr0::kSupported, kXsaveAreaWithoutAvx + (avx ? kAvxState : 0),
          kXsaveAreaWithoutAvx + kAvxState, 0};
}

}  // namespace nvmx::sim
