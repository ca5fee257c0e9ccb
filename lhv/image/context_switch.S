// SPDX-License-Identifier: Apache-2.0
//
// The switch between the interpreter and the guest program; README.md tells the whole way.
#include "lhv/image/cpu_area.h"

    .intel_syntax noprefix
    .text

// Handlers lie above all other code (lhv/layout.h), a page each.
#define HANDLERS 0x30000000
#define VECTOR_SHIFT 12
#define VECTOR_MASK 0xFF
#define NMI 2
#define FIRST_INTERRUPT 32
// RFLAGS with nothing set but bit 1.
#define PLAIN_RFLAGS 2

.macro PUSH_CALLEE_SAVED
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
.endm
.macro POP_CALLEE_SAVED
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
.endm

    .globl EnterGuestProgram, LeaveBegin, LeaveEnd, LeaveWithoutInterrupts, LeaveWithInterrupts
    .globl EntryFromGuestProgram, EntryFromInterpreter, RunProtected

EnterGuestProgram:
    PUSH_CALLEE_SAVED
    mov r15, rdi
    mov [r15 + NVMX_AREA_CPP_RSP], rsp
LeaveBegin:
    lea rsp, [r15 + NVMX_AREA_FLAGS_STACK_TOP]
    push qword ptr [r15 + NVMX_AREA_RFLAGS]
    popfq
    mov rax, [r15]
    mov rcx, [r15 + 8]
    mov rdx, [r15 + 16]
    mov rbx, [r15 + 24]
    mov rbp, [r15 + 40]
    mov rsi, [r15 + 48]
    mov rdi, [r15 + 56]
    mov r8, [r15 + 64]
    mov r9, [r15 + 72]
    mov r10, [r15 + 80]
    mov r11, [r15 + 88]
    mov r12, [r15 + 96]
    mov r13, [r15 + 104]
    mov rsp, [r15 + 32]
    // From here on an event is one of the guest program's.
    mov qword ptr [r15 + NVMX_AREA_ENTRY], offset EntryFromGuestProgram
    jmp [r15 + NVMX_AREA_LEAVE_BY]
LeaveWithInterrupts:
    // Interrupts wait until the jump is over.
    sti
LeaveWithoutInterrupts:
    jmp [r15 + NVMX_AREA_TARGET]
LeaveEnd:

// From a stub: R15 is the area, R14 the slot.
EntryFromGuestProgram:
    mov qword ptr [r15 + NVMX_AREA_ENTRY], offset EntryFromInterpreter
    mov [r15], rax
    mov [r15 + 8], rcx
    mov [r15 + 16], rdx
    mov [r15 + 24], rbx
    mov [r15 + 32], rsp
    mov [r15 + 40], rbp
    mov [r15 + 48], rsi
    mov [r15 + 56], rdi
    mov [r15 + 64], r8
    mov [r15 + 72], r9
    mov [r15 + 80], r10
    mov [r15 + 88], r11
    mov [r15 + 96], r12
    mov [r15 + 104], r13
    mov [r15 + NVMX_AREA_RIP], r14
    lea rsp, [r15 + NVMX_AREA_FLAGS_STACK_TOP]
    pushfq
    pop qword ptr [r15 + NVMX_AREA_RFLAGS]
BackToInterpreter:
    lea rsp, [r15 + NVMX_AREA_FLAGS_STACK_TOP]
    push PLAIN_RFLAGS
    popfq
    mov rsp, [r15 + NVMX_AREA_CPP_RSP]
    POP_CALLEE_SAVED
    ret

// The same while the interpreter ran: an event, or a VM exit.
EntryFromInterpreter:
    mov [r15 + NVMX_AREA_SCRATCH], rax
    mov [r15 + NVMX_AREA_SCRATCH + 8], rcx
    mov [r15 + NVMX_AREA_SCRATCH + 16], rdx
    cmp r14, HANDLERS
    jb ExitFromInterpreter
    mov eax, r14d
    shr eax, VECTOR_SHIFT
    and eax, VECTOR_MASK
    cmp eax, NMI
    je 1f
    cmp eax, FIRST_INTERRUPT
    jb FaultInInterpreter
1:
    mov [r15 + NVMX_AREA_DEFERRED], r14
    mov rcx, [rsp]
    cmp rcx, offset LeaveBegin
    jb 2f
    cmp rcx, offset LeaveEnd
    jae 2f
    // On the way out: as if it had not begun.
    mov qword ptr [r15 + NVMX_AREA_ABORTED], 1
    jmp BackToInterpreter
2:
    // Back, but not by IRET: NMIs stay blocked.
    mov rdx, [rsp + 16]
    mov rax, [rsp + 24]
    mov [rax - 8], rcx
    mov [rax - 16], rdx
    lea rsp, [rax - 16]
    mov rax, [r15 + NVMX_AREA_SCRATCH]
    mov rcx, [r15 + NVMX_AREA_SCRATCH + 8]
    mov rdx, [r15 + NVMX_AREA_SCRATCH + 16]
    mov r14, [r15 + NVMX_AREA_R14]
    mov r15, [r15 + NVMX_AREA_R15]
    popfq
    ret

ExitFromInterpreter:
    mov eax, 1
    mov [r15 + NVMX_AREA_FAULT], r14
    jmp ReturnFromProtected

FaultInInterpreter:
    mov [r15 + NVMX_AREA_FAULT], r14
    mov rcx, [rsp]
    mov [r15 + NVMX_AREA_FAULT + 8], rcx
    mov rcx, [rsp + 8]
    mov [r15 + NVMX_AREA_FAULT + 16], rcx
    mov rcx, [rsp + 16]
    mov [r15 + NVMX_AREA_FAULT + 24], rcx
    mov rcx, [rsp + 24]
    mov [r15 + NVMX_AREA_FAULT + 32], rcx
    mov eax, 2
ReturnFromProtected:
    mov rsp, [r15 + NVMX_AREA_MAIN_RSP]
    push PLAIN_RFLAGS
    popfq
    POP_CALLEE_SAVED
    ret

RunProtected:
    PUSH_CALLEE_SAVED
    mov [rdi + NVMX_AREA_MAIN_RSP], rsp
    mov qword ptr [rdi + NVMX_AREA_ENTRY], offset EntryFromInterpreter
    mov rdi, rdx
    sub rsp, 8
    call rsi
    add rsp, 8
    xor eax, eax
    POP_CALLEE_SAVED
    ret

    .section .note.GNU-stack, "", @progbits
