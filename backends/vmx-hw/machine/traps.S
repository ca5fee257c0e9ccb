// SPDX-License-Identifier: Apache-2.0
//
// One entry of 16 bytes for each vector; all lead to HandleTrap() with a TrapFrame (traps.h).

        .section .text.traps, "ax"
        .balign 16
        .globl trap_entries
trap_entries:
        .set vector, 0
        .rept 256
        .balign 16
        // Those that push an error code themselves.
        .if vector != 8 && (vector < 10 || vector > 14) && vector != 17 && vector != 21
        push $0
        .endif
        push $vector
        jmp common
        .set vector, vector + 1
        .endr

common:
        cld
#ifdef __x86_64__
        push %rax
        push %rcx
        push %rdx
        push %rbx
        push %rbp
        push %rsi
        push %rdi
        push %r8
        push %r9
        push %r10
        push %r11
        push %r12
        push %r13
        push %r14
        push %r15
        mov %rsp, %rdi
        mov %rsp, %rbx
        and $-16, %rsp
        call HandleTrap
        mov %rbx, %rsp
        pop %r15
        pop %r14
        pop %r13
        pop %r12
        pop %r11
        pop %r10
        pop %r9
        pop %r8
        pop %rdi
        pop %rsi
        pop %rbp
        pop %rbx
        pop %rdx
        pop %rcx
        pop %rax
        add $16, %rsp
        iretq
#else
        push %eax
        push %ecx
        push %edx
        push %ebx
        push %ebp
        push %esi
        push %edi
        mov %esp, %ebx
        and $-16, %esp
        sub $12, %esp
        push %ebx
        call HandleTrap
        mov %ebx, %esp
        pop %edi
        pop %esi
        pop %ebp
        pop %ebx
        pop %edx
        pop %ecx
        pop %eax
        add $8, %esp
        iret
#endif
