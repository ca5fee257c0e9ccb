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
inline bool Vmread(uint32_t field, uint64_t& value) {
  bool failed;
  asm volatile("vmread %2, %1" : "=@ccna"(failed), "=r"(value) : "r"(uint64_t{field}) : "memory");
  return !failed;
}
inline bool Vmwrite(uint32_t field, uint64_t value) {
  bool failed;
  asm volatile("vmwrite %1, %2" : "=@ccna"(failed) : "r"(value), "r"(uint64_t{field}) : "memory");
  return !failed;
}

struct InvalidationDescriptor {
  uint64_t context;
  uint64_t address;
};
inline bool Invept(uint64_t type, const InvalidationDescriptor& descriptor) {
  bool failed;
  asm volatile("invept %1, %2" : "=@ccna"(failed) : "m"(descriptor), "r"(type) : "memory");
  return !failed;
}
inline bool Invvpid(uint64_t type, const InvalidationDescriptor& descriptor) {
  bool failed;
  asm volatile("invvpid %1, %2" : "=@ccna"(failed) : "m"(descriptor), "r"(type) : "memory");
  return !failed;
}

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_VMX_INSTRUCTIONS_H_
