// SPDX-License-Identifier: Apache-2.0
#include "core/nested/l2_exits.h"

#include <cstddef>

#include "core/nested/embedder.h"
#include "core/nested/event_injection.h"
#include "core/nested/exit_routing.h"
#include "core/nested/guest_instructions.h"
#include "core/nested/nested_exit.h"
#include "core/nested/nested_paging.h"
#include "core/nested/operand.h"
#include "core/nested/shadow_vmcs.h"
#include "core/nested/vmx_instruction_checks.h"
#include "core/vmx/qualifications.h"

namespace nvmx {
namespace {

class BitmapsOfL1 final : public GuestBitmaps {
 public:
  explicit BitmapsOfL1(GuestMemory& memory) : memory_(memory) {}
  bool Bit(uint64_t bitmap, uint32_t bit) override {
    std::byte byte;
    if (!memory_.ReadValue(GuestPhysicalAddress{bitmap + bit / 8}, byte)) return true;
    return (std::to_integer<unsigned>(byte) >> bit % 8 & 1) != 0;
  }

 private:
  GuestMemory& memory_;
};

uint64_t Operand(Vcpu& vcpu, ExitReason reason, uint64_t qualification) {
  switch (reason) {
    case ExitReason::kRdmsr:
    case ExitReason::kWrmsr:
      return static_cast<uint32_t>(ReadRegister(vcpu, GeneralRegister::kRcx));
    case ExitReason::kVmread:
    case ExitReason::kVmwrite:
      return RegisterOperand(vcpu);
    case ExitReason::kControlRegisterAccesses: {
      const ControlRegisterAccess access(qualification);
      if (access.type() != ControlRegisterAccess::Type::kMovTo) return 0;
      return ReadRegister(vcpu, access.general_register());
    }
    default:
      return 0;
  }
}

L2Exit Describe(Vcpu& vcpu, ExitReason reason) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  L2Exit exit{.reason = reason};
  switch (reason) {
    case ExitReason::kExceptionOrNmi:
      exit.event = InterruptionInformation(
          static_cast<uint32_t>(vmcs.Read(VmcsField::kVmExitInterruptionInformation)));
      exit.error_code = static_cast<uint32_t>(vmcs.Read(VmcsField::kVmExitInterruptionErrorCode));
      break;
    case ExitReason::kControlRegisterAccesses:
    case ExitReason::kIoInstruction:
      exit.qualification = vmcs.Read(VmcsField::kExitQualification);
      break;
    default:
      break;
  }
  exit.operand = Operand(vcpu, reason, exit.qualification);
  return exit;
}

// Calls of the embedder's are no exits of L1's.
bool IsServedByEmbedder(Vcpu& vcpu, ExitReason reason) {
  if (reason == ExitReason::kCpuid) return EmulateCpuidOfL2(vcpu);
  if (reason != ExitReason::kVmcall ||
      !vcpu.embedder.OwnsVmcall(ReadRegister(vcpu, GeneralRegister::kRax)) ||
      !vcpu.embedder.HandleVmcall(vcpu)) {
    return false;
  }
  FinishInstruction(vcpu);
  return true;
}

// An exit that neither L1 nor L0 has asked for.
void HandleUnexpected(Vcpu& vcpu, const ReflectableExit& exit) {
  vcpu.ports.trace.Record(TraceKind::kAssertionFailed, exit.reason(), 0);
  if (exit.basic_reason() == ExitReason::kExceptionOrNmi) {
    // The exception is L2's all the same.
    const L2Exit exception = Describe(vcpu, exit.basic_reason());
    RaiseFault(vcpu, VmxOutcome::Fault(static_cast<Vector>(exception.event.vector()),
                                       exception.error_code));
    return;
  }
  RaiseFault(vcpu, Undefined());
}

void HandleExitOfL0(Vcpu& vcpu, const ReflectableExit& exit) {
  switch (exit.basic_reason()) {
    case ExitReason::kRdmsr:
      EmulateRdmsr(vcpu);
      return;
    case ExitReason::kWrmsr:
      EmulateWrmsr(vcpu);
      return;
    case ExitReason::kControlRegisterAccesses:
      // L2 sets a bit of CR4 that its processor does not have.
      RaiseFault(vcpu, GeneralProtection());
      return;
    case ExitReason::kEptViolation:
    case ExitReason::kEptMisconfiguration:
      HandleMemoryExitOfL2(vcpu);
      return;
    case ExitReason::kVmfunc:
      if (!HandleVmfuncOfL2(vcpu)) ReflectExit(vcpu, exit);
      return;
    case ExitReason::kVmread:
      VmreadOfShadowVmcs(vcpu, exit);
      return;
    case ExitReason::kVmwrite:
      VmwriteOfShadowVmcs(vcpu, exit);
      return;
    case ExitReason::kIoInstruction:
      // One of L1's two bitmaps is out of its reach, so that hardware could not be given the other.
      ReflectExit(vcpu, exit);
      return;
    default:
      HandleUnexpected(vcpu, exit);
      return;
  }
}

}  // namespace

void HandleSettledL2Exit(Vcpu& vcpu, const ReflectableExit& exit) {
  const ExitReason reason = exit.basic_reason();
  if (IsServedByEmbedder(vcpu, reason)) return;
  BitmapsOfL1 bitmaps(vcpu.ports.memory);
  if (OwnerOf(Describe(vcpu, reason), vcpu.state.vmcs12, bitmaps) == ExitOwner::kL1) {
    ReflectExit(vcpu, exit);
    return;
  }
  HandleExitOfL0(vcpu, exit);
}

}  // namespace nvmx
