// SPDX-License-Identifier: Apache-2.0
#include "fuzz/field_pokes.h"

#include "lhv/layout.h"

namespace nvmx::fuzz {
namespace {

using lhv::OperationKind;

std::optional<uint64_t> ControlCapability(VmcsField field, const Capabilities& c) {
  switch (field) {
    case VmcsField::kPinBasedControls:
      return c.PinBasedControls();
    case VmcsField::kPrimaryProcessorBasedControls:
      return c.PrimaryProcessorBasedControls();
    case VmcsField::kSecondaryProcessorBasedControls:
      return c.procbased_ctls2;
    case VmcsField::kVmExitControls:
      return c.VmExitControls();
    case VmcsField::kVmEntryControls:
      return c.VmEntryControls();
    default:
      return std::nullopt;
  }
}

}  // namespace

std::optional<FieldPoke> PokeOf(const lhv::Operation& operation, const Capabilities& offered) {
  const bool control = operation.kind == OperationKind::kVmwriteControl;
  if (operation.kind != OperationKind::kVmwrite && !control) return std::nullopt;
  const std::optional<size_t> slot = SlotOf(operation.selector);
  if (!slot || IsHigh(operation.selector) || (operation.flags & lhv::kHasOperand) != 0) {
    return std::nullopt;
  }
  const VmcsField field = FieldAt(*slot);
  if (!Exists(field, offered)) return std::nullopt;
  uint64_t value = operation.value;
  if ((operation.flags & lhv::kValueIsWindowOffset) != 0) value += lhv::WindowOf(0);
  if (control) {
    const std::optional<uint64_t> capability = ControlCapability(field, offered);
    if (!capability) return std::nullopt;
    value = (value | (*capability & 0xFFFF'FFFF)) & *capability >> 32;
  }
  return FieldPoke{field, value & ValueMask(field)};
}

}  // namespace nvmx::fuzz
