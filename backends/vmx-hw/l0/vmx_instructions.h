// SPDX-License-Identifier: Apache-2.0
//
// The VMX instructions. Each function is one; false means VMfail. SDM Vol. 3C, chapter 31 "VMX
// Instruction Reference".
#ifndef NVMX_BACKENDS_VMX_HW_L0_VMX_INSTRUCTIONS_H_
#define NVMX_BACKENDS_VMX_HW_L0_VMX_INSTRUCTIONS_H_

#include <cstdint>

namespace nvmx::metal {

inline bool Vmxon(uint64_t physical_address) {
  bool failed;
  asm volatile("vmxon %1" : "=@ccna"(failed) : "m"(physical_address) : "memory");
  return !failed;
}
inline bool Vmclear(uint64_t physical_address) {
  bool failed;
  asm volatile("vmclear %1" : "=@ccna"(failed) : "m"(physical_address) : "memory");
  return !failed;
}
inline bool Vmptrld(uint64_t physical_address) {
  bool failed;
  asm volatile("vmptrld %1" : "=@ccna"(failed) : "m"(physical_address) : "memory");
  return !failed;
}
inline bool VmreadWord(uint32_t field, uintptr_t& value) {
  bool failed;
  asm volatile("vmread %2, %1" : "=@ccna"(failed), "=r"(value) : "r"(uintptr_t{field}) : "memory");
  return !failed;
}
inline bool VmwriteWord(uint32_t field, uintptr_t value) {
  bool failed;
  asm volatile("vmwrite %1, %2" : "=@ccna"(failed) : "r"(value), "r"(uintptr_t{field}) : "memory");
  return !failed;
}

#ifdef __x86_64__
inline bool Vmread(uint32_t field, uint64_t& value) { return VmreadWord(field, value); }
inline bool Vmwrite(uint32_t field, uint64_t value) { return VmwriteWord(field, value); }
#else
// Outside 64-bit mode an access is one of 32 bits, and a field of 64 bits takes two: the second has
// the encoding of the high half. SDM Vol. 3C, 25.11.2 "VMREAD, VMWRITE, and Encodings of VMCS
// Fields".
inline constexpr bool Is64Bits(uint32_t field) { return ((field >> 13) & 3) == 1; }
inline bool Vmread(uint32_t field, uint64_t& value) {
  uintptr_t low = 0;
  uintptr_t high = 0;
  if (!VmreadWord(field, low)) return false;
  if (Is64Bits(field) && !VmreadWord(field | 1, high)) return false;
  value = uint64_t{high} << 32 | low;
  return true;
}
inline bool Vmwrite(uint32_t field, uint64_t value) {
  if (!VmwriteWord(field, static_cast<uintptr_t>(value))) return false;
  return !Is64Bits(field) || VmwriteWord(field | 1, static_cast<uintptr_t>(value >> 32));
}
#endif

struct InvalidationDescriptor {
  uint64_t context;
  uint64_t address;
};
inline bool Invept(uint64_t type, const InvalidationDescriptor& descriptor) {
  bool failed;
  asm volatile("invept %1, %2"
               : "=@ccna"(failed)
               : "m"(descriptor), "r"(static_cast<uintptr_t>(type))
               : "memory");
  return !failed;
}
inline bool Invvpid(uint64_t type, const InvalidationDescriptor& descriptor) {
  bool failed;
  asm volatile("invvpid %1, %2"
               : "=@ccna"(failed)
               : "m"(descriptor), "r"(static_cast<uintptr_t>(type))
               : "memory");
  return !failed;
}

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_VMX_INSTRUCTIONS_H_
