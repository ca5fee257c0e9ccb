// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_MACHINE_CONSOLE_H_
#define NVMX_BACKENDS_VMX_HW_MACHINE_CONSOLE_H_

#include <cstdint>
#include <string_view>

#include "backends/vmx-hw/machine/text.h"

namespace nvmx::metal {

// A serial line (115200 8N1), and the text screen at B8000H. One CPU writes at a time, and what a
// call is given comes out in one piece, so a caller gives whole lines. Who finds the console taken
// waits for a limited time, then takes it over: the other, which may have been stopped in the
// middle of a line, writes no more of it. May be called in NMI context and by a guest program's
// CPU.

// Sets up COM1 and clears the screen. A write before does nothing.
void StartConsole();
inline constexpr uint16_t kCom1 = 0x3F8;
// The serial line is that of the 16550 UART at this I/O port from now on; false, and nothing
// changes, if nothing answers there.
bool UseSerialPort(uint16_t port);
// Whole lines to both; "\n" ends a line.
void Write(std::string_view text);
// To the serial line alone, for logs that nobody reads on a screen.
void WriteSerial(std::string_view text);
// Until nothing of that is in the UART any more: it would be lost if the machine stopped now.
void WaitForSerial();
inline void Write(const Text& text) { Write(text.view()); }
inline void WriteSerial(const Text& text) { WriteSerial(text.view()); }

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_MACHINE_CONSOLE_H_
