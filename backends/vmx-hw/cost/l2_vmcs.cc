// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/cost/l2_vmcs.h"

#include <array>
#include <cstddef>
#include <span>

#include "backends/vmx-hw/l0/vmx_instructions.h"
#include "backends/vmx-hw/machine/cpu_instructions.h"
#include "backends/vmx-hw/machine/cpus.h"
#include "backends/vmx-hw/machine/power.h"
#include "backends/vmx-hw/machine/traps.h"
#include "core/vmx/capabilities.h"
#include "core/vmx/controls.h"
#include "core/vmx/ept.h"
#include "core/vmx/msr_list.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/control_registers.h"
#include "core/x86/memory_type.h"
#include "core/x86/msr.h"

namespace nvmx::metal {
namespace {

constexpr bool kIs64Bit = sizeof(void*) == 8;
constexpr size_t kPage = 4096;
struct alignas(kPage) Page {
  std::array<uint64_t, kPage / sizeof(uint64_t)> words;
};
constinit Page vmxon_region{};
constinit Page vmcs_region{};
constinit Page msr_bitmap{};
constinit Page l2_stack{};

constexpr unsigned kGBytes = 4;
constinit Page ept_pml4{};
constinit Page ept_pdpt{};
constinit std::array<Page, kGBytes> ept_directories{};
constinit std::array<Page, kSmallPageTables> ept_tables{};

using MsrArea = std::array<MsrListEntry, kListedMsrs>;
alignas(kMsrListAlignment) constinit MsrArea exit_store_list{};
alignas(kMsrListAlignment) constinit MsrArea exit_load_list{};
alignas(kMsrListAlignment) constinit MsrArea entry_load_list{};

uint64_t AddressOf(const void* p) { return reinterpret_cast<uintptr_t>(p); }

void Set(VmcsField field, uint64_t value) {
  if (!Vmwrite(Encoding(field), value)) Panic("VMWRITE fails");
}

// The control with these bits, and those that the processor wants to be 1.
void SetControls(VmcsField field, Msr true_capability, Msr capability, uint64_t wanted) {
  const bool has_true = (ReadMsr(Index(Msr::IA32_VMX_BASIC)) & VmxBasic::kTrueControls) != 0;
  const uint64_t allowed = ReadMsr(Index(has_true ? true_capability : capability));
  if ((wanted & ~(allowed >> 32)) != 0) Stop("the processor lacks a VMX control");
  Set(field, wanted | (allowed & 0xFFFF'FFFF));
}

void SetAllControls(const VmcsOptions& options) {
  uint64_t primary = PrimaryProcessorBased::kActivateSecondaryControls;
  if (options.msr_bitmap) primary |= PrimaryProcessorBased::kUseMsrBitmaps;
  SetControls(VmcsField::kPinBasedControls, Msr::IA32_VMX_TRUE_PINBASED_CTLS,
              Msr::IA32_VMX_PINBASED_CTLS, 0);
  SetControls(VmcsField::kPrimaryProcessorBasedControls, Msr::IA32_VMX_TRUE_PROCBASED_CTLS,
              Msr::IA32_VMX_PROCBASED_CTLS, primary);
  SetControls(VmcsField::kSecondaryProcessorBasedControls, Msr::IA32_VMX_PROCBASED_CTLS2,
              Msr::IA32_VMX_PROCBASED_CTLS2,
              options.ept ? Secondary::kEnableEpt | Secondary::kEnableVpid : 0);
  SetControls(VmcsField::kVmExitControls, Msr::IA32_VMX_TRUE_EXIT_CTLS, Msr::IA32_VMX_EXIT_CTLS,
              kIs64Bit ? VmExit::kHostAddressSpaceSize : 0);
  SetControls(VmcsField::kVmEntryControls, Msr::IA32_VMX_TRUE_ENTRY_CTLS, Msr::IA32_VMX_ENTRY_CTLS,
              kIs64Bit ? VmEntry::kIa32eModeGuest : 0);
  Set(VmcsField::kMsrBitmapAddress, AddressOf(&msr_bitmap));
}

uint64_t MakeEpt12() {
  constexpr auto kWriteBack = static_cast<uint64_t>(MemoryType::kWriteBack);
  constexpr uint64_t kType = kWriteBack << EptEntry::kMemoryTypeShift;
  constexpr uint64_t kLargePage = uint64_t{1} << 21;
  ept_pml4.words[0] = AddressOf(&ept_pdpt) | EptEntry::kPermissions;
  for (unsigned g = 0; g < kGBytes; ++g) {
    ept_pdpt.words[g] = AddressOf(&ept_directories[g]) | EptEntry::kPermissions;
    for (uint64_t n = 0; n < kEptEntries; ++n) {
      ept_directories[g].words[n] =
          (g * kEptEntries + n) * kLargePage | EptEntry::kPermissions | kType | EptEntry::kLarge;
    }
  }
  constexpr uint64_t kFirst = kSmallPagesBegin / kLargePage;
  static_assert(kFirst + kSmallPageTables <= kEptEntries);
  for (unsigned t = 0; t < kSmallPageTables; ++t) {
    ept_directories[0].words[kFirst + t] = AddressOf(&ept_tables[t]) | EptEntry::kPermissions;
    for (uint64_t n = 0; n < kEptEntries; ++n) {
      ept_tables[t].words[n] =
          kSmallPagesBegin + t * kLargePage + n * kPage | EptEntry::kPermissions | kType;
    }
  }
  return AddressOf(&ept_pml4) | kWriteBack | uint64_t{3} << Eptp::kWalkLengthShift;
}

// MSRs that hardware switches with no VMCS field, and the three of SYSENTER, which have one. Every
// list leaves them as they are.
void SetMsrLists() {
  constexpr Msr kMsrs[kListedMsrs] = {
      Msr::IA32_STAR,    Msr::IA32_LSTAR,       Msr::IA32_FMASK,        Msr::IA32_KERNEL_GS_BASE,
      Msr::IA32_TSC_AUX, Msr::IA32_SYSENTER_CS, Msr::IA32_SYSENTER_ESP, Msr::IA32_SYSENTER_EIP,
  };
  for (unsigned n = 0; n < kListedMsrs; ++n) {
    const uint32_t msr = Index(kMsrs[n]);
    exit_store_list[n] = {msr, 0, 0};
    exit_load_list[n] = entry_load_list[n] = {msr, 0, ReadMsr(msr)};
  }
  Set(VmcsField::kVmExitMsrStoreAddress, AddressOf(&exit_store_list));
  Set(VmcsField::kVmExitMsrLoadAddress, AddressOf(&exit_load_list));
  Set(VmcsField::kVmEntryMsrLoadAddress, AddressOf(&entry_load_list));
}

void SetRegisters(void (*rip)(), void (*exit)()) {
  constexpr uint64_t kCode = kIs64Bit ? 0xA09B : 0xC09B;
  constexpr uint64_t kData = 0xC093;
  constexpr uint64_t kBusyTss = 0x8B;
  constexpr uint64_t kUnusable = 0x10000;
  constexpr uint64_t kFlatLimit = 0xFFFF'FFFF;
  const uint64_t gs_base = kIs64Bit ? ReadMsr(Index(Msr::IA32_GS_BASE)) : 0;
#define NVMX_SEGMENT(name, selector, base, limit, rights) \
  Set(VmcsField::kGuest##name##Selector, selector);       \
  Set(VmcsField::kGuest##name##Base, base);               \
  Set(VmcsField::kGuest##name##Limit, limit);             \
  Set(VmcsField::kGuest##name##AccessRights, rights)
  NVMX_SEGMENT(Cs, kCodeSelector, 0, kFlatLimit, kCode);
  NVMX_SEGMENT(Ss, kDataSelector, 0, kFlatLimit, kData);
  NVMX_SEGMENT(Ds, kDataSelector, 0, kFlatLimit, kData);
  NVMX_SEGMENT(Es, kDataSelector, 0, kFlatLimit, kData);
  NVMX_SEGMENT(Fs, 0, 0, 0, kUnusable);
  NVMX_SEGMENT(Gs, 0, gs_base, 0, kUnusable);
  NVMX_SEGMENT(Ldtr, 0, 0, 0, kUnusable);
  NVMX_SEGMENT(Tr, kTssSelector, TssBaseOf(0), 0x67, kBusyTss);
#undef NVMX_SEGMENT
  constexpr uint64_t kTableLimit = 0xFFF;
  const struct {
    VmcsField field;
    uint64_t value;
  } kState[] = {
      {VmcsField::kGuestCr0, ReadCr0()},
      {VmcsField::kGuestCr3, ReadCr3()},
      {VmcsField::kGuestCr4, ReadCr4()},
      {VmcsField::kGuestDr7, Dr7::kInit},
      {VmcsField::kGuestRsp, AddressOf(&l2_stack) + kPage},
      {VmcsField::kGuestRip, reinterpret_cast<uintptr_t>(rip)},
      {VmcsField::kGuestRflags, 2},
      {VmcsField::kGuestGdtrBase, GdtBaseOf(0)},
      {VmcsField::kGuestGdtrLimit, kTableLimit},
      {VmcsField::kGuestIdtrBase, IdtBase()},
      {VmcsField::kGuestIdtrLimit, kTableLimit},
      {VmcsField::kHostCsSelector, kCodeSelector},
      {VmcsField::kHostSsSelector, kDataSelector},
      {VmcsField::kHostDsSelector, kDataSelector},
      {VmcsField::kHostEsSelector, kDataSelector},
      {VmcsField::kHostTrSelector, kTssSelector},
      {VmcsField::kHostCr0, ReadCr0()},
      {VmcsField::kHostCr3, ReadCr3()},
      {VmcsField::kHostCr4, ReadCr4()},
      {VmcsField::kHostGsBase, gs_base},
      {VmcsField::kHostTrBase, TssBaseOf(0)},
      {VmcsField::kHostGdtrBase, GdtBaseOf(0)},
      {VmcsField::kHostIdtrBase, IdtBase()},
      {VmcsField::kHostRip, reinterpret_cast<uintptr_t>(exit)},
  };
  for (const auto& row : kState) Set(row.field, row.value);
}

void WriteRevision(Page& region) {
  region.words[0] = ReadMsr(Index(Msr::IA32_VMX_BASIC)) & VmxBasic::kRevisionIdentifier;
}

// VMX operation needs paging: an image of 32 bits starts without.
void StartPaging() {
  constexpr uint32_t kPresentWritableLarge = 0x83;
  constexpr unsigned kLargePageShift = 22;
  constexpr uintptr_t kEntries = kPage / sizeof(uint32_t);
  alignas(kPage) static constinit std::array<uint32_t, kEntries> directory{};
  for (uintptr_t n = 0; n < kEntries; ++n) {
    directory[n] = static_cast<uint32_t>(n << kLargePageShift) | kPresentWritableLarge;
  }
  WriteCr4(ReadCr4() | static_cast<uintptr_t>(Cr4::kPse));
  WriteCr3(reinterpret_cast<uintptr_t>(directory.data()));
}

}  // namespace

// SDM Vol. 3C, 24.7 "Enabling and Entering VMX Operation".
void EnterVmx() {
  constexpr uint32_t kVmx = 1U << 5;
  if ((Cpuid(1).ecx & kVmx) == 0) Stop("this processor has no VMX");
  const uint64_t feature_control = ReadMsr(Index(Msr::IA32_FEATURE_CONTROL));
  if ((feature_control & FeatureControl::kLock) == 0) {
    WriteMsr(Index(Msr::IA32_FEATURE_CONTROL),
             feature_control | FeatureControl::kEnableVmxOutsideSmx | FeatureControl::kLock);
  }
  if (!kIs64Bit) StartPaging();
  WriteCr0(ReadCr0() | ReadMsr(Index(Msr::IA32_VMX_CR0_FIXED0)));
  WriteCr4(ReadCr4() | ReadMsr(Index(Msr::IA32_VMX_CR4_FIXED0)) | Cr4::kVmxe);
  WriteRevision(vmxon_region);
  if (!Vmxon(AddressOf(&vmxon_region))) Stop("VMXON fails");
}

void LeaveVmx() { asm volatile("vmxoff" : : : "memory", "cc"); }

void MakeVmcs(const VmcsOptions& options, void (*rip)(), void (*exit)()) {
  WriteRevision(vmcs_region);
  if (!Vmclear(AddressOf(&vmcs_region)) || !Vmptrld(AddressOf(&vmcs_region))) {
    Panic("VMCLEAR or VMPTRLD fails");
  }
  constexpr VmcsField kFields[] = {
#define NVMX_VMCS_FIELD(field, encoding, name, existence, policy) VmcsField::field,
#include "core/vmx/vmcs_fields.def"
#undef NVMX_VMCS_FIELD
  };
  // Not defined at first; what is absent or read-only refuses.
  for (VmcsField field : kFields) Vmwrite(Encoding(field), 0);
  Set(VmcsField::kVmcsLinkPointer, ~uint64_t{0});
  SetAllControls(options);
  SetRegisters(rip, exit);
  if (options.ept) {
    Set(VmcsField::kEptPointer, MakeEpt12());
    Set(VmcsField::kVirtualProcessorIdentifier, 1);
  }
  SetMsrLists();
  const uint64_t count = options.msr_lists ? kListedMsrs : 0;
  Set(VmcsField::kVmExitMsrStoreCount, count);
  Set(VmcsField::kVmExitMsrLoadCount, count);
  Set(VmcsField::kVmEntryMsrLoadCount, count);
}

}  // namespace nvmx::metal
