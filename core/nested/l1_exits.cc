// SPDX-License-Identifier: Apache-2.0
#include "core/nested/l1_exits.h"

#include "core/nested/choreography.h"
#include "core/nested/embedder.h"
#include "core/nested/event_injection.h"
#include "core/nested/guest_instructions.h"
#include "core/nested/init_sipi.h"
#include "core/nested/l1_control_registers.h"
#include "core/nested/nested_paging.h"
#include "core/nested/vmcs01.h"
#include "core/nested/vmx_instruction_checks.h"
#include "core/nested/vmx_instructions.h"
#include "core/nested/xcr0.h"
#include "core/vmx/interruptibility.h"

namespace nvmx {
namespace {

// The observer is told of what L0 has no answer to.
void Report(Vcpu& vcpu, const ReflectableExit& exit) {
  vcpu.ports.trace.Record(TraceKind::kAssertionFailed, exit.reason(), 0);
}

void HandleVmcall(Vcpu& vcpu) {
  if (vcpu.embedder.HandleVmcall(vcpu)) {
    FinishInstruction(vcpu);
    return;
  }
  EmulateVmxInstruction(vcpu, ExitReason::kVmcall);
}

// The caches that L1's INVD would discard hold what is L0's too. What it leaves undefined is left
// as it is.
void HandleInvd(Vcpu& vcpu) { FinishInstruction(vcpu); }

}  // namespace

void HandleL1Exit(Vcpu& vcpu, const ReflectableExit& exit) {
  switch (exit.basic_reason()) {
    case ExitReason::kCpuid:
      EmulateCpuidOfL1(vcpu);
      return;
    case ExitReason::kRdmsr:
      EmulateRdmsr(vcpu);
      return;
    case ExitReason::kWrmsr:
      EmulateWrmsr(vcpu);
      return;
    case ExitReason::kControlRegisterAccesses:
      EmulateControlRegisterAccessOfL1(vcpu);
      return;
    case ExitReason::kXsetbv:
      EmulateXsetbvOfL1(vcpu);
      return;
    case ExitReason::kInvd:
      HandleInvd(vcpu);
      return;
    case ExitReason::kVmcall:
      HandleVmcall(vcpu);
      return;
    case ExitReason::kEptViolation:
    case ExitReason::kEptMisconfiguration:
      HandleMemoryExitOfL1(vcpu);
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
    case ExitReason::kTaskSwitch:
      Report(vcpu, exit);
      ShutDownL1(vcpu);
      return;
    case ExitReason::kNmiWindow:
      vcpu.choreography.HandleNmiWindow(vcpu);
      return;
    case ExitReason::kGetsec:
      // SMX is not offered: without CR4.SMXE the instruction is undefined.
      RaiseFault(vcpu, Undefined());
      return;
    default:
      break;
  }
  if (EmulateVmxInstruction(vcpu, exit.basic_reason())) return;
  // VMCS01 does not ask for it. L1 finds the instruction undefined, so that it cannot stand at it
  // for ever.
  Report(vcpu, exit);
  RaiseFault(vcpu, Undefined());
}

}  // namespace nvmx
