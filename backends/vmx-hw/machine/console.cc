// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/machine/console.h"

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "backends/vmx-hw/machine/cpu_instructions.h"

namespace nvmx::metal {
namespace {

// The registers of a 16550 UART, from its first port on.
constexpr uint16_t kData = 0;
constexpr uint16_t kInterruptEnable = 1;
constexpr uint16_t kFifoControl = 2;
constexpr uint16_t kLineControl = 3;
constexpr uint16_t kModemControl = 4;
constexpr uint16_t kLineStatus = 5;
constexpr uint8_t kDivisorLatchAccess = 0x80;
constexpr uint8_t k8BitsNoParity = 0x03;
constexpr uint8_t kFifosOnAndEmpty = 0x07;
constexpr uint8_t kReadyAndRequestToSend = 0x03;
constexpr uint8_t kTakesCharacter = 0x20;
constexpr uint8_t kAllSent = 0x40;
// A port that nobody answers reads so.
constexpr uint8_t kNothingThere = 0xFF;
// How often to look whether a character has left. At 115200 it takes 87 us, a look about 1 us.
constexpr int kMostLooks = 100000;

constexpr uintptr_t kScreen = 0xB8000;
constexpr size_t kColumns = 80;
constexpr size_t kRows = 25;
constexpr uint16_t kGreyOnBlack = 0x0700;

// How often to look whether the console is free: longer than a line takes.
constexpr int kPatience = 2'000'000;

constinit bool started = false;
constinit uint16_t serial_port = 0;  // 0: there is none
// Of the call that writes: a number of its own. 0 if none does.
constinit std::atomic<uint32_t> writer{0};
constinit std::atomic<uint32_t> writers{0};
constinit size_t row = 0;
constinit size_t column = 0;

volatile uint16_t& Cell(size_t at_row, size_t at_column) {
  return reinterpret_cast<volatile uint16_t*>(kScreen)[at_row * kColumns + at_column];
}

void NewLine() {
  column = 0;
  if (++row < kRows) return;
  row = kRows - 1;
  for (size_t r = 0; r + 1 < kRows; ++r) {
    for (size_t c = 0; c < kColumns; ++c) Cell(r, c) = Cell(r + 1, c);
  }
  for (size_t c = 0; c < kColumns; ++c) Cell(row, c) = kGreyOnBlack | ' ';
}

void PutOnScreen(char character) {
  if (character == '\n') return NewLine();
  Cell(row, column) = kGreyOnBlack | static_cast<uint8_t>(character);
  if (++column == kColumns) NewLine();
}

// The right to write, from construction on until another call takes it over.
class Turn {
 public:
  Turn() {
    for (int look = 0; look < kPatience; ++look) {
      uint32_t nobody = 0;
      if (writer.compare_exchange_strong(nobody, number_)) return;
      Pause();
    }
    writer = number_;
    takes_over_ = true;
  }
  ~Turn() {
    uint32_t own = number_;
    writer.compare_exchange_strong(own, 0);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  bool Lasts() const { return writer.load() == number_; }
  // There is a line that somebody has begun and will not end.
  bool takes_over() const { return takes_over_; }

 private:
  const uint32_t number_ = writers.fetch_add(1) + 1;
  bool takes_over_ = false;
};

void WaitForStatus(uint8_t status) {
  for (int look = 0; look < kMostLooks && (In8(serial_port + kLineStatus) & status) == 0; ++look) {
    Pause();
  }
}

void SendByte(char character) {
  WaitForStatus(kTakesCharacter);
  Out8(serial_port + kData, static_cast<uint8_t>(character));
}

void SendText(std::string_view text, const Turn& turn) {
  if (serial_port == 0) return;
  for (char c : text) {
    if (!turn.Lasts()) return;
    if (c == '\n') SendByte('\r');
    SendByte(c);
  }
}

}  // namespace

bool UseSerialPort(uint16_t port) {
  if (In8(port + kLineStatus) == kNothingThere) return false;
  serial_port = port;
  Out8(port + kInterruptEnable, 0);
  Out8(port + kLineControl, kDivisorLatchAccess);
  Out8(port + kData, 1);  // divisor 1: 115200 baud
  Out8(port + kInterruptEnable, 0);
  Out8(port + kLineControl, k8BitsNoParity);
  Out8(port + kFifoControl, kFifosOnAndEmpty);
  Out8(port + kModemControl, kReadyAndRequestToSend);
  return true;
}

void StartConsole() {
  UseSerialPort(kCom1);
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kColumns; ++c) Cell(r, c) = kGreyOnBlack | ' ';
  }
  row = column = 0;
  started = true;
}

void WriteSerial(std::string_view text) {
  if (!started || serial_port == 0) return;
  const Turn turn;
  if (turn.takes_over()) SendText("\n", turn);
  SendText(text, turn);
}

void WaitForSerial() {
  if (started && serial_port != 0) WaitForStatus(kAllSent);
}

void Write(std::string_view text) {
  if (!started) return;
  const Turn turn;
  if (turn.takes_over()) SendText("\n", turn);
  SendText(text, turn);
  for (char c : text) {
    if (!turn.Lasts()) return;
    PutOnScreen(c);
  }
}

}  // namespace nvmx::metal
