// SPDX-License-Identifier: Apache-2.0
#include "lhv/baseline.h"

#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/memory_type.h"
#include "core/x86/rflags.h"
#include "core/x86/segment.h"
#include "lhv/layout.h"
#include "lhv/tables_of_32_bits.h"

namespace nvmx::lhv {
namespace {

struct VmcsValue {
  VmcsField field;
  uint64_t value;
  uint16_t flags = 0;
};

constexpr uint32_t kFlatLimit = 0xFFFF'FFFF;
constexpr uint32_t kCodeRights = AccessRights::kTypeCode | AccessRights::kTypeReadable |
                                 AccessRights::kTypeAccessed | AccessRights::kS | AccessRights::kP |
                                 AccessRights::kL | AccessRights::kG;
constexpr uint32_t kDataRights = AccessRights::kTypeWritable | AccessRights::kTypeAccessed |
                                 AccessRights::kS | AccessRights::kP | AccessRights::kDb |
                                 AccessRights::kG;
constexpr uint32_t kTssRights = AccessRights::kTypeBusyTss | AccessRights::kP;
constexpr uint32_t kTssLimit = 0x67;
constexpr uint32_t kGdtLimit = kTssSelector + 16 - 1;  // a 64-bit TSS descriptor has 16 bytes
constexpr uint32_t kIdtLimit = kVectorCount * 16 - 1;
constexpr uint64_t kNoLinkPointer = ~uint64_t{0};

// In the order of SDM Vol. 3D, Appendix B "Field Encoding in VMCS"; the fields that not every CPU
// has are the last.
constexpr VmcsValue kControls[] = {
    {VmcsField::kTscOffset, 0},
    {VmcsField::kExceptionBitmap, 0},
    {VmcsField::kPageFaultErrorCodeMask, 0},
    {VmcsField::kPageFaultErrorCodeMatch, 0},
    {VmcsField::kCr3TargetCount, 0},
    {VmcsField::kVmExitMsrStoreCount, 0},
    {VmcsField::kVmExitMsrLoadCount, 0},
    {VmcsField::kVmEntryMsrLoadCount, 0},
    {VmcsField::kVmEntryInterruptionInformation, 0},
    {VmcsField::kVmEntryExceptionErrorCode, 0},
    {VmcsField::kVmEntryInstructionLength, 0},
    {VmcsField::kCr0GuestHostMask, 0},
    {VmcsField::kCr4GuestHostMask, 0},
    {VmcsField::kCr0ReadShadow, 0},
    {VmcsField::kCr4ReadShadow, 0},
};

constexpr VmcsValue kGuestState[] = {
    {VmcsField::kGuestEsSelector, kDataSelector},
    {VmcsField::kGuestCsSelector, kCodeSelector},
    {VmcsField::kGuestSsSelector, kDataSelector},
    {VmcsField::kGuestDsSelector, kDataSelector},
    {VmcsField::kGuestFsSelector, kDataSelector},
    {VmcsField::kGuestGsSelector, kDataSelector},
    {VmcsField::kGuestLdtrSelector, 0},
    {VmcsField::kGuestTrSelector, kTssSelector},
    {VmcsField::kVmcsLinkPointer, kNoLinkPointer},
    {VmcsField::kGuestIa32Debugctl, 0},
    {VmcsField::kGuestEsLimit, kFlatLimit},
    {VmcsField::kGuestCsLimit, kFlatLimit},
    {VmcsField::kGuestSsLimit, kFlatLimit},
    {VmcsField::kGuestDsLimit, kFlatLimit},
    {VmcsField::kGuestFsLimit, kFlatLimit},
    {VmcsField::kGuestGsLimit, kFlatLimit},
    {VmcsField::kGuestLdtrLimit, 0},
    {VmcsField::kGuestTrLimit, kTssLimit},
    {VmcsField::kGuestGdtrLimit, kGdtLimit},
    {VmcsField::kGuestIdtrLimit, kIdtLimit},
    {VmcsField::kGuestEsAccessRights, kDataRights},
    {VmcsField::kGuestCsAccessRights, kCodeRights},
    {VmcsField::kGuestSsAccessRights, kDataRights},
    {VmcsField::kGuestDsAccessRights, kDataRights},
    {VmcsField::kGuestFsAccessRights, kDataRights},
    {VmcsField::kGuestGsAccessRights, kDataRights},
    {VmcsField::kGuestLdtrAccessRights, AccessRights::kUnusable},
    {VmcsField::kGuestTrAccessRights, kTssRights},
    {VmcsField::kGuestInterruptibilityState, 0},
    {VmcsField::kGuestActivityState, static_cast<uint32_t>(ActivityState::kActive)},
    {VmcsField::kGuestIa32SysenterCs, 0},
    {VmcsField::kGuestCr0, Cr0::kPe | Cr0::kEt | Cr0::kNe | Cr0::kPg},
    {VmcsField::kGuestCr3, kPageTableOffset, kValueIsWindowOffset},
    {VmcsField::kGuestCr4, Cr4::kPae | Cr4::kVmxe},
    {VmcsField::kGuestEsBase, 0},
    {VmcsField::kGuestCsBase, 0},
    {VmcsField::kGuestSsBase, 0},
    {VmcsField::kGuestDsBase, 0},
    {VmcsField::kGuestFsBase, 0},
    {VmcsField::kGuestGsBase, 0},
    {VmcsField::kGuestLdtrBase, 0},
    {VmcsField::kGuestTrBase, kTssOffset, kValueIsWindowOffset},
    {VmcsField::kGuestGdtrBase, kGdtOffset, kValueIsWindowOffset},
    {VmcsField::kGuestIdtrBase, kL2IdtOffset, kValueIsWindowOffset},
    {VmcsField::kGuestDr7, Dr7::kInit},
    {VmcsField::kGuestRsp, kL2StackTop, kValueIsWindowOffset},
    {VmcsField::kGuestRflags, Rflags::kFixed1},
    {VmcsField::kGuestPendingDebugExceptions, 0},
    {VmcsField::kGuestIa32SysenterEsp, 0},
    {VmcsField::kGuestIa32SysenterEip, 0},
    {VmcsField::kGuestIa32Pat, kPatReset},
    {VmcsField::kGuestIa32Efer, Efer::kLme | Efer::kLma},
};

// What is otherwise outside IA-32e mode.
constexpr VmcsValue kGuestStateOf32Bits[] = {
    {VmcsField::kGuestGdtrLimit, kGdtLimitOf32Bits},
    {VmcsField::kGuestIdtrLimit, kIdtLimitOf32Bits},
    {VmcsField::kGuestCsAccessRights, (kCodeRights & ~AccessRights::kL) | AccessRights::kDb},
    {VmcsField::kGuestCr4, kCr4Of32Bits},
    {VmcsField::kGuestIa32Efer, 0},
};

uint64_t ValueIn(L1Mode mode, const VmcsValue& row) {
  if (mode == L1Mode::k64Bit) return row.value;
  for (const VmcsValue& other : kGuestStateOf32Bits) {
    if (other.field == row.field) return other.value;
  }
  return row.value;
}

Operation VmwriteControl(VmcsField field, uint64_t wanted) {
  return {.kind = OperationKind::kVmwriteControl, .selector = Encoding(field), .value = wanted};
}

Operation WithAddress(OperationKind kind, AddressOperand address) {
  return {.kind = kind, .flags = address.flags, .value = address.value};
}

}  // namespace

std::vector<Operation> EnterVmx(AddressOperand region) {
  return {WithAddress(OperationKind::kInitializeVmxRegion, region),
          WithAddress(OperationKind::kVmxon, region)};
}

std::vector<Operation> BaselineVmcs(AddressOperand region, uint32_t cpu, L1Mode mode) {
  const bool is_64_bit = mode == L1Mode::k64Bit;
  std::vector<Operation> operations = {
      WithAddress(OperationKind::kInitializeVmxRegion, region),
      WithAddress(OperationKind::kVmclear, region),
      WithAddress(OperationKind::kVmptrld, region),
      VmwriteControl(VmcsField::kPinBasedControls, PinBased::kNmiExiting | PinBased::kVirtualNmis),
      VmwriteControl(VmcsField::kPrimaryProcessorBasedControls, 0),
      VmwriteControl(VmcsField::kVmExitControls,
                     VmExit::kSaveDebugControls | (is_64_bit ? VmExit::kHostAddressSpaceSize : 0) |
                         VmExit::kSaveIa32Pat | VmExit::kLoadIa32Pat | VmExit::kSaveIa32Efer |
                         VmExit::kLoadIa32Efer),
      VmwriteControl(VmcsField::kVmEntryControls,
                     VmEntry::kLoadDebugControls | (is_64_bit ? VmEntry::kIa32eModeGuest : 0) |
                         VmEntry::kLoadIa32Pat | VmEntry::kLoadIa32Efer),
      {.kind = OperationKind::kVmwriteHostState},
  };
  for (const VmcsValue& row : kControls) {
    operations.push_back(Vmwrite(row.field, row.value, row.flags));
  }
  for (const VmcsValue& row : kGuestState) {
    operations.push_back(Vmwrite(row.field, ValueIn(mode, row), row.flags));
    // Behind RSP.
    if (row.field == VmcsField::kGuestRsp) {
      operations.push_back(Vmwrite(VmcsField::kGuestRip, CodeOf(cpu, kL2CodeBase)));
    }
  }
  return operations;
}

Operation Vmwrite(VmcsField field, uint64_t value, uint16_t flags) {
  return {
      .kind = OperationKind::kVmwrite, .flags = flags, .selector = Encoding(field), .value = value};
}

}  // namespace nvmx::lhv
