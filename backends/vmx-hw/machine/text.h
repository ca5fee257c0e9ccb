// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_MACHINE_TEXT_H_
#define NVMX_BACKENDS_VMX_HW_MACHINE_TEXT_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace nvmx::metal {

// A number to be written in hexadecimal digits, with 0x in front.
struct Hex {
  uint64_t value;
};

// A line of text that is put together on the stack. What does not fit any more is dropped.
class Text {
 public:
  std::string_view view() const { return {characters_, size_}; }

  Text& operator<<(std::string_view text) {
    for (char c : text) Add(c);
    return *this;
  }
  Text& operator<<(const char* text) { return *this << std::string_view(text); }
  Text& operator<<(char c) {
    Add(c);
    return *this;
  }
  Text& operator<<(Hex number) {
    *this << "0x";
    Digits(number.value, 16);
    return *this;
  }
  // In decimal digits.
  template <typename T>
  requires std::is_integral_v<T> Text& operator<<(T number) {
    auto magnitude = static_cast<uint64_t>(number);
    if (std::is_signed_v<T> && number < T{0}) {
      Add('-');
      magnitude = uint64_t{0} - magnitude;
    }
    Digits(magnitude, 10);
    return *this;
  }

 private:
  static constexpr size_t kMostCharacters = 240;

  void Add(char c) {
    if (size_ < kMostCharacters) characters_[size_++] = c;
  }
  void Digits(uint64_t number, unsigned base) {
    char digits[20];
    size_t count = 0;
    do {
      digits[count++] = "0123456789abcdef"[number % base];
      number /= base;
    } while (number != 0);
    while (count != 0) Add(digits[--count]);
  }

  size_t size_ = 0;
  char characters_[kMostCharacters];
};

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_MACHINE_TEXT_H_
