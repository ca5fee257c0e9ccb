// SPDX-License-Identifier: Apache-2.0
//
// The steps that are counted. See steps.h.

#define GUEST_RIP 0x681E
#define HOST_RSP 0x6C14
#define EXIT_REASON 0x4402
#define INSTRUCTION_LENGTH 0x440C
#define REASON_CPUID 10

        .text
        .globl CountCpuid, CountVmread, CountVmwrite, CountWrmsr, CountExits, ExecuteCpuid
        .globl TakeCountedExit, EnterOnce, TakeExit, TouchMemory, CallMonitor

// The counter into \to. Changes RAX and RDX.
.macro read_counter to
        rdtsc
        shl $32, %rdx
        lea (%rax, %rdx), \to
.endm

// What has passed since the counter was \since, into RAX.
.macro ticks_since since
        rdtsc
        shl $32, %rdx
        add %rdx, %rax
        sub \since, %rax
.endm

CountCpuid:
        push %rbx
        read_counter %r8
1:      xor %eax, %eax
        xor %ecx, %ecx
        cpuid
        dec %rdi
        jnz 1b
        ticks_since %r8
        pop %rbx
        ret

CountVmread:
        read_counter %r8
1:      vmread %rsi, %rcx
        dec %rdi
        jnz 1b
        ticks_since %r8
        ret

CountVmwrite:
        vmread %rsi, %rcx
        mov %rcx, %r9
        read_counter %r8
1:      xor $1, %rcx
        vmwrite %rcx, %rsi
        dec %rdi
        jnz 1b
        ticks_since %r8
        vmwrite %r9, %rsi
        ret

// RDX points to the two values.
CountWrmsr:
        push %rbx
        push %rbp
        mov %rdx, %r9
        mov %esi, %ecx
        read_counter %r8
        xor %ebx, %ebx
1:      mov (%r9, %rbx), %eax
        mov 4(%r9, %rbx), %edx
        wrmsr
        xor $8, %ebx
        dec %rdi
        jnz 1b
        ticks_since %r8
        pop %rbp
        pop %rbx
        ret

.macro save_registers
        push %rbx
        push %rbp
        push %r12
        push %r13
        push %r14
        push %r15
        mov $HOST_RSP, %eax
        vmwrite %rsp, %rax
.endm

.macro restore_registers
        pop %r15
        pop %r14
        pop %r13
        pop %r12
        pop %rbp
        pop %rbx
.endm

CountExits:
        save_registers
        mov %rdi, %r15
        read_counter %r14
        vmresume
        jmp 2f
TakeCountedExit:
        mov $EXIT_REASON, %eax
        vmread %rax, %rbx
        mov $INSTRUCTION_LENGTH, %eax
        vmread %rax, %rcx
        mov $GUEST_RIP, %eax
        vmread %rax, %rdx
        cmp $REASON_CPUID, %ebx
        jne 2f
        add %rcx, %rdx
        vmwrite %rdx, %rax
        dec %r15
        jz 1f
        vmresume
2:      xor %eax, %eax
        jmp 3f
1:      ticks_since %r14
3:      restore_registers
        ret

ExecuteCpuid:
        cpuid
        jmp ExecuteCpuid

EnterOnce:
        save_registers
        mov %rsi, %rbp
        test %rdi, %rdi
        jnz 1f
        vmlaunch
        jmp 2f
1:      vmresume
2:      xor %eax, %eax
        jmp 3f
TakeExit:
        mov $1, %eax
3:      restore_registers
        ret

TouchMemory:
        mov 0x00(%rbp), %rsi
        mov 0x08(%rbp), %rdi
        mov 0x10(%rbp), %rcx
        read_counter %r8
1:      mov (%rsi), %rax
        add %rcx, %rsi
        dec %rdi
        jnz 1b
        ticks_since %r8
        mov %rax, 0x18(%rbp)
CallMonitor:
        vmcall
        ud2
