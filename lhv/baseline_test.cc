// SPDX-License-Identifier: Apache-2.0
#include "lhv/baseline.h"

#include <map>

#include "core/vmx/controls.h"
#include "core/vmx/vmcs_field.h"
#include "gtest/gtest.h"
#include "lhv/layout.h"

namespace nvmx::lhv {
namespace {

constexpr AddressOperand kRegion{0x12000, kValueIsWindowOffset};

std::map<VmcsField, Operation> WrittenFields() {
  std::map<VmcsField, Operation> written;
  for (const Operation& operation : BaselineVmcs(kRegion, 0)) {
    if (operation.kind == OperationKind::kVmwrite ||
        operation.kind == OperationKind::kVmwriteControl) {
      const auto field = static_cast<VmcsField>(operation.selector);
      EXPECT_TRUE(written.emplace(field, operation).second) << Name(field) << " twice";
    }
  }
  return written;
}

TEST(Baseline, TheRegionBecomesCurrentBeforeAnyFieldIsWritten) {
  const auto operations = BaselineVmcs(kRegion, 0);
  EXPECT_EQ(operations[0].kind, OperationKind::kInitializeVmxRegion);
  EXPECT_EQ(operations[1].kind, OperationKind::kVmclear);
  EXPECT_EQ(operations[2].kind, OperationKind::kVmptrld);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(operations[i].value, kRegion.value);
    EXPECT_EQ(operations[i].flags, kRegion.flags);
  }
}

// Those that VM entry looks at with the baseline's controls, and that every CPU has.
bool IsNeeded(VmcsField field) {
  if (Existence(field) != FieldExistence::kAlways) return false;
  switch (field) {
    case VmcsField::kIoBitmapAAddress:
    case VmcsField::kIoBitmapBAddress:
    case VmcsField::kVmExitMsrStoreAddress:
    case VmcsField::kVmExitMsrLoadAddress:
    case VmcsField::kVmEntryMsrLoadAddress:
    case VmcsField::kExecutiveVmcsPointer:
    case VmcsField::kTprThreshold:
    case VmcsField::kGuestSmbase:
    case VmcsField::kGuestPdpte0:
    case VmcsField::kGuestPdpte1:
    case VmcsField::kGuestPdpte2:
    case VmcsField::kGuestPdpte3:
      return false;
    default:
      return Type(field) == FieldType::kControl || Type(field) == FieldType::kGuestState;
  }
}

TEST(Baseline, EveryFieldThatVmEntryNeedsIsWritten) {
  const auto written = WrittenFields();
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (IsNeeded(row.field)) {
      EXPECT_EQ(written.count(row.field), 1u) << row.name;
    }
  }
}

TEST(Baseline, TheHostStateIsWrittenAsAWhole) {
  int count = 0;
  for (const Operation& operation : BaselineVmcs(kRegion, 0)) {
    count += operation.kind == OperationKind::kVmwriteHostState;
  }
  EXPECT_EQ(count, 1);
}

TEST(Baseline, NmisExitAndAreVirtual) {
  EXPECT_EQ(WrittenFields()[VmcsField::kPinBasedControls].value,
            PinBased::kNmiExiting | PinBased::kVirtualNmis);
}

TEST(Baseline, BothLevelsAre64Bit) {
  const auto written = WrittenFields();
  EXPECT_TRUE(written.at(VmcsField::kVmExitControls).value & VmExit::kHostAddressSpaceSize);
  EXPECT_TRUE(written.at(VmcsField::kVmEntryControls).value & VmEntry::kIa32eModeGuest);
  EXPECT_EQ(written.at(VmcsField::kGuestIa32Efer).value, 0x500u);
  EXPECT_EQ(written.at(VmcsField::kGuestCsAccessRights).value, 0xA09Bu);
  EXPECT_EQ(written.at(VmcsField::kGuestSsAccessRights).value, 0xC093u);
  EXPECT_EQ(written.at(VmcsField::kGuestTrAccessRights).value, 0x8Bu);
  EXPECT_EQ(written.at(VmcsField::kGuestCr0).value, 0x80000031u);
  EXPECT_EQ(written.at(VmcsField::kGuestCr4).value, 0x2020u);
}

TEST(Baseline, OutsideIa32eModeBothLevelsHave32Bits) {
  std::map<VmcsField, Operation> written;
  for (const Operation& operation : BaselineVmcs(kRegion, 0, L1Mode::k32Bit)) {
    written[static_cast<VmcsField>(operation.selector)] = operation;
  }
  EXPECT_FALSE(written.at(VmcsField::kVmExitControls).value & VmExit::kHostAddressSpaceSize);
  EXPECT_FALSE(written.at(VmcsField::kVmEntryControls).value & VmEntry::kIa32eModeGuest);
  EXPECT_EQ(written.at(VmcsField::kGuestIa32Efer).value, 0u);
  EXPECT_EQ(written.at(VmcsField::kGuestCsAccessRights).value, 0xC09Bu);
  EXPECT_EQ(written.at(VmcsField::kGuestCr4).value, 0x2010u);
  EXPECT_EQ(written.at(VmcsField::kGuestIdtrLimit).value, 0x7FFu);
}

TEST(Baseline, L2BeginsAtItsFirstOperationWithThePagingStructuresOfL1) {
  const auto written = WrittenFields();
  EXPECT_EQ(written.at(VmcsField::kGuestRip).value, kL2CodeBase);
  EXPECT_EQ(written.at(VmcsField::kGuestCr3).value, kPageTableOffset);
  EXPECT_EQ(written.at(VmcsField::kGuestCr3).flags, kValueIsWindowOffset);
  EXPECT_EQ(written.at(VmcsField::kVmcsLinkPointer).value, ~uint64_t{0});
  EXPECT_EQ(written.at(VmcsField::kGuestRflags).value, 0x2u);
}

TEST(Baseline, NoValueIsWiderThanItsField) {
  for (const auto& [field, operation] : WrittenFields()) {
    EXPECT_EQ(operation.value & ~ValueMask(field), 0u) << Name(field);
  }
}

}  // namespace
}  // namespace nvmx::lhv
