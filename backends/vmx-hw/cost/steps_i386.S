// SPDX-License-Identifier: Apache-2.0
//
// steps.S for i386. Ticks are those of the low half of the counter: no function takes longer.

#define GUEST_RIP 0x681E
#define HOST_RSP 0x6C14
#define EXIT_REASON 0x4402
#define INSTRUCTION_LENGTH 0x440C
#define REASON_CPUID 10

        .text
        .globl CountCpuid, CountVmread, CountVmwrite, CountWrmsr, CountExits, ExecuteCpuid
        .globl TakeCountedExit, EnterOnce, TakeExit, TouchMemory, CallMonitor

.macro save_registers
        push %ebx
        push %ebp
        push %esi
        push %edi
.endm

.macro restore_registers
        pop %edi
        pop %esi
        pop %ebp
        pop %ebx
.endm

// Where arguments are behind save_registers; each of 64 bits.
#define FIRST 20(%esp)
#define SECOND 28(%esp)

.macro begin_ticks
        rdtsc
        mov %eax, %esi
.endm

.macro end_ticks
        rdtsc
        sub %esi, %eax
        xor %edx, %edx
.endm

CountCpuid:
        save_registers
        mov FIRST, %edi
        begin_ticks
1:      xor %eax, %eax
        xor %ecx, %ecx
        cpuid
        dec %edi
        jnz 1b
        end_ticks
        restore_registers
        ret

CountVmread:
        save_registers
        mov FIRST, %edi
        mov SECOND, %ebx
        begin_ticks
1:      vmread %ebx, %ecx
        dec %edi
        jnz 1b
        end_ticks
        restore_registers
        ret

CountVmwrite:
        save_registers
        mov FIRST, %edi
        mov SECOND, %ebx
        vmread %ebx, %ecx
        mov %ecx, %ebp
        begin_ticks
1:      xor $1, %ecx
        vmwrite %ecx, %ebx
        dec %edi
        jnz 1b
        end_ticks
        vmwrite %ebp, %ebx
        restore_registers
        ret

// The MSR has 32 bits; behind it is the pointer to the two values.
CountWrmsr:
        save_registers
        mov FIRST, %edi
        mov SECOND, %ecx
        mov 32(%esp), %ebp
        begin_ticks
        xor %ebx, %ebx
1:      mov (%ebp, %ebx), %eax
        mov 4(%ebp, %ebx), %edx
        wrmsr
        xor $8, %ebx
        dec %edi
        jnz 1b
        end_ticks
        restore_registers
        ret

CountExits:
        save_registers
        mov $HOST_RSP, %eax
        vmwrite %esp, %eax
        mov FIRST, %edi
        begin_ticks
        vmresume
        jmp 2f
TakeCountedExit:
        mov $EXIT_REASON, %eax
        vmread %eax, %ebx
        mov $INSTRUCTION_LENGTH, %eax
        vmread %eax, %ecx
        mov $GUEST_RIP, %eax
        vmread %eax, %edx
        cmp $REASON_CPUID, %ebx
        jne 2f
        add %ecx, %edx
        vmwrite %edx, %eax
        dec %edi
        jz 1f
        vmresume
2:      xor %eax, %eax
        xor %edx, %edx
        jmp 3f
1:      end_ticks
3:      restore_registers
        ret

ExecuteCpuid:
        cpuid
        jmp ExecuteCpuid

EnterOnce:
        save_registers
        mov $HOST_RSP, %eax
        vmwrite %esp, %eax
        mov SECOND, %ebp
        cmpl $0, FIRST
        jne 1f
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
        mov 0x00(%ebp), %ebx
        mov 0x08(%ebp), %edi
        mov 0x10(%ebp), %ecx
        begin_ticks
1:      mov (%ebx), %eax
        add %ecx, %ebx
        dec %edi
        jnz 1b
        end_ticks
        mov %eax, 0x18(%ebp)
        mov %edx, 0x1C(%ebp)
CallMonitor:
        vmcall
        ud2
