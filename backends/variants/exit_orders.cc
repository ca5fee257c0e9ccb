// SPDX-License-Identifier: Apache-2.0
#include "backends/variants/exit_orders.h"

#include <utility>

#include "backends/variants/historical_exit_order.h"
#include "core/nested/guest_nmi.h"
#include "core/nested/nested_exit.h"
#include "core/smp/console.h"
#include "core/smp/nmi.h"
#include "core/smp/system.h"
#include "core/vmx/interruption_info.h"

namespace nvmx {
namespace {

[[noreturn]] void Halt(Vcpu& vcpu) {
  for (;;) vcpu.own.guest_nmis_pending.SpinUntilEquals(vcpu.ports.cpu, ~uint64_t{0});
}

void ResumeL2(Vcpu& vcpu) {
  vcpu.ports.vmcs.MakeCurrent(VmcsRole::kVmcs02);
  vcpu.state.operation = VmxOperation::kNonRoot;
}

// Looks at the copy in VMCS12, after everything else was done.
bool Vmcs12ShowsNmi(const Vcpu& vcpu) {
  const VmcsImage& vmcs12 = vcpu.state.vmcs12;
  return vmcs12.Get<VmcsField::kExitReason>() ==
             static_cast<uint32_t>(ExitReason::kExceptionOrNmi) &&
         InterruptionInformation(vmcs12.Get<VmcsField::kVmExitInterruptionInformation>()).IsNmi();
}

}  // namespace

uint32_t NmiPassthrough::Vmcs02PinBasedControls(uint32_t vmcs12_controls) const {
  return vmcs12_controls;
}

void UnhandledNmiExit::HandleL2Exit(Vcpu& vcpu, RawExit raw) const {
  if (!IsNmiExit(vcpu.ports.vmcs)) {
    Choreography::HandleL2Exit(vcpu, std::move(raw));
    return;
  }
  SmpContext smp = vcpu.smp();
  PrintLine(smp, LogLine::kUnhandledNmiExit, 0);
  vcpu.ports.trace.Record(TraceKind::kAssertionFailed, 0, 0);
  Halt(vcpu);
}

void LateAcknowledgement::HandleL2Exit(Vcpu& vcpu, RawExit raw) const {
  const ReflectableExit exit = HistoricalExitOrder::AssumeSettled(vcpu, std::move(raw));
  ReflectExit(vcpu, exit);
  if (!Vmcs12ShowsNmi(vcpu)) return;
  SmpContext smp = vcpu.smp();
  SettleNmi(smp, vcpu.quiesce);
  AfterNmiExit(vcpu);
  ResumeL2(vcpu);
}

void LateAcknowledgementUnblocked::HandleL2Exit(Vcpu& vcpu, RawExit raw) const {
  vcpu.ports.cpu.UnblockNmi();
  LateAcknowledgement::HandleL2Exit(vcpu, std::move(raw));
}

void SkippedL2::FinishNestedEntry(Vcpu& vcpu) const {
  Choreography::FinishNestedEntry(vcpu);
  Vmcs& vmcs = vcpu.ports.vmcs;
  vmcs.Write(VmcsField::kExitReason, static_cast<uint64_t>(ExitReason::kVmcall));
  vmcs.Write(VmcsField::kVmExitInterruptionInformation, 0);
  HandleL2Exit(vcpu, RawExit::FromHardware(VmcsRole::kVmcs02));
}

void NoUnblocking::AfterNmiExit(Vcpu&) const {}

void SwallowedWindow::DeliverGuestNmi(Vcpu& vcpu) const {
  const uint64_t pending = vcpu.own.guest_nmis_pending.Load(vcpu.ports.cpu);
  SetNmiWindowExiting(vcpu, (pending & kGuestNmisPendingMask) != 0);
}

void SwallowedWindow::HandleNmiWindow(Vcpu& vcpu) const {
  vcpu.own.guest_nmis_pending.Add(vcpu.ports.cpu, ~uint64_t{0});
  if (vcpu.state.guest_nmis_masked != 0) return;
  vcpu.ports.trace.Record(TraceKind::kNmiInjected, static_cast<uint64_t>(vcpu.ports.vmcs.Current()),
                          0);
  InjectNmi(vcpu);
}

}  // namespace nvmx
