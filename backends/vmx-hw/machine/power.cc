// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/machine/power.h"

#include <atomic>
#include <cstdint>

#include "backends/vmx-hw/machine/console.h"
#include "backends/vmx-hw/machine/cpu_instructions.h"
#include "backends/vmx-hw/machine/text.h"

namespace nvmx::metal {
namespace {

// QEMU's isa-debug-exit: its own exit status is then 2 * value + 1.
constexpr uint16_t kQemuExitPort = 0xF4;
constexpr uint8_t kQemuExitBase = 0x10;
// Bochs ends when this word is written there.
constexpr uint16_t kBochsPort = 0x8900;

std::atomic<void (*)()> last_words{nullptr};

}  // namespace

void SetLastWords(void (*say)()) { last_words = say; }

void PowerOff(EndStatus status) {
  if (void (*say)() = last_words.exchange(nullptr)) say();
  const auto number = static_cast<uint8_t>(status);
  Write(Text() << "end of run, status " << number << "\n");
  Out8(kQemuExitPort, kQemuExitBase + number);
  for (char c : std::string_view("Shutdown")) Out8(kBochsPort, static_cast<uint8_t>(c));
  for (;;) {
    DisableInterrupts();
    Halt();
  }
}

void Panic(std::string_view reason) {
  Write(Text() << "panic: " << reason << "\n");
  PowerOff(EndStatus::kPanicked);
}

void Stop(std::string_view reason) {
  Write(Text() << "stop: " << reason << "\n");
  PowerOff(EndStatus::kStopped);
}

}  // namespace nvmx::metal
