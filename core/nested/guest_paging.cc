// SPDX-License-Identifier: Apache-2.0
#include "core/nested/guest_paging.h"

#include <algorithm>
#include <cstddef>
#include <span>

#include "core/x86/address.h"
#include "core/x86/control_registers.h"

namespace nvmx {
namespace {

struct PageEntry {
  static constexpr uint64_t kPresent = uint64_t{1} << 0;
  static constexpr uint64_t kWritable = uint64_t{1} << 1;
  static constexpr uint64_t kLarge = uint64_t{1} << 7;
};
struct PageFaultCode {
  static constexpr uint32_t kPresent = 1 << 0;
  static constexpr uint32_t kWrite = 1 << 1;
};

struct Translation {
  GuestPhysicalAddress address{};
  std::optional<VmxOutcome> fault;
};

VmxOutcome PageFault(bool present, bool write) {
  return VmxOutcome::Fault(Vector::kPageFault, (present ? PageFaultCode::kPresent : 0) |
                                                   (write ? PageFaultCode::kWrite : 0));
}

Translation Translate(Vcpu& vcpu, uint64_t linear, bool write) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  const auto width = static_cast<unsigned>(vcpu.state.offered.physical_address_width);
  const uint64_t address_mask = PhysicalAddressMask(width) & ~kPageOffsetMask;
  const bool write_protect = (vmcs.Read(VmcsField::kGuestCr0) & Cr0::kWp) != 0;
  uint64_t table = vmcs.Read(VmcsField::kGuestCr3) & address_mask;
  for (unsigned shift = 39;; shift -= 9) {
    const uint64_t index = linear >> shift & 0x1FF;
    uint64_t entry = 0;
    if (!vcpu.ports.memory.ReadValue(GuestPhysicalAddress{table + index * sizeof entry}, entry) ||
        (entry & PageEntry::kPresent) == 0) {
      return {{}, PageFault(/*present=*/false, write)};
    }
    if (write && write_protect && (entry & PageEntry::kWritable) == 0) {
      return {{}, PageFault(/*present=*/true, write)};
    }
    const bool leaf = shift == kPageShift || (shift < 39 && (entry & PageEntry::kLarge) != 0);
    if (leaf) {
      const uint64_t offset_mask = (uint64_t{1} << shift) - 1;
      return {GuestPhysicalAddress{(entry & address_mask & ~offset_mask) | (linear & offset_mask)},
              std::nullopt};
    }
    table = entry & address_mask;
  }
}

// The backend loads CR2 before it enters L1. SDM Vol. 3A, 6.15, "Interrupt 14: Page-Fault Exception
// (#PF)".
VmxOutcome Faulted(Vcpu& vcpu, uint64_t linear, VmxOutcome fault) {
  vcpu.state.cr2 = linear;
  return fault;
}

// Calls access(address, bytes) for the one or two pages that the 8 bytes lie in, after translating
// both: a fault on the second page leaves the first untouched.
template <typename Byte, typename Access>
std::optional<VmxOutcome> ForEachPage(Vcpu& vcpu, uint64_t linear, std::span<Byte> bytes,
                                      bool write, Access access) {
  const auto linear_bits = static_cast<unsigned>(vcpu.state.offered.linear_address_width);
  if (!IsCanonical(linear, linear_bits) || !IsCanonical(linear + bytes.size() - 1, linear_bits)) {
    return VmxOutcome::Fault(Vector::kGeneralProtection);
  }
  const size_t in_first = std::min<size_t>(bytes.size(), kPageSize - PageOffset(linear));
  const Translation first = Translate(vcpu, linear, write);
  if (first.fault) return Faulted(vcpu, linear, *first.fault);
  Translation second;
  if (in_first < bytes.size()) {
    second = Translate(vcpu, linear + in_first, write);
    if (second.fault) return Faulted(vcpu, linear + in_first, *second.fault);
  }
  access(first.address, bytes.first(in_first));
  if (in_first < bytes.size()) access(second.address, bytes.subspan(in_first));
  return std::nullopt;
}

}  // namespace

std::optional<VmxOutcome> ReadLinear(Vcpu& vcpu, uint64_t linear, uint64_t& value) {
  // Where no memory answers, the bus reads all ones.
  value = ~uint64_t{0};
  return ForEachPage(vcpu, linear, std::as_writable_bytes(std::span(&value, 1)), /*write=*/false,
                     [&](GuestPhysicalAddress address, std::span<std::byte> bytes) {
                       vcpu.ports.memory.Read(address, bytes);
                     });
}

std::optional<VmxOutcome> WriteLinear(Vcpu& vcpu, uint64_t linear, uint64_t value) {
  return ForEachPage(vcpu, linear, std::as_bytes(std::span(&value, 1)), /*write=*/true,
                     [&](GuestPhysicalAddress address, std::span<const std::byte> bytes) {
                       vcpu.ports.memory.Write(address, bytes);
                     });
}

}  // namespace nvmx
