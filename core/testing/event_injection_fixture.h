// SPDX-License-Identifier: Apache-2.0
//
// An L2 on a fake CPU whose events an exit interrupted, or L0 makes.
#ifndef NVMX_CORE_TESTING_EVENT_INJECTION_FIXTURE_H_
#define NVMX_CORE_TESTING_EVENT_INJECTION_FIXTURE_H_

#include <cstdint>

#include "core/nested/event_injection.h"
#include "core/nested/vmx_instructions.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/exception.h"
#include "gtest/gtest.h"

namespace nvmx {

class EventInjectionTest : public testing::Test {
 protected:
  static constexpr uint32_t kNmi = 0x80000202;
  static constexpr uint32_t kNmiAsException = 0x80000302;
  static constexpr uint32_t kBlocked = Interruptibility::kBlockingByNmi;
  static constexpr uint64_t kIretUnblocked = 1 << 12;

  void UsePin(uint32_t nmi_controls) {
    constexpr uint32_t kBoth = PinBased::kNmiExiting | PinBased::kVirtualNmis;
    v_.Set<VmcsField::kPinBasedControls>((v_.Get<VmcsField::kPinBasedControls>() & ~kBoth) |
                                         nmi_controls);
  }
  void RunL2() { l1_.RunL2(v_); }
  // EPT12 maps nothing, so that EPT violations are L1's.
  void UseEmptyEpt12() {
    v_.Set<VmcsField::kPrimaryProcessorBasedControls>(
        v_.Get<VmcsField::kPrimaryProcessorBasedControls>() |
        PrimaryProcessorBased::kActivateSecondaryControls);
    v_.Set<VmcsField::kSecondaryProcessorBasedControls>(Secondary::kEnableEpt);
    v_.Set<VmcsField::kEptPointer>(0x40000 | 3 << 3 | 6);
  }
  // VMCS02 describes an exit during delivery of the event.
  void Vectoring(uint32_t information, uint32_t error_code = 0, uint32_t length = 0) {
    L2().Set<VmcsField::kIdtVectoringInformation>(information);
    L2().Set<VmcsField::kIdtVectoringErrorCode>(error_code);
    L2().Set<VmcsField::kVmExitInstructionLength>(length);
  }
  void ExitWas(ExitReason reason, uint64_t qualification = 0) {
    L2().Set<VmcsField::kExitReason>(static_cast<uint64_t>(reason));
    L2().Set<VmcsField::kExitQualification>(qualification);
  }
  void Reinject() { ReinjectVectoredEvent(l1_.vcpu()); }
  void Raise(Vector vector, uint32_t error_code = 0, uint64_t linear = 0) {
    RaiseFault(l1_.vcpu(), VmxOutcome::Fault(vector, error_code), linear);
  }
  void Intercept(Vector vector) {
    v_.Set<VmcsField::kExceptionBitmap>(uint64_t{1} << static_cast<unsigned>(vector));
  }
  uint32_t Injection() { return L2().Get<VmcsField::kVmEntryInterruptionInformation>(); }
  uint32_t Blocking() { return L2().Get<VmcsField::kGuestInterruptibilityState>(); }
  VmcsImage& L1() { return l1_.vmcs.vmcs01(); }
  VmcsImage& L2() { return l1_.vmcs.vmcs02(); }
  VmcsImage& Vmcs12() { return l1_.state.vmcs12; }
  void ExpectExit(uint32_t reason, uint32_t event) {
    EXPECT_FALSE(l1_.L2Runs());
    EXPECT_EQ(Vmcs12().Get<VmcsField::kExitReason>(), reason);
    EXPECT_EQ(Vmcs12().Get<VmcsField::kVmExitInterruptionInformation>(), event);
  }

  FakeVcpu l1_;
  VmcsImage v_ = ValidVmcs12(l1_.state.offered);
};

}  // namespace nvmx

#endif  // NVMX_CORE_TESTING_EVENT_INJECTION_FIXTURE_H_
