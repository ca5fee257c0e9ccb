// SPDX-License-Identifier: Apache-2.0
//
// enter_guest.S for i386. See enter_guest.h.

#define HOST_RSP 0x6C14

        .section .text.enter_guest, "ax"
        .globl EnterGuest, GuestExit, enter_guest_begin, enter_guest_end, EnterGuestAgain

// On the stack: the guest's registers, 64 bits for each; 64 bits of whether the VMCS is launched;
// the mark of an NMI.
EnterGuest:
        push %ebx
        push %ebp
        push %esi
        push %edi
        mov 20(%esp), %edi
        mov 24(%esp), %esi
        mov 32(%esp), %edx
        push %edi
        mov $HOST_RSP, %eax
        vmwrite %esp, %eax
        // From here to the VM entry an NMI that is taken leads to EnterGuestAgain.
enter_guest_begin:
        cmpl $0, (%edx)
        jne EnterGuestAgain
        test %esi, %esi  // no MOV changes the flags
        mov 0x00(%edi), %eax
        mov 0x08(%edi), %ecx
        mov 0x10(%edi), %edx
        mov 0x18(%edi), %ebx
        mov 0x28(%edi), %ebp
        mov 0x30(%edi), %esi
        mov 0x38(%edi), %edi
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
        add $4, %esp
        pop %edi
        pop %esi
        pop %ebp
        pop %ebx
        ret

// On the stack: the mark. Interrupts are disabled: nothing but an NMI ends the HLT.
        .globl WaitForNmi, wait_for_nmi_begin, wait_for_nmi_end
WaitForNmi:
        mov 4(%esp), %eax
wait_for_nmi_begin:
        cmpl $0, (%eax)
        jne wait_for_nmi_end
        hlt
wait_for_nmi_end:
        ret

// HOST_RIP; ESP is where EnterGuest left it.
GuestExit:
        push %edi
        mov 4(%esp), %edi
        mov %eax, 0x00(%edi)
        mov %ecx, 0x08(%edi)
        mov %edx, 0x10(%edi)
        mov %ebx, 0x18(%edi)
        mov %ebp, 0x28(%edi)
        mov %esi, 0x30(%edi)
        pop %eax
        mov %eax, 0x38(%edi)
        xor %eax, %eax
        jmp leave
