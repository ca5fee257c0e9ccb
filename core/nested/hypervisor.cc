// SPDX-License-Identifier: Apache-2.0
#include "core/nested/hypervisor.h"

#include <utility>

#include "core/nested/boundary_exit.h"
#include "core/nested/choreography.h"
#include "core/nested/embedder.h"
#include "core/nested/init_sipi.h"
#include "core/nested/msr_access.h"
#include "core/nested/mtrr_virtualization.h"
#include "core/nested/nested_paging.h"
#include "core/nested/vmx_instructions.h"
#include "core/smp/nmi.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/general_register.h"

namespace nvmx {
namespace {

uint64_t& Register(Vcpu& vcpu, GeneralRegister name) {
  return vcpu.state.registers[static_cast<size_t>(name)];
}

constexpr uint64_t kLow32 = 0xFFFFFFFF;

void EmulateRdmsr(Vcpu& vcpu) {
  const auto msr = static_cast<uint32_t>(Register(vcpu, GeneralRegister::kRcx));
  const std::optional<uint64_t> value = ReadGuestMsr(vcpu, msr);
  if (!value) {
    InjectFault(vcpu, Vector::kGeneralProtection, 0);
    return;
  }
  Register(vcpu, GeneralRegister::kRax) = *value & kLow32;
  Register(vcpu, GeneralRegister::kRdx) = *value >> 32;
  SkipInstruction(vcpu);
}

void EmulateWrmsr(Vcpu& vcpu) {
  const auto msr = static_cast<uint32_t>(Register(vcpu, GeneralRegister::kRcx));
  const uint64_t value = (Register(vcpu, GeneralRegister::kRax) & kLow32) |
                         Register(vcpu, GeneralRegister::kRdx) << 32;
  if (!WriteGuestMsr(vcpu, msr, value)) {
    InjectFault(vcpu, Vector::kGeneralProtection, 0);
    return;
  }
  CommitMemoryTypes(vcpu);
  SkipInstruction(vcpu);
}

void EmulateCpuid(Vcpu& vcpu) {
  const CpuidRegisters result =
      vcpu.ports.cpu.Cpuid(static_cast<uint32_t>(Register(vcpu, GeneralRegister::kRax)),
                           static_cast<uint32_t>(Register(vcpu, GeneralRegister::kRcx)));
  Register(vcpu, GeneralRegister::kRax) = result.eax;
  Register(vcpu, GeneralRegister::kRbx) = result.ebx;
  Register(vcpu, GeneralRegister::kRcx) = result.ecx;
  Register(vcpu, GeneralRegister::kRdx) = result.edx;
  SkipInstruction(vcpu);
}

// As on a processor that is on its own; whether the whole machine is reset is the platform's
// affair.
void ShutDownL1(Vcpu& vcpu) {
  vcpu.ports.vmcs.Write(VmcsField::kGuestActivityState,
                        static_cast<uint64_t>(ActivityState::kShutdown));
}

void HandleVmcall(Vcpu& vcpu) {
  if (vcpu.embedder.HandleVmcall(vcpu)) {
    SkipInstruction(vcpu);
    return;
  }
  EmulateVmxInstruction(vcpu, ExitReason::kVmcall);
}

void HandleL1Exit(Vcpu& vcpu, const ReflectableExit& exit) {
  switch (exit.basic_reason()) {
    case ExitReason::kCpuid:
      EmulateCpuid(vcpu);
      return;
    case ExitReason::kRdmsr:
      EmulateRdmsr(vcpu);
      return;
    case ExitReason::kWrmsr:
      EmulateWrmsr(vcpu);
      return;
    case ExitReason::kVmcall:
      HandleVmcall(vcpu);
      return;
    case ExitReason::kInitSignal:
      HandleInitOfL1(vcpu);
      return;
    case ExitReason::kStartUpIpi:
      HandleSipiOfL1(vcpu);
      return;
    case ExitReason::kTripleFault:
      ShutDownL1(vcpu);
      return;
    case ExitReason::kNmiWindow:
      vcpu.choreography.HandleNmiWindow(vcpu);
      return;
    default:
      break;
  }
  if (EmulateVmxInstruction(vcpu, exit.basic_reason())) return;
  // An exit that L0 has no answer to: an instruction that always exits and is not emulated, or one
  // that VMCS01 does not ask for. L1 finds the instruction undefined, so that it cannot stand at it
  // for ever; the observer is told.
  vcpu.ports.trace.Record(TraceKind::kAssertionFailed, exit.reason(), 0);
  InjectFault(vcpu, Vector::kInvalidOpcode, 0);
}

}  // namespace

void HandleVmExit(Vcpu& vcpu, RawExit raw) {
  if (raw.from() == VmcsRole::kVmcs02) {
    vcpu.choreography.HandleL2Exit(vcpu, std::move(raw));
  } else if (std::optional<ReflectableExit> exit = SettleExit(vcpu, std::move(raw))) {
    HandleL1Exit(vcpu, *exit);
  }
  if (vcpu.state.operation == VmxOperation::kNonRoot) ArmExitsOfL1(vcpu);
  DeliverLatchedInit(vcpu);
  FollowEpt01(vcpu);
  vcpu.choreography.DeliverGuestNmi(vcpu);
}

void HandleHostNmi(Vcpu& vcpu) {
  SmpContext smp = vcpu.smp();
  if (SettleNmi(smp, vcpu.quiesce) == NmiOwner::kL0 && DependsOnEpt01(vcpu)) {
    vcpu.own.guest_nmis_pending.Add(vcpu.ports.cpu, kEpt01Suspected);
  }
}

}  // namespace nvmx
