// SPDX-License-Identifier: Apache-2.0
//
// A processor without L0, whose L1 is in 64-bit mode and may use VMX.
#ifndef NVMX_BACKENDS_SIM_MACHINE_TESTING_NATIVE_FIXTURE_H_
#define NVMX_BACKENDS_SIM_MACHINE_TESTING_NATIVE_FIXTURE_H_

#include <cstdint>
#include <optional>
#include <span>

#include "backends/sim/machine/guest_tables.h"
#include "backends/sim/machine/memory.h"
#include "backends/sim/machine/operand_registers.h"
#include "backends/sim/machine/processor.h"
#include "backends/sim/machine/testing/vm_entry_fixture.h"
#include "core/vmx/ept.h"
#include "lhv/layout.h"

namespace nvmx::sim {

// Nobody is there.
class NoPlatform final : public Platform {
 public:
  void RunRoot() override { ADD_FAILURE() << "there is no L0"; }
  void SendIpi(uint64_t) override {}
  void EntryRefused(const char* rule) override { ADD_FAILURE() << rule; }
};

inline Capabilities NativeCapabilities() {
  Capabilities c = EverythingCapabilities();
  c.ept_vpid_cap |= EptVpidCap::kExecuteOnly | EptVpidCap::kInvept |
                    EptVpidCap::kInveptSingleContext | EptVpidCap::kInveptAllContext |
                    EptVpidCap::kInvvpid | EptVpidCap::kInvvpidIndividualAddress |
                    EptVpidCap::kInvvpidSingleContext | EptVpidCap::kInvvpidAllContext |
                    EptVpidCap::kInvvpidSingleContextRetainingGlobals | EptVpidCap::k1GByteMapping |
                    EptVpidCap::k2MByteMapping;
  c.misc |= VmxMisc::kStoreLmaOnExit | VmxMisc::kVmwriteToAnyField;
  c.vmcs_enum = MakeVmcsEnum(c);
  return c;
}

class NativeTest : public testing::Test {
 protected:
  using Kind = lhv::InstructionKind;

  static constexpr uint64_t kWindow = lhv::kWindowBase;
  static constexpr uint64_t kVmxon = kWindow + 0x10000;
  static constexpr uint64_t kVmcs = kWindow + 0x11000;
  static constexpr uint64_t kOtherVmcs = kWindow + 0x12000;
  static constexpr uint64_t kShadowVmcs = kWindow + 0x13000;
  static constexpr uint64_t kData = kWindow + 0x20000;
  static constexpr uint64_t kList = kWindow + 0x30000;
  static constexpr uint64_t kUnbacked = 0x30'0000'0000;
  static constexpr uint32_t kRevision = 0x1234;
  static constexpr uint64_t kHostRip = lhv::kL1CodeBase + 0x5000;
  static constexpr uint64_t kL2Rip = lhv::kL2CodeBase;

  explicit NativeTest(const Capabilities& capabilities = NativeCapabilities())
      : cpu_(memory_, platform_, capabilities, {.native = true}) {
    WriteGuestTables(memory_, 0);
    for (uint64_t region : {kVmxon, kVmcs, kOtherVmcs}) Put<uint32_t>(region, kRevision);
    Put<uint32_t>(kShadowVmcs, kRevision | VmcsHeader::kShadow);
    StartL1();
  }

