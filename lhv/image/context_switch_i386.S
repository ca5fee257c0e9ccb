// SPDX-License-Identifier: Apache-2.0
//
// context_switch.S for i386. No register is left over that says whose CpuArea it is, so the first
// and the last instructions are each CPU's own (code_slots.h): on the way in they leave it in EAX, and
// the slot in EBP.
#include "lhv/image/cpu_area.h"

    .intel_syntax noprefix
    .text

// Handlers lie above all other code (lhv/layout.h), a page each.
#define HANDLERS 0x30000000
#define VECTOR_SHIFT 12
#define VECTOR_MASK 0xFF
#define NMI 2
#define FIRST_INTERRUPT 32
// EFLAGS with nothing set but bit 1.
#define PLAIN_EFLAGS 2

.macro PUSH_CALLEE_SAVED
    push ebx
    push ebp
    push esi
    push edi
.endm
.macro POP_CALLEE_SAVED
    pop edi
    pop esi
    pop ebp
    pop ebx
.endm
// Arguments behind PUSH_CALLEE_SAVED.
#define FIRST [esp + 20]
#define SECOND [esp + 24]
#define THIRD [esp + 28]

    .globl EnterGuestProgram, LeaveBegin, LeaveEnd
    .globl EntryFromGuestProgram, EntryFromInterpreter, RunProtected

EnterGuestProgram:
    PUSH_CALLEE_SAVED
    mov eax, FIRST
    mov [eax + NVMX_AREA_CPP_RSP], esp
LeaveBegin:
    lea esp, [eax + NVMX_AREA_FLAGS_STACK_TOP]
    push dword ptr [eax + NVMX_AREA_RFLAGS]
    popfd
    mov edx, [eax + 16]
    mov ebx, [eax + 24]
    mov ebp, [eax + 40]
    mov esi, [eax + 48]
    mov edi, [eax + 56]
    mov esp, [eax + 32]
    mov ecx, [eax + NVMX_AREA_FROM_GUEST_PROGRAM]
    // From here on an event is one of the guest program's.
    mov [eax + NVMX_AREA_ENTRY], ecx
    mov ecx, [eax + 8]
    jmp [eax + NVMX_AREA_LEAVE_BY]
LeaveEnd:

// The stub has kept EBP, and what is between has kept EAX.
EntryFromGuestProgram:
    mov [eax + 8], ecx
    mov [eax + 16], edx
    mov [eax + 24], ebx
    mov [eax + 32], esp
    mov [eax + 48], esi
    mov [eax + 56], edi
    mov [eax + NVMX_AREA_RIP], ebp
    lea esp, [eax + NVMX_AREA_FLAGS_STACK_TOP]
    pushfd
    pop dword ptr [eax + NVMX_AREA_RFLAGS]
BackToInterpreter:
    lea esp, [eax + NVMX_AREA_FLAGS_STACK_TOP]
    push PLAIN_EFLAGS
    popfd
    mov esp, [eax + NVMX_AREA_CPP_RSP]
    POP_CALLEE_SAVED
    ret

// The same while the interpreter ran: an event, or a VM exit.
EntryFromInterpreter:
    mov [eax + NVMX_AREA_SCRATCH + 8], ecx
    mov [eax + NVMX_AREA_SCRATCH + 16], edx
    cmp ebp, HANDLERS
    jb ExitFromInterpreter
    mov ecx, ebp
    shr ecx, VECTOR_SHIFT
    and ecx, VECTOR_MASK
    cmp ecx, NMI
    je 1f
    cmp ecx, FIRST_INTERRUPT
    jb FaultInInterpreter
1:
    mov [eax + NVMX_AREA_DEFERRED], ebp
    mov ecx, [esp]
    cmp ecx, offset LeaveBegin
    jb 2f
    cmp ecx, offset LeaveEnd
    jae 2f
    // On the way out: as if it had not begun.
    mov dword ptr [eax + NVMX_AREA_ABORTED], 1
    jmp BackToInterpreter
2:
    // Back, but not by IRET: NMIs stay blocked.
    mov edx, [esp + 8]
    mov [esp + 8], ecx
    mov [esp + 4], edx
    lea esp, [esp + 4]
    mov ecx, [eax + NVMX_AREA_SCRATCH + 8]
    mov edx, [eax + NVMX_AREA_SCRATCH + 16]
    mov ebp, [eax + NVMX_AREA_R14]
    mov eax, [eax + NVMX_AREA_SCRATCH]
    popfd
    ret

ExitFromInterpreter:
    mov [eax + NVMX_AREA_FAULT], ebp
    mov ecx, 1
    jmp ReturnFromProtected

FaultInInterpreter:
    mov [eax + NVMX_AREA_FAULT], ebp
    mov ecx, [esp]
    mov [eax + NVMX_AREA_FAULT + 8], ecx
    mov ecx, [esp + 4]
    mov [eax + NVMX_AREA_FAULT + 16], ecx
    mov ecx, [esp + 8]
    mov [eax + NVMX_AREA_FAULT + 24], ecx
    mov ecx, [esp + 12]
    mov [eax + NVMX_AREA_FAULT + 32], ecx
    mov ecx, 2
ReturnFromProtected:
    mov esp, [eax + NVMX_AREA_MAIN_RSP]
    push PLAIN_EFLAGS
    popfd
    mov eax, ecx
    POP_CALLEE_SAVED
    ret

RunProtected:
    PUSH_CALLEE_SAVED
    mov eax, FIRST
    mov ecx, [eax + NVMX_AREA_FROM_INTERPRETER]
    mov [eax + NVMX_AREA_MAIN_RSP], esp
    mov [eax + NVMX_AREA_ENTRY], ecx
    mov ecx, SECOND
    mov edx, THIRD
    sub esp, 8
    push edx
    call ecx
    add esp, 12
    xor eax, eax
    POP_CALLEE_SAVED
    ret

    .section .note.GNU-stack, "", @progbits
