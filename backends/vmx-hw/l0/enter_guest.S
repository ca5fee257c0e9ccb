// SPDX-License-Identifier: Apache-2.0
//
// From C++ into the guest and back. See enter_guest.h.

#define HOST_RSP 0x6C14

        .section .text.enter_guest, "ax"
        .globl EnterGuest, GuestExit, enter_guest_begin, enter_guest_end, EnterGuestAgain

// RDI: the guest's registers; RSI: whether the VMCS is launched; RDX: the mark of an NMI.
EnterGuest:
        push %rbx
        push %rbp
        push %r12
        push %r13
        push %r14
        push %r15
        push %rdi
        mov $HOST_RSP, %eax
        vmwrite %rsp, %rax
        // From here to the VM entry an NMI that is taken leads to EnterGuestAgain.
enter_guest_begin:
        cmpl $0, (%rdx)
        jne EnterGuestAgain
        test %rsi, %rsi  // no MOV changes the flags
        mov 0x00(%rdi), %rax
        mov 0x08(%rdi), %rcx
        mov 0x10(%rdi), %rdx
        mov 0x18(%rdi), %rbx
        mov 0x28(%rdi), %rbp
        mov 0x30(%rdi), %rsi
        mov 0x40(%rdi), %r8
        mov 0x48(%rdi), %r9
        mov 0x50(%rdi), %r10
        mov 0x58(%rdi), %r11
        mov 0x60(%rdi), %r12
        mov 0x68(%rdi), %r13
        mov 0x70(%rdi), %r14
        mov 0x78(%rdi), %r15
        mov 0x38(%rdi), %rdi
        jnz 1f
        vmlaunch
        jmp 2f
1:      vmresume
enter_guest_end:
2:      mov $2, %eax
        jmp leave

EnterGuestAgain:
        mov $1, %eax
leave:
        add $8, %rsp
        pop %r15
        pop %r14
        pop %r13
        pop %r12
        pop %rbp
        pop %rbx
        ret

// RDI: the mark. Interrupts are disabled: nothing but an NMI ends the HLT.
        .globl WaitForNmi, wait_for_nmi_begin, wait_for_nmi_end
WaitForNmi:
wait_for_nmi_begin:
        cmpl $0, (%rdi)
        jne wait_for_nmi_end
        hlt
wait_for_nmi_end:
        ret

// HOST_RIP; RSP is where EnterGuest left it.
GuestExit:
        push %rdi
        mov 8(%rsp), %rdi
        mov %rax, 0x00(%rdi)
        mov %rcx, 0x08(%rdi)
        mov %rdx, 0x10(%rdi)
        mov %rbx, 0x18(%rdi)
        mov %rbp, 0x28(%rdi)
        mov %rsi, 0x30(%rdi)
        mov %r8, 0x40(%rdi)
        mov %r9, 0x48(%rdi)
        mov %r10, 0x50(%rdi)
        mov %r11, 0x58(%rdi)
        mov %r12, 0x60(%rdi)
        mov %r13, 0x68(%rdi)
        mov %r14, 0x70(%rdi)
        mov %r15, 0x78(%rdi)
        pop %rax
        mov %rax, 0x38(%rdi)
        xor %eax, %eax
        jmp leave
