// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_SEGMENT_DESCRIPTOR_H_
#define NVMX_BACKENDS_SIM_MACHINE_SEGMENT_DESCRIPTOR_H_

#include <cstdint>

#include "backends/sim/machine/processor_state.h"
#include "core/x86/segment.h"

namespace nvmx::sim {

// Eight bytes of a GDT or an LDT. SDM Vol. 3A, 3.4.5 "Segment Descriptors".
struct SegmentDescriptor {
  static constexpr uint64_t kAccessed = uint64_t{1} << 40;  // of code and data segments

  uint64_t value = 0;

  // In the format of the VMCS. SDM Vol. 3C, 25.4.1 "Guest Register State".
  AccessRights rights() const {
    constexpr uint32_t kDefined = 0xF0FF;
    return {static_cast<uint32_t>(value >> 40) & kDefined};
  }
  uint64_t base() const { return (value >> 16 & 0xFF'FFFF) | (value >> 56) << 24; }
  // In bytes.
  uint64_t limit() const {
    const uint64_t limit = (value & 0xFFFF) | (value >> 32 & 0xF'0000);
    return rights().g() ? limit << 12 | 0xFFF : limit;
  }

  bool IsCode() const { return rights().s() && (rights().type() & AccessRights::kTypeCode) != 0; }
  bool IsConformingCode() const {
    return IsCode() && (rights().type() & AccessRights::kTypeConforming) != 0;
  }
  bool IsWritableData() const {
    return rights().s() && (rights().type() & AccessRights::kTypeCode) == 0 &&
           (rights().type() & AccessRights::kTypeWritable) != 0;
  }
  bool Is64BitCode() const { return IsCode() && rights().l() && !rights().db(); }

  // The segment register after this has been loaded.
  SegmentState Load(uint64_t selector) const { return {selector, base(), limit(), rights().value}; }
};

// A segment register after a null selector has been loaded. SS keeps a DPL, which is the CPL.
constexpr SegmentState NullSegment(uint64_t selector, unsigned dpl = 0) {
  return {selector, 0, 0, AccessRights::kUnusable | dpl << AccessRights::kDplShift};
}

// SDM Vol. 3A, 6.5 "Privilege Levels": the processor keeps the CPL as the DPL of SS.
constexpr unsigned CplOf(const SwitchedRegisters& registers) {
  return AccessRights{static_cast<uint32_t>(registers.ss.access_rights)}.dpl();
}

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_SEGMENT_DESCRIPTOR_H_
