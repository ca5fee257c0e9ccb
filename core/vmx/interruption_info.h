// SPDX-License-Identifier: Apache-2.0
//
// The format that VM-entry interruption information, VM-exit interruption information and
// IDT-vectoring information share.
// Source: SDM Vol. 3C, 25.8.3 "VM-Entry Controls for Event Injection", 25.9.2 "Information for VM
// Exits Due to Vectored Events", 25.9.3 "Information for VM Exits That Occur During Event
// Delivery".
#ifndef NVMX_CORE_VMX_INTERRUPTION_INFO_H_
#define NVMX_CORE_VMX_INTERRUPTION_INFO_H_

#include <cstdint>

#include "core/x86/exception.h"

namespace nvmx {

enum class InterruptionType : uint8_t {
  kExternalInterrupt = 0,
  kReserved = 1,
  kNmi = 2,
  kHardwareException = 3,
  kSoftwareInterrupt = 4,
  kPrivilegedSoftwareException = 5,
  kSoftwareException = 6,
  kOtherEvent = 7,  // VM entry only; vector 0 is a pending MTF VM exit
};

class InterruptionInformation {
 public:
  static constexpr uint32_t kVectorMask = 0xFF;
  static constexpr unsigned kTypeShift = 8;
  static constexpr uint32_t kTypeMask = uint32_t{7} << kTypeShift;
  // "Deliver error code" on VM entry, "error code valid" in the other two fields.
  static constexpr uint32_t kErrorCode = uint32_t{1} << 11;
  // "NMI unblocking due to IRET"; VM-exit interruption information only.
  static constexpr uint32_t kNmiUnblocking = uint32_t{1} << 12;
  static constexpr uint32_t kValid = uint32_t{1} << 31;
  // Bits that VM entry requires to be 0.
  static constexpr uint32_t kReservedOnEntry = 0x7FFFF000;

  constexpr InterruptionInformation() = default;
  // The value of a VMCS field.
  constexpr explicit InterruptionInformation(uint32_t value) : value_(value) {}

  // Valid information on one event.
  static constexpr InterruptionInformation Make(InterruptionType type, uint8_t vector,
                                                bool error_code = false) {
    return InterruptionInformation(kValid | (error_code ? kErrorCode : 0) |
                                   static_cast<uint32_t>(type) << kTypeShift | vector);
  }
  static constexpr InterruptionInformation Nmi() {
    return Make(InterruptionType::kNmi, static_cast<uint8_t>(Vector::kNmi));
  }
  static constexpr InterruptionInformation ExternalInterrupt(uint8_t vector) {
    return Make(InterruptionType::kExternalInterrupt, vector);
  }
  // As in protected mode: with an error code if the exception has one.
  static constexpr InterruptionInformation HardwareException(Vector vector) {
    return Make(InterruptionType::kHardwareException, static_cast<uint8_t>(vector),
                DeliversErrorCode(vector));
  }
  static constexpr InterruptionInformation MonitorTrapFlag() {
    return Make(InterruptionType::kOtherEvent, 0);
  }

  constexpr uint32_t value() const { return value_; }
  constexpr bool valid() const { return (value_ & kValid) != 0; }
  constexpr uint8_t vector() const { return static_cast<uint8_t>(value_ & kVectorMask); }
  constexpr InterruptionType type() const {
    return static_cast<InterruptionType>((value_ & kTypeMask) >> kTypeShift);
  }
  constexpr bool deliver_error_code() const { return (value_ & kErrorCode) != 0; }
  constexpr bool nmi_unblocking() const { return (value_ & kNmiUnblocking) != 0; }

  // True if this is valid information on an NMI.
  constexpr bool IsNmi() const { return valid() && type() == InterruptionType::kNmi; }
  // True if this is valid information on the hardware exception with this vector.
  constexpr bool IsHardwareException(Vector exception) const {
    return valid() && type() == InterruptionType::kHardwareException &&
           vector() == static_cast<uint8_t>(exception);
  }

  constexpr InterruptionInformation WithNmiUnblocking() const {
    return InterruptionInformation(value_ | kNmiUnblocking);
  }

  friend constexpr bool operator==(InterruptionInformation, InterruptionInformation) = default;

 private:
  uint32_t value_ = 0;
};

}  // namespace nvmx

#endif  // NVMX_CORE_VMX_INTERRUPTION_INFO_H_
