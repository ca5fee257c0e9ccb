// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_TESTING_PROCESSOR_FIXTURE_H_
#define NVMX_BACKENDS_SIM_MACHINE_TESTING_PROCESSOR_FIXTURE_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "backends/sim/machine/guest_tables.h"
#include "backends/sim/machine/memory.h"
#include "backends/sim/machine/processor.h"
#include "backends/sim/machine/processor_profile.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/msr_list.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/memory_type.h"
#include "core/x86/rflags.h"
#include "core/x86/segment.h"
#include "gtest/gtest.h"
#include "lhv/layout.h"

namespace nvmx::sim {

// The software in VMX root operation, and the wires of the processor.
class RootSoftware final : public Platform {
 public:
  // What it does after a VM exit; nothing: it stays in root operation.
  std::function<void()> on_exit;
  int exits = 0;
  std::vector<uint64_t> ipis;
  std::vector<std::string> refusals;

  void RunRoot() override {
    ++exits;
    if (on_exit) on_exit();
  }
  void SendIpi(uint64_t interrupt_command) override { ipis.push_back(interrupt_command); }
  void EntryRefused(const char* rule) override { refusals.push_back(rule); }
};

// A processor with a VMCS that can be entered, driven directly as software in VMX root operation
// does.
class ProcessorTest : public testing::Test {
 protected:
  static constexpr uint64_t kGuestRip = lhv::kL1CodeBase;
  static constexpr uint64_t kHostRip = 0x7000;
  static constexpr uint64_t kList = lhv::kWindowBase + 0x4000;
  static constexpr uint32_t kExitReasonMsrFailure = 0x80000022;

  ProcessorTest() {
    WriteGuestTables(memory_, 0);
    cpu_.MakeCurrent(VmcsRole::kVmcs02);
    WriteBaseline();
    Write(VmcsField::kGuestIdtrBase, lhv::kWindowBase + lhv::kL2IdtOffset);
    cpu_.MakeCurrent(VmcsRole::kVmcs01);
    WriteBaseline();
  }

  uint64_t Read(VmcsField field) const { return cpu_.VmcsRead(field); }
  void Write(VmcsField field, uint64_t value) { cpu_.VmcsWrite(field, value); }
  void Add(VmcsField field, uint64_t bits) { Write(field, Read(field) | bits); }
  void Remove(VmcsField field, uint64_t bits) { Write(field, Read(field) & ~bits); }
  ProcessorState& state() { return cpu_.state(); }

  lhv::InstructionEnd Execute(lhv::InstructionKind kind, uint64_t first = 0, uint64_t second = 0) {
    return cpu_.Execute({.kind = kind, .first = first, .second = second});
  }
  // Which event is due, if nothing but these signals is there.
  BoundaryEvent Due(const Signals& signals = {}) const { return cpu_.NextEvent(signals); }
  bool NmiWindowIsOpen() const { return Due() == BoundaryEvent::kNmiWindow; }
  bool CanTakeInterrupt(uint8_t vector = 0x21) const {
    return Due({.interrupt = vector}) == BoundaryEvent::kInterrupt;
  }
  void TakeInterrupt(uint8_t vector) {
    cpu_.Take(BoundaryEvent::kInterrupt, {.interrupt = vector});
  }
  void TakeNmi() { cpu_.Take(BoundaryEvent::kNmi, {.nmi = true}); }
  // A VM exit that has nothing to do with NMIs.
  void ExitByVmcall() { Execute(lhv::InstructionKind::kVmcall); }
  // What software does that emulates the instruction the guest has exited with.
  void SkipInstructionAndEnter() {
    Write(VmcsField::kGuestRip,
          Read(VmcsField::kGuestRip) + Read(VmcsField::kVmExitInstructionLength));
    cpu_.EnterGuest();
  }

