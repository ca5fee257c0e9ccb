// SPDX-License-Identifier: Apache-2.0
//
// What the switch between the interpreter and the guest program keeps for each CPU, at places that
// code in assembly language knows.
#ifndef NVMX_LHV_IMAGE_CPU_AREA_H_
#define NVMX_LHV_IMAGE_CPU_AREA_H_

// Offsets in CpuArea.
#define NVMX_AREA_RIP 128
#define NVMX_AREA_RFLAGS 136
#define NVMX_AREA_ENTRY 144
#define NVMX_AREA_CPP_RSP 152
#define NVMX_AREA_TARGET 160
#define NVMX_AREA_LEAVE_BY 168
#define NVMX_AREA_DEFERRED 176
#define NVMX_AREA_R14 184
#define NVMX_AREA_R15 192
#define NVMX_AREA_MAIN_RSP 200
#define NVMX_AREA_SCRATCH 208
#define NVMX_AREA_ABORTED 240
#define NVMX_AREA_FAULT 248
#define NVMX_AREA_FROM_GUEST_PROGRAM 288
#define NVMX_AREA_FROM_INTERPRETER 296
#define NVMX_AREA_FLAGS_STACK_TOP 1024

#ifndef __ASSEMBLER__

#include <array>
#include <cstddef>
#include <cstdint>

namespace nvmx::lhv {

struct CpuArea {
  // The registers of the guest program, by number; R14 and R15 are not kept. i386 keeps the first
  // eight, but EBP elsewhere, and each in the low half of its place, like all that follows.
  std::array<uint64_t, 16> registers;
  uint64_t rip;
  uint64_t rflags;
  // Where the stubs lead: the way out of the guest program, or, while the interpreter runs, what
  // takes note of an event that came then.
  uint64_t entry;
  uint64_t cpp_rsp;
  // Where the guest program is entered, and how: with STI as the last instruction before it, or
  // not.
  uint64_t target;
  uint64_t leave_by;
  // The handler of an event that came while the interpreter ran, or 0.
  uint64_t deferred;
  // i386: the first is EBP.
  uint64_t saved_r14, saved_r15;
  // Where RunProtected() returns to.
  uint64_t main_rsp;
  std::array<uint64_t, 4> scratch;
  // The guest program was not entered: an event came on the way.
  uint64_t aborted;
  // Of a fault in the interpreter: the address of the handler, the first four words of the frame.
  std::array<uint64_t, 5> fault;
  // i386: values of `entry`, each CPU's own.
  uint64_t from_guest_program, from_interpreter;
  std::array<uint64_t, 90> flags_stack;
};
static_assert(offsetof(CpuArea, rip) == NVMX_AREA_RIP);
static_assert(offsetof(CpuArea, rflags) == NVMX_AREA_RFLAGS);
static_assert(offsetof(CpuArea, entry) == NVMX_AREA_ENTRY);
static_assert(offsetof(CpuArea, cpp_rsp) == NVMX_AREA_CPP_RSP);
static_assert(offsetof(CpuArea, target) == NVMX_AREA_TARGET);
static_assert(offsetof(CpuArea, leave_by) == NVMX_AREA_LEAVE_BY);
static_assert(offsetof(CpuArea, deferred) == NVMX_AREA_DEFERRED);
static_assert(offsetof(CpuArea, saved_r14) == NVMX_AREA_R14);
static_assert(offsetof(CpuArea, saved_r15) == NVMX_AREA_R15);
static_assert(offsetof(CpuArea, main_rsp) == NVMX_AREA_MAIN_RSP);
static_assert(offsetof(CpuArea, scratch) == NVMX_AREA_SCRATCH);
static_assert(offsetof(CpuArea, aborted) == NVMX_AREA_ABORTED);
static_assert(offsetof(CpuArea, fault) == NVMX_AREA_FAULT);
static_assert(offsetof(CpuArea, from_guest_program) == NVMX_AREA_FROM_GUEST_PROGRAM);
static_assert(offsetof(CpuArea, from_interpreter) == NVMX_AREA_FROM_INTERPRETER);
static_assert(offsetof(CpuArea, flags_stack) < NVMX_AREA_FLAGS_STACK_TOP);
static_assert(sizeof(CpuArea) >= NVMX_AREA_FLAGS_STACK_TOP);

extern "C" {
// Leads to the guest program at area->target with its registers, and returns when control comes
// back through a stub: area->rip then says to which slot.
void EnterGuestProgram(CpuArea* area);
// Values of area->leave_by; on i386 CodeSlots has them.
void LeaveWithoutInterrupts();
void LeaveWithInterrupts();
// The bounds of the code that leads there.
void LeaveBegin();
void LeaveEnd();
// Values of area->entry; on i386 CodeSlots has what leads there.
void EntryFromGuestProgram();
void EntryFromInterpreter();
// Calls function(argument). 0 if it returned; 1 if a VM exit came out of the interpreter; 2 if the
// interpreter raised an exception, which area->fault describes.
int RunProtected(CpuArea* area, void (*function)(void*), void* argument);
}

inline constexpr int kRunReturned = 0;
inline constexpr int kRunExited = 1;
inline constexpr int kRunFaulted = 2;

}  // namespace nvmx::lhv

#endif  // __ASSEMBLER__
#endif  // NVMX_LHV_IMAGE_CPU_AREA_H_
