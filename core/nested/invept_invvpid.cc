// SPDX-License-Identifier: Apache-2.0
#include "core/nested/ept02.h"
#include "core/nested/ept12.h"
#include "core/nested/nested_paging.h"
#include "core/nested/operand.h"
#include "core/nested/vmx_instruction_checks.h"
#include "core/nested/vpid02.h"
#include "core/vmx/controls.h"

namespace nvmx {
namespace {

VmxOutcome InvalidOperand(const Vcpu& vcpu) {
  return Fail(vcpu, VmInstructionError::kInvalidOperandToInveptInvvpid);
}

// What raises a fault in INVEPT or INVVPID before an operand is looked at. A processor without the
// feature does not have the instruction.
std::optional<VmxOutcome> CheckInstruction(Vcpu& vcpu, uint32_t control, uint64_t capability) {
  const Capabilities& c = vcpu.state.offered;
  if (!c.SupportsSecondary(control) || (c.ept_vpid_cap & capability) == 0) return Undefined();
  return CheckInVmxOperation(vcpu);
}

Invalidation::Kind KindOf(InvvpidType type) {
  switch (type) {
    case InvvpidType::kIndividualAddress:
      return Invalidation::Kind::kVpidIndividualAddress;
    case InvvpidType::kSingleContext:
      return Invalidation::Kind::kVpidSingleContext;
    case InvvpidType::kAllContexts:
      return Invalidation::Kind::kVpidAllContexts;
    case InvvpidType::kSingleContextRetainingGlobals:
      return Invalidation::Kind::kVpidSingleContextRetainingGlobals;
  }
  return Invalidation::Kind::kVpidAllContexts;
}

bool IsValidDescriptor(const Vcpu& vcpu, InvvpidType type, uint64_t low, uint64_t linear) {
  if (low > 0xFFFF) return false;
  if (type == InvvpidType::kAllContexts) return true;
  if (low == 0) return false;
  return type != InvvpidType::kIndividualAddress ||
         IsCanonical(linear, static_cast<unsigned>(vcpu.state.offered.linear_address_width));
}

}  // namespace

VmxOutcome Invept(Vcpu& vcpu) {
  if (auto refusal = CheckInstruction(vcpu, Secondary::kEnableEpt, EptVpidCap::kInvept)) {
    return *refusal;
  }
  const auto type = static_cast<InveptType>(RegisterOperand(vcpu));
  if ((vcpu.state.offered.ept_vpid_cap & CapabilityOf(type)) == 0) return InvalidOperand(vcpu);
  const DescriptorResult descriptor = ReadDescriptorOperand(vcpu);
  if (descriptor.fault) return *descriptor.fault;
  if (type == InveptType::kAllContexts) {
    DropAllEpt02s(vcpu);
    return VmxOutcome::Succeed();
  }
  if (!IsValidEptp(descriptor.low, vcpu.state.offered)) return InvalidOperand(vcpu);
  DropEpt02sOf(vcpu, descriptor.low);
  return VmxOutcome::Succeed();
}

VmxOutcome Invvpid(Vcpu& vcpu) {
  if (auto refusal = CheckInstruction(vcpu, Secondary::kEnableVpid, EptVpidCap::kInvvpid)) {
    return *refusal;
  }
  const auto type = static_cast<InvvpidType>(RegisterOperand(vcpu));
  if ((vcpu.state.offered.ept_vpid_cap & CapabilityOf(type)) == 0) return InvalidOperand(vcpu);
  const DescriptorResult descriptor = ReadDescriptorOperand(vcpu);
  if (descriptor.fault) return *descriptor.fault;
  if (!IsValidDescriptor(vcpu, type, descriptor.low, descriptor.high)) {
    return InvalidOperand(vcpu);
  }
  Invalidation invalidation = {.kind = KindOf(type)};
  if (type != InvvpidType::kAllContexts) {
    invalidation.vpid = Vpid02(static_cast<uint16_t>(descriptor.low));
  }
  if (type == InvvpidType::kIndividualAddress) invalidation.linear = descriptor.high;
  vcpu.ports.cpu.Invalidate(invalidation);
  return VmxOutcome::Succeed();
}

}  // namespace nvmx
