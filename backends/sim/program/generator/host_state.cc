// SPDX-License-Identifier: Apache-2.0
//
// The host-state area. Where a change still lets VM entry succeed, L1 finds itself changed after
// the exit.
#include "backends/sim/program/generator/topics.h"
#include "core/vmx/controls.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/msr.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

using lhv::OperationKind;

constexpr VmcsField kAnyHostField[] = {
    VmcsField::kHostEsSelector,      VmcsField::kHostCsSelector,
    VmcsField::kHostSsSelector,      VmcsField::kHostDsSelector,
    VmcsField::kHostFsSelector,      VmcsField::kHostGsSelector,
    VmcsField::kHostTrSelector,      VmcsField::kHostIa32Pat,
    VmcsField::kHostIa32Efer,        VmcsField::kHostIa32PerfGlobalCtrl,
    VmcsField::kHostIa32SysenterCs,  VmcsField::kHostCr0,
    VmcsField::kHostCr3,             VmcsField::kHostCr4,
    VmcsField::kHostFsBase,          VmcsField::kHostGsBase,
    VmcsField::kHostTrBase,          VmcsField::kHostGdtrBase,
    VmcsField::kHostIdtrBase,        VmcsField::kHostIa32SysenterEsp,
    VmcsField::kHostIa32SysenterEip, VmcsField::kHostRsp,
};

struct HostValue {
  VmcsField field;
  uint64_t value;
};
constexpr uint64_t kCr0 = Cr0::kPe | Cr0::kEt | Cr0::kNe | Cr0::kPg;
constexpr uint64_t kCr4 = Cr4::kPae | Cr4::kVmxe;
// Right, or nearly.
constexpr HostValue kValues[] = {
    {VmcsField::kHostCr0, kCr0 | Cr0::kWp},
    {VmcsField::kHostCr0, kCr0 | Cr0::kTs},
    {VmcsField::kHostCr0, kCr0 | Cr0::kCd | Cr0::kNw},
    {VmcsField::kHostCr0, kCr0 & ~Cr0::kNe},
    {VmcsField::kHostCr4, kCr4 | Cr4::kPge | Cr4::kOsfxsr},
    {VmcsField::kHostCr4, kCr4 | Cr4::kPcide},
    {VmcsField::kHostCr4, kCr4 | Cr4::kSmep},
    {VmcsField::kHostCr4, kCr4 & ~Cr4::kPae},
    {VmcsField::kHostCr4, kCr4 & ~Cr4::kVmxe},
    {VmcsField::kHostIa32Efer, Efer::kLme | Efer::kLma | Efer::kNxe | Efer::kSce},
    {VmcsField::kHostIa32Efer, Efer::kLme},
    {VmcsField::kHostIa32Efer, 0},
    {VmcsField::kHostIa32Pat, 0x0606060606060606},
    {VmcsField::kHostIa32Pat, 0x0202020202020202},
    {VmcsField::kHostFsSelector, 0},
    {VmcsField::kHostGsSelector, lhv::kDataSelector | 3},
    {VmcsField::kHostSsSelector, 0},
    {VmcsField::kHostTrSelector, 0},
    {VmcsField::kHostCsSelector, 0},
    {VmcsField::kHostEsSelector, lhv::kDataSelector | 4},
    {VmcsField::kHostFsBase, 0x1234'5678},
    {VmcsField::kHostGsBase, 0xFFFF'8000'0000'0000},
    {VmcsField::kHostGsBase, 0x0000'8000'0000'0000},
    {VmcsField::kHostIa32SysenterEsp, 0x7FFF'FFFF'FFFF},
    {VmcsField::kHostIa32SysenterEip, 0x8000'0000'0000'0000},
    {VmcsField::kHostIa32SysenterCs, 0x55AA},
    {VmcsField::kHostIa32PerfGlobalCtrl, 1},
    {VmcsField::kHostIa32PerfGlobalCtrl, uint64_t{1} << 63},
};

constexpr Msr kHostMsrs[] = {Msr::IA32_PAT,          Msr::IA32_EFER,         Msr::IA32_SYSENTER_CS,
                             Msr::IA32_SYSENTER_ESP, Msr::IA32_SYSENTER_EIP, Msr::IA32_FS_BASE,
                             Msr::IA32_GS_BASE,      Msr::IA32_DEBUGCTL,
                             Msr::IA32_PERF_GLOBAL_CTRL};

}  // namespace

void AddHostState(Random& random, ProgramBuilder& builder) {
  const uint64_t changes = random.Between(1, 2);
  for (uint64_t i = 0; i < changes; ++i) {
    if (random.OneIn(3)) {
      const VmcsField field = random.Of(kAnyHostField);
      builder.Prelude(ProgramBuilder::Write(field, random.Awkward(64)));
      continue;
    }
    const HostValue& row = random.Of(kValues);
    builder.Prelude(ProgramBuilder::Write(row.field, row.value));
    if (row.field == VmcsField::kHostIa32PerfGlobalCtrl) {
      builder.SetControls(VmcsField::kVmExitControls, VmExit::kLoadIa32PerfGlobalCtrl);
    }
  }
  if (random.OneIn(8)) {
    builder.ClearControls(VmcsField::kVmExitControls, VmExit::kHostAddressSpaceSize);
  }
  if (random.OneIn(4)) builder.ClearControls(VmcsField::kVmExitControls, VmExit::kLoadIa32Efer);
  if (random.OneIn(4)) builder.ClearControls(VmcsField::kVmExitControls, VmExit::kLoadIa32Pat);
  const uint64_t reads = random.Between(1, 3);
  for (uint64_t i = 0; i < reads; ++i) {
    builder.Epilogue({.kind = OperationKind::kRdmsr, .selector = Index(random.Of(kHostMsrs))});
  }
  const uint32_t registers[] = {0, 3, 4};
  builder.Epilogue({.kind = OperationKind::kMovFromCr, .selector = random.Of(registers)});
}

}  // namespace nvmx::sim