  // Puts the entries into memory and names them in the two fields of the list.
  void UseList(VmcsField address, VmcsField count, const std::vector<MsrListEntry>& entries,
               uint64_t place = kList) {
    ASSERT_TRUE(memory_.Write(place, std::as_bytes(std::span(entries))));
    Write(address, place);
    Write(count, entries.size());
  }
  void UseEntryLoadList(const std::vector<MsrListEntry>& entries) {
    UseList(VmcsField::kVmEntryMsrLoadAddress, VmcsField::kVmEntryMsrLoadCount, entries);
  }
  void UseExitLoadList(const std::vector<MsrListEntry>& entries) {
    UseList(VmcsField::kVmExitMsrLoadAddress, VmcsField::kVmExitMsrLoadCount, entries,
            kList + 0x4000);
  }
  void UseExitStoreList(const std::vector<MsrListEntry>& entries) {
    UseList(VmcsField::kVmExitMsrStoreAddress, VmcsField::kVmExitMsrStoreCount, entries,
            kList + 0x8000);
  }
  // The data of entry `number`, from 0, of the exit-store list.
  uint64_t Stored(size_t number) const {
    uint64_t value = 0;
    memory_.Read(kList + 0x8000 + number * sizeof(MsrListEntry) + offsetof(MsrListEntry, data),
                 std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  Memory memory_{1};
  RootSoftware root_;
  Processor cpu_{memory_, root_, SimulatedCapabilities()};

 private:
  // Flat segments of a 64-bit kernel.
  void WriteBaselineSegments() {
    constexpr uint32_t kData = AccessRights::kTypeWritable | AccessRights::kTypeAccessed |
                               AccessRights::kS | AccessRights::kP | AccessRights::kDb |
                               AccessRights::kG;
    constexpr uint32_t kCode = AccessRights::kTypeCode | AccessRights::kTypeReadable |
                               AccessRights::kTypeAccessed | AccessRights::kS | AccessRights::kP |
                               AccessRights::kL | AccessRights::kG;
    const auto write = [this](VmcsField selector, uint64_t value, uint32_t limit, uint32_t rights) {
      // The fields of a segment register have the same index in their groups.
      const uint32_t index = Encoding(selector) - Encoding(VmcsField::kGuestEsSelector);
      Write(selector, value);
      Write(static_cast<VmcsField>(Encoding(VmcsField::kGuestEsLimit) + index), limit);
      Write(static_cast<VmcsField>(Encoding(VmcsField::kGuestEsAccessRights) + index), rights);
    };
    for (VmcsField selector :
         {VmcsField::kGuestEsSelector, VmcsField::kGuestSsSelector, VmcsField::kGuestDsSelector,
          VmcsField::kGuestFsSelector, VmcsField::kGuestGsSelector}) {
      write(selector, lhv::kDataSelector, 0xFFFFFFFF, kData);
    }
    write(VmcsField::kGuestCsSelector, lhv::kCodeSelector, 0xFFFFFFFF, kCode);
    write(VmcsField::kGuestTrSelector, lhv::kTssSelector, 0x67,
          AccessRights::kTypeBusyTss | AccessRights::kP);
    write(VmcsField::kGuestLdtrSelector, 0, 0, AccessRights::kUnusable);
  }
  void WriteBaseline() {
    WriteBaselineSegments();
    Write(VmcsField::kGuestTrBase, lhv::kWindowBase + lhv::kTssOffset);
    Write(VmcsField::kGuestGdtrBase, lhv::kWindowBase + lhv::kGdtOffset);
    Write(VmcsField::kGuestGdtrLimit, kGuestGdtLimit);
    Write(VmcsField::kGuestIdtrBase, lhv::kWindowBase + lhv::kL1IdtOffset);
    Write(VmcsField::kGuestIdtrLimit, kGuestIdtLimit);
    Write(VmcsField::kGuestCr3, lhv::kWindowBase + lhv::kPageTableOffset);
    Write(VmcsField::kGuestDr7, Dr7::kInit);
    Write(VmcsField::kPinBasedControls, PinBased::kDefault1);
    Write(VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kDefault1);
    Write(VmcsField::kVmExitControls, VmExit::kDefault1 | VmExit::kHostAddressSpaceSize);
    Write(VmcsField::kVmEntryControls, VmEntry::kDefault1 | VmEntry::kIa32eModeGuest);
    Write(VmcsField::kGuestCr0, Cr0::kPe | Cr0::kEt | Cr0::kNe | Cr0::kPg);
    Write(VmcsField::kGuestCr4, Cr4::kPae | Cr4::kVmxe);
    Write(VmcsField::kGuestRip, kGuestRip);
    Write(VmcsField::kGuestRsp, lhv::kWindowBase + lhv::kL1StackTop);
    Write(VmcsField::kGuestRflags, Rflags::kFixed1);
    Write(VmcsField::kGuestIa32Pat, kPatReset);
    Write(VmcsField::kVmcsLinkPointer, kNoVmcs);
    Write(VmcsField::kHostCr0, Cr0::kPe | Cr0::kEt | Cr0::kNe | Cr0::kPg);
    Write(VmcsField::kHostCr4, Cr4::kPae | Cr4::kVmxe);
    Write(VmcsField::kHostRip, kHostRip);
    Write(VmcsField::kHostIa32Pat, kPatReset);
  }
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_TESTING_PROCESSOR_FIXTURE_H_
