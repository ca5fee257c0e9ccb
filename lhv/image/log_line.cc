// SPDX-License-Identifier: Apache-2.0
#include "lhv/image/log_line.h"

namespace nvmx::lhv {
namespace {

class LineWriter {
 public:
  explicit LineWriter(std::span<char> line) : line_(line) {}

  LineWriter& Text(const char* text) {
    for (; *text != 0; ++text) Put(*text);
    return *this;
  }
  LineWriter& Number(uint64_t value) {
    Put(' ');
    unsigned shift = 60;
    while (shift > 0 && value >> shift == 0) shift -= 4;
    for (;; shift -= 4) {
      Put("0123456789abcdef"[value >> shift & 0xF]);
      if (shift == 0) return *this;
    }
  }
  size_t End() {
    Put('\n');
    return size_;
  }

 private:
  void Put(char letter) {
    if (size_ < line_.size()) line_[size_++] = letter;
  }
  std::span<char> line_;
  size_t size_ = 0;
};

}  // namespace

const char* Name(ImageEnd end) {
  constexpr const char* kNames[kImageEndCount] = {
      "complete", "complete-in-l2", "lost",    "step-limit",  "refused",
      "fault",    "interrupted",    "resting", "bad-program", "other-l1"};
  return kNames[static_cast<size_t>(end)];
}

size_t WriteLogLine(uint32_t cpu, const Observation& observation, std::span<char> line) {
  return LineWriter(line)
      .Text("@log")
      .Number(cpu)
      .Number(static_cast<uint64_t>(observation.kind))
      .Number(observation.level)
      .Number(observation.operation)
      .Number(observation.selector)
      .Number(observation.value)
      .Number(observation.extra)
      .End();
}

size_t WriteEndLine(uint32_t cpu, ImageEnd end, uint64_t detail, std::span<char> line) {
  return LineWriter(line).Text("@end").Number(cpu).Text(" ").Text(Name(end)).Number(detail).End();
}

}  // namespace nvmx::lhv
