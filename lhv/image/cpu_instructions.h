// SPDX-License-Identifier: Apache-2.0
//
// Instructions that the image itself executes, beside those of the machine room.
#ifndef NVMX_LHV_IMAGE_CPU_INSTRUCTIONS_H_
#define NVMX_LHV_IMAGE_CPU_INSTRUCTIONS_H_

#include <cstdint>

namespace nvmx::lhv {

template <typename T>
T& Memory(uint64_t address) {
  return *reinterpret_cast<T*>(static_cast<uintptr_t>(address));
}
inline void* PointerTo(uint64_t address) {
  return reinterpret_cast<void*>(static_cast<uintptr_t>(address));
}

inline uint16_t ReadCs() {
  uint16_t value;
  asm volatile("mov %%cs, %0" : "=r"(value));
  return value;
}
inline uint16_t ReadSs() {
  uint16_t value;
  asm volatile("mov %%ss, %0" : "=r"(value));
  return value;
}

// VMREAD of a field of the current VMCS, which there must be; the low half of a 64-bit field, where
// registers have 32 bits.
inline uint64_t Vmread(uintptr_t field) {
  uintptr_t value;
  asm volatile("vmread %1, %0" : "=r"(value) : "r"(field) : "cc");
  return value;
}
inline void Vmwrite(uintptr_t field, uintptr_t value) {
  asm volatile("vmwrite %1, %0" ::"r"(field), "r"(value) : "cc");
}
// A word at an offset in FS or GS.
inline uintptr_t ReadFs(uintptr_t offset) {
  uintptr_t value;
  asm volatile("mov %%fs:(%1), %0" : "=r"(value) : "r"(offset) : "memory");
  return value;
}
inline uintptr_t ReadGs(uintptr_t offset) {
  uintptr_t value;
  asm volatile("mov %%gs:(%1), %0" : "=r"(value) : "r"(offset) : "memory");
  return value;
}
// INVEPT and INVVPID of all contexts. SDM Vol. 3C, 31.3 "VMX Instructions".
inline void InvalidateAllTranslations() {
  struct {
    uint64_t low, high;
  } constexpr kEveryContext{0, 0};
  constexpr uintptr_t kAllContexts = 2;
  asm volatile("invvpid %0, %1" ::"m"(kEveryContext), "r"(kAllContexts) : "cc", "memory");
  asm volatile("invept %0, %1" ::"m"(kEveryContext), "r"(kAllContexts) : "cc", "memory");
}
inline void Vmxoff() { asm volatile("vmxoff" ::: "cc", "memory"); }
inline void Vmcall() { asm volatile("vmcall" ::"a"(0) : "cc", "memory"); }

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_IMAGE_CPU_INSTRUCTIONS_H_
