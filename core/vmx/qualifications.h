// SPDX-License-Identifier: Apache-2.0
//
// Exit qualifications of control-register accesses and I/O instructions.
// Source: SDM Vol. 3C, 28.2.1 "Basic VM-Exit Information", tables "Exit Qualification for
// Control-Register Accesses" and "Exit Qualification for I/O Instructions".
#ifndef NVMX_CORE_VMX_QUALIFICATIONS_H_
#define NVMX_CORE_VMX_QUALIFICATIONS_H_

#include <cstdint>

#include "core/x86/general_register.h"

namespace nvmx {

class ControlRegisterAccess {
 public:
  enum class Type : uint8_t { kMovTo = 0, kMovFrom = 1, kClts = 2, kLmsw = 3 };

  constexpr explicit ControlRegisterAccess(uint64_t qualification) : value_(qualification) {}
  static constexpr ControlRegisterAccess Make(Type type, unsigned control_register,
                                              GeneralRegister general_register,
                                              uint16_t lmsw_source = 0) {
    return ControlRegisterAccess(control_register | static_cast<uint64_t>(type) << 4 |
                                 static_cast<uint64_t>(general_register) << 8 |
                                 uint64_t{lmsw_source} << 16);
  }

  constexpr uint64_t value() const { return value_; }
  // 0 for CLTS and LMSW.
  constexpr unsigned control_register() const { return value_ & 0xF; }
  constexpr Type type() const { return static_cast<Type>(value_ >> 4 & 3); }
  // Of MOV.
  constexpr GeneralRegister general_register() const {
    return static_cast<GeneralRegister>(value_ >> 8 & 0xF);
  }
  // The source operand of LMSW.
  constexpr uint16_t lmsw_source() const { return static_cast<uint16_t>(value_ >> 16); }

 private:
  uint64_t value_;
};

class IoAccess {
 public:
  static constexpr uint64_t kIn = uint64_t{1} << 3;
  static constexpr uint64_t kString = uint64_t{1} << 4;
  static constexpr uint64_t kRep = uint64_t{1} << 5;
  static constexpr uint64_t kImmediate = uint64_t{1} << 6;

  constexpr explicit IoAccess(uint64_t qualification) : value_(qualification) {}
  static constexpr IoAccess Make(uint16_t port, unsigned bytes, bool in) {
    return IoAccess((bytes - 1) | (in ? kIn : 0) | uint64_t{port} << 16);
  }

  constexpr uint64_t value() const { return value_; }
  constexpr unsigned bytes() const { return (value_ & 7) + 1; }
  constexpr bool in() const { return (value_ & kIn) != 0; }
  constexpr uint16_t port() const { return static_cast<uint16_t>(value_ >> 16); }

 private:
  uint64_t value_;
};

}  // namespace nvmx

#endif  // NVMX_CORE_VMX_QUALIFICATIONS_H_
