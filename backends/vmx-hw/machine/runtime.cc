// SPDX-License-Identifier: Apache-2.0
//
// What the compiler assumes of every environment, even a bare machine.
#include <cstddef>
#include <cstdint>

#include "backends/vmx-hw/machine/power.h"

// The suffix of an instruction for operands of a machine word.
#ifdef __x86_64__
#define NVMX_WORD "q"
#else
#define NVMX_WORD "l"
#endif

extern "C" {

// Most of what is copied is a word or two; REP takes a while to begin.
void* memcpy(void* to, const void* from, size_t bytes) {
  void* const result = to;
  constexpr size_t kFewBytes = 8 * sizeof(uintptr_t);
  if (bytes >= kFewBytes) {
    size_t words = bytes / sizeof(uintptr_t);
    asm volatile("rep movs" NVMX_WORD : "+D"(to), "+S"(from), "+c"(words) : : "memory");
    bytes %= sizeof(uintptr_t);
  }
  for (; bytes >= sizeof(uintptr_t); bytes -= sizeof(uintptr_t)) {
    asm volatile("movs" NVMX_WORD : "+D"(to), "+S"(from) : : "memory");
  }
  if (bytes != 0) asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
  return result;
}

void* memmove(void* to, const void* from, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(to) - reinterpret_cast<uintptr_t>(from) >= bytes) {
    return memcpy(to, from, bytes);
  }
  auto* last_to = static_cast<char*>(to) + bytes - 1;
  const auto* last_from = static_cast<const char*>(from) + bytes - 1;
  asm volatile("std\n rep movsb\n cld" : "+D"(last_to), "+S"(last_from), "+c"(bytes) : : "memory");
  return to;
}

void* memset(void* to, int value, size_t bytes) {
  void* const result = to;
  constexpr size_t kFewBytes = 8 * sizeof(uintptr_t);
  if (bytes >= kFewBytes) {
    const uintptr_t word = ~uintptr_t{0} / 0xFF * static_cast<unsigned char>(value);
    size_t words = bytes / sizeof(uintptr_t);
    asm volatile("rep stos" NVMX_WORD : "+D"(to), "+c"(words) : "a"(word) : "memory");
    bytes %= sizeof(uintptr_t);
  }
  asm volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory");
  return result;
}

int memcmp(const void* a, const void* b, size_t bytes) {
  const auto* left = static_cast<const unsigned char*>(a);
  const auto* right = static_cast<const unsigned char*>(b);
  for (size_t i = 0; i < bytes; ++i) {
    if (left[i] != right[i]) return left[i] < right[i] ? -1 : 1;
  }
  return 0;
}

void* memchr(const void* in, int wanted, size_t bytes) {
  const auto* at = static_cast<const unsigned char*>(in);
  for (size_t i = 0; i < bytes; ++i) {
    if (at[i] == static_cast<unsigned char>(wanted)) return const_cast<unsigned char*>(at + i);
  }
  return nullptr;
}

size_t strlen(const char* text) {
  size_t length = 0;
  // Volatile, so that this is not recognized as strlen().
  while (*const_cast<const volatile char*>(text + length) != 0) ++length;
  return length;
}

[[noreturn]] void abort() noexcept { nvmx::metal::Panic("abort() was called"); }
[[noreturn]] void __cxa_pure_virtual() { nvmx::metal::Panic("a pure virtual function was called"); }
// Nothing is ever destroyed: an image does not end, it turns the machine off.
int __cxa_atexit(void (*)(void*), void*, void*) { return 0; }
void* __dso_handle = nullptr;

}  // extern "C"

// What libstdc++ calls instead of throwing.
namespace std {
void __throw_out_of_range_fmt(const char* format, ...) { nvmx::metal::Panic(format); }
}  // namespace std