  template <typename T>
  void Put(uint64_t address, T value) {
    ASSERT_TRUE(memory_.Write(address, std::as_bytes(std::span(&value, 1))));
  }
  template <typename T>
  T Get(uint64_t address) const {
    T value{};
    memory_.ReadPhysical(address, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  ProcessorState& state() { return cpu_.state(); }
  SwitchedRegisters& r() { return cpu_.state().switched; }
  uint64_t& Register(GeneralRegister name) { return state().registers[At(name)]; }
  uint64_t Read(VmcsField field) const { return cpu_.VmcsRead(field); }
  void Write(VmcsField field, uint64_t value) { cpu_.VmcsWrite(field, value); }
  void Or(VmcsField field, uint64_t bits) { Write(field, Read(field) | bits); }
  void Clear(VmcsField field, uint64_t bits) { Write(field, Read(field) & ~bits); }
  void UseSecondary(uint64_t bits) {
    Or(VmcsField::kPrimaryProcessorBasedControls,
       PrimaryProcessorBased::kActivateSecondaryControls);
    Or(VmcsField::kSecondaryProcessorBasedControls, bits);
  }

  lhv::InstructionEnd Execute(const lhv::Instruction& instruction) {
    last_ = cpu_.Execute(instruction);
    return last_;
  }
  lhv::InstructionEnd Execute(Kind kind, uint64_t first = 0, uint64_t second = 0,
                              uint64_t third = 0) {
    return Execute({.kind = kind, .first = first, .second = second, .third = third});
  }

  // --- What became of the last instruction.
  void ExpectSuccess() {
    EXPECT_TRUE(last_.completed);
    EXPECT_FALSE(last_.diverted);
    EXPECT_EQ(r().rflags & Rflags::kArithmetic, 0u);
  }
  void ExpectFailInvalid() {
    EXPECT_TRUE(last_.completed);
    EXPECT_EQ(r().rflags & Rflags::kArithmetic, Rflags::kCf);
  }
  void ExpectFail(VmInstructionError error) {
    EXPECT_TRUE(last_.completed);
    EXPECT_EQ(r().rflags & Rflags::kArithmetic, Rflags::kZf);
    EXPECT_EQ(Read(VmcsField::kVmInstructionError), static_cast<uint64_t>(error)) << Name(error);
  }
  // The handler of the vector is next.
  void ExpectFault(Vector vector, uint64_t handlers = lhv::kL1HandlerBase) {
    EXPECT_FALSE(last_.completed);
    EXPECT_EQ(cpu_.Rip(), lhv::HandlerAddress(handlers, static_cast<uint8_t>(vector)))
        << Name(vector);
  }
  void ExpectExit(ExitReason reason) {
    EXPECT_EQ(state().operation, Operation::kRoot);
    EXPECT_EQ(Read(VmcsField::kExitReason), static_cast<uint64_t>(reason)) << Name(reason);
    EXPECT_EQ(cpu_.Rip(), kHostRip);
  }

  // --- The way into the guest.
  void EnterVmx() {
    Execute(Kind::kVmxon, kVmxon);
    ASSERT_EQ(state().operation, Operation::kRoot);
  }
  // A current VMCS that can be entered.
  void LoadVmcs(uint64_t region = kVmcs) {
    Execute(Kind::kVmclear, region);
    Execute(Kind::kVmptrld, region);
    ASSERT_EQ(state().current_vmcs_pointer, region);
    WriteBaseline();
  }
  void Launch() {
    Execute(Kind::kVmlaunch);
    ASSERT_TRUE(cpu_.in_non_root()) << "reason " << std::hex << Read(VmcsField::kExitReason)
                                    << " error " << Read(VmcsField::kVmInstructionError);
  }
  // An L2 that runs.
  void RunL2() {
    EnterVmx();
    LoadVmcs();
    Launch();
  }
  void ExitByVmcall() {
    Execute(Kind::kVmcall);
    ExpectExit(ExitReason::kVmcall);
  }

  void StartL1() {
    SwitchedRegisters& regs = r();
    regs.cr0 = Cr0::kPe | Cr0::kEt | Cr0::kNe | Cr0::kPg;
    regs.cr3 = kWindow + lhv::kPageTableOffset;
    regs.cr4 = Cr4::kPae | Cr4::kVmxe;
    regs.efer = Efer::kLme | Efer::kLma;
    regs.rflags = Rflags::kFixed1;
    regs.pat = kPatReset;
    regs.dr7 = Dr7::kInit;
    regs.rip = lhv::kL1CodeBase;
    regs.rsp = kWindow + lhv::kL1StackTop;
    regs.es = regs.ss = regs.ds = regs.fs = regs.gs = {lhv::kDataSelector, 0, 0xFFFFFFFF, 0xC093};
    regs.cs = {lhv::kCodeSelector, 0, 0xFFFFFFFF, 0xA09B};
    regs.tr = {lhv::kTssSelector, kWindow + lhv::kTssOffset, kGuestTssLimit, 0x8B};
    regs.ldtr = {0, 0, 0, AccessRights::kUnusable};
    regs.gdtr_base = kWindow + lhv::kGdtOffset;
    regs.gdtr_limit = kGuestGdtLimit;
    regs.idtr_base = kWindow + lhv::kL1IdtOffset;
    regs.idtr_limit = kGuestIdtLimit;
  }
  void WriteBaseline() {
    state().vmcs[state().current_vmcs].fields = EntryFixture().vmcs;
    Write(VmcsField::kHostCr3, kWindow + lhv::kPageTableOffset);
    Write(VmcsField::kHostRip, kHostRip);
    Write(VmcsField::kHostRsp, kWindow + lhv::kL1StackTop);
    Write(VmcsField::kHostGdtrBase, kWindow + lhv::kGdtOffset);
    Write(VmcsField::kHostIdtrBase, kWindow + lhv::kL1IdtOffset);
    Write(VmcsField::kHostTrBase, kWindow + lhv::kTssOffset);
    Write(VmcsField::kHostCsSelector, lhv::kCodeSelector);
    Write(VmcsField::kHostSsSelector, lhv::kDataSelector);
    Write(VmcsField::kGuestCr3, kWindow + lhv::kPageTableOffset);
    Write(VmcsField::kGuestRip, kL2Rip);
    Write(VmcsField::kGuestRsp, kWindow + lhv::kL2StackTop);
    Write(VmcsField::kGuestGdtrBase, kWindow + lhv::kGdtOffset);
    Write(VmcsField::kGuestGdtrLimit, kGuestGdtLimit);
    Write(VmcsField::kGuestIdtrBase, kWindow + lhv::kL2IdtOffset);
    Write(VmcsField::kGuestIdtrLimit, kGuestIdtLimit);
    Write(VmcsField::kGuestTrBase, kWindow + lhv::kTssOffset);
  }

  Memory memory_{1};
  NoPlatform platform_;
  Processor cpu_;
  lhv::InstructionEnd last_;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_TESTING_NATIVE_FIXTURE_H_
