// SPDX-License-Identifier: Apache-2.0
//
// An L1 and an L2 on a fake CPU, and an NMI that is pending for them.
#ifndef NVMX_CORE_TESTING_GUEST_NMI_FIXTURE_H_
#define NVMX_CORE_TESTING_GUEST_NMI_FIXTURE_H_

#include <cstdint>

#include "core/nested/boundary_exit.h"
#include "core/nested/guest_nmi.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/interruption_info.h"
#include "gtest/gtest.h"

namespace nvmx {

class GuestNmiTest : public testing::Test {
 protected:
  static constexpr uint32_t kNmi = 0x80000202;
  static constexpr uint32_t kBlocked = Interruptibility::kBlockingByNmi;
  static constexpr uint64_t kVirtualApicPage = 0x7000;

  // How L1 runs L2: with neither NMI control, with "NMI exiting", or with "virtual NMIs" as well.
  enum class Mode { kNeither, kNmiExiting, kVirtualNmis };

  void UseMode(Mode mode) {
    uint32_t pin =
        v_.Get<VmcsField::kPinBasedControls>() & ~PinBased::kNmiExiting & ~PinBased::kVirtualNmis;
    if (mode != Mode::kNeither) pin |= PinBased::kNmiExiting;
    if (mode == Mode::kVirtualNmis) pin |= PinBased::kVirtualNmis;
    v_.Set<VmcsField::kPinBasedControls>(pin);
  }
  void AskForNmiWindow() {
    v_.Set<VmcsField::kPrimaryProcessorBasedControls>(
        v_.Get<VmcsField::kPrimaryProcessorBasedControls>() |
        PrimaryProcessorBased::kNmiWindowExiting);
  }
  void EnterBlocked() { v_.Set<VmcsField::kGuestInterruptibilityState>(kBlocked); }
  void RunL2(Mode mode) {
    UseMode(mode);
    l1_.RunL2(v_);
  }
  void Pend(uint64_t count) { l1_.own.guest_nmis_pending.Store(l1_.cpu, count); }
  uint64_t Pending() const { return l1_.own.guest_nmis_pending.Peek(); }
  void Deliver() {
    if (l1_.L2Runs()) ArmExitsOfL1(l1_.vcpu());
    DeliverPendingGuestNmi(l1_.vcpu());
  }

  VmcsImage& L1() { return l1_.vmcs.vmcs01(); }
  VmcsImage& L2() { return l1_.vmcs.vmcs02(); }
  VmcsImage& Vmcs12() { return l1_.state.vmcs12; }
  static uint32_t Injection(const VmcsImage& image) {
    return image.Get<VmcsField::kVmEntryInterruptionInformation>();
  }
  static bool Window(const VmcsImage& image) {
    return (image.Get<VmcsField::kPrimaryProcessorBasedControls>() &
            PrimaryProcessorBased::kNmiWindowExiting) != 0;
  }
  static uint32_t Blocking(const VmcsImage& image) {
    return image.Get<VmcsField::kGuestInterruptibilityState>() & kBlocked;
  }
  static bool MonitorTrapFlag(const VmcsImage& image) {
    return (image.Get<VmcsField::kPrimaryProcessorBasedControls>() &
            PrimaryProcessorBased::kMonitorTrapFlag) != 0;
  }
  bool TimerIs(uint32_t value) {
    return (L2().Get<VmcsField::kPinBasedControls>() & PinBased::kActivateVmxPreemptionTimer) !=
               0 &&
           L2().Get<VmcsField::kVmxPreemptionTimerValue>() == value;
  }
  void UseTimer(uint32_t value) {
    v_.Set<VmcsField::kPinBasedControls>(v_.Get<VmcsField::kPinBasedControls>() |
                                         PinBased::kActivateVmxPreemptionTimer);
    v_.Set<VmcsField::kVmxPreemptionTimerValue>(value);
  }
  // The threshold is compared behind the entry only with "virtualize APIC accesses".
  void UseTprThreshold(uint32_t threshold) {
    v_.Set<VmcsField::kPrimaryProcessorBasedControls>(
        v_.Get<VmcsField::kPrimaryProcessorBasedControls>() | PrimaryProcessorBased::kUseTprShadow |
        PrimaryProcessorBased::kActivateSecondaryControls);
    v_.Set<VmcsField::kSecondaryProcessorBasedControls>(Secondary::kVirtualizeApicAccesses);
    v_.Set<VmcsField::kVirtualApicAddress>(kVirtualApicPage);
    v_.Set<VmcsField::kApicAccessAddress>(kVirtualApicPage + kPageSize);
    v_.Set<VmcsField::kTprThreshold>(threshold);
  }
  void SetVtpr(uint8_t value) {
    ASSERT_TRUE(l1_.memory.WriteValue(GuestPhysicalAddress{kVirtualApicPage + 0x80}, value));
  }
  // L1, which blocks NMIs and has one pending, enters L2.
  void EnterWithPendingNmi() {
    l1_.MakeCurrentVmcs12(v_);
    L1().Set<VmcsField::kGuestInterruptibilityState>(kBlocked);
    Pend(1);
    l1_.Exit(ExitReason::kVmlaunch);
  }
  void ExpectNmiExitToL1() {
    EXPECT_FALSE(l1_.L2Runs());
    EXPECT_EQ(l1_.vmcs.Current(), VmcsRole::kVmcs01);
    EXPECT_EQ(Vmcs12().Get<VmcsField::kExitReason>(), 0u);
    EXPECT_EQ(Vmcs12().Get<VmcsField::kVmExitInterruptionInformation>(), kNmi);
    EXPECT_EQ(Blocking(L1()), kBlocked);
  }

  FakeVcpu l1_;
  VmcsImage v_ = ValidVmcs12(l1_.state.offered);
};

}  // namespace nvmx

#endif  // NVMX_CORE_TESTING_GUEST_NMI_FIXTURE_H_
