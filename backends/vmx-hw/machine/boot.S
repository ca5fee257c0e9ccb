// SPDX-License-Identifier: Apache-2.0
//
// What cannot be C++: from the boot loader's 32-bit protected mode, and from an application
// processor's real mode, to C++ on a stack.

#define MULTIBOOT_MAGIC 0x1BADB002
#define MULTIBOOT_FLAGS 3  // modules on page boundaries; a memory map
#define MULTIBOOT2_MAGIC 0xE85250D6
#define MULTIBOOT2_I386 0
#define MULTIBOOT2_END 0
#define MULTIBOOT2_INFORMATION_REQUEST 1
#define MULTIBOOT2_MODULE_ALIGNMENT 6
#define MULTIBOOT2_MEMORY_MAP 6
#define CODE_SELECTOR 0x08
#define DATA_SELECTOR 0x10
#define CR0_PE_PG_NE 0x80000021
#define CR0_PE_NE 0x21
#define CR4_PAE 0x20
#define IA32_EFER 0xC0000080
#define EFER_LME 0x100
#define PAGE_PRESENT_WRITABLE 3
#define PAGE_PRESENT_WRITABLE_LARGE 0x83

        .section .multiboot, "a"
        .balign 4
        .long MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

        // Multiboot2 Specification 2.0, 3.1 "OS image format". The entry is the ELF file's.
        .balign 8
multiboot2_begin:
        .long MULTIBOOT2_MAGIC, MULTIBOOT2_I386, multiboot2_end - multiboot2_begin
        .long -(MULTIBOOT2_MAGIC + MULTIBOOT2_I386 + (multiboot2_end - multiboot2_begin))
        .word MULTIBOOT2_INFORMATION_REQUEST, 0
        .long 12, MULTIBOOT2_MEMORY_MAP, 0
        .word MULTIBOOT2_MODULE_ALIGNMENT, 0
        .long 8
        .word MULTIBOOT2_END, 0
        .long 8
multiboot2_end:

        .section .text.boot, "ax"
        .code32
        .globl MultibootEntry
MultibootEntry:
        cli
        cld
        mov $boot_stack_top, %esp
        mov %eax, boot_magic
        mov %ebx, boot_information_address
        lgdt boot_gdt_pointer
#ifdef __x86_64__
        // Without 64-bit mode there is nothing that this image could do but say so.
        mov $0x80000000, %eax
        cpuid
        cmp $0x80000001, %eax
        jb no_long_mode
        mov $0x80000001, %eax
        cpuid
        test $(1 << 29), %edx
        jz no_long_mode
        // The first 4 GiB, each address to itself.
        mov $boot_page_directories, %edi
        mov $PAGE_PRESENT_WRITABLE_LARGE, %eax
1:      mov %eax, (%edi)
        add $8, %edi
        add $0x200000, %eax
        cmp $boot_page_directories + 4 * 4096, %edi
        jne 1b
        mov $boot_pdpt, %edi
        mov $boot_page_directories + PAGE_PRESENT_WRITABLE, %eax
2:      mov %eax, (%edi)
        add $8, %edi
        add $4096, %eax
        cmp $boot_pdpt + 4 * 8, %edi
        jne 2b
        movl $boot_pdpt + PAGE_PRESENT_WRITABLE, boot_pml4
        mov $CR4_PAE, %eax
        mov %eax, %cr4
        mov $boot_pml4, %eax
        mov %eax, %cr3
        mov $IA32_EFER, %ecx
        rdmsr
        or $EFER_LME, %eax
        wrmsr
        mov $CR0_PE_PG_NE, %eax
        mov %eax, %cr0
        ljmp $CODE_SELECTOR, $boot_protected

no_long_mode:
        mov $no_long_mode_text, %esi
3:      mov (%esi), %al
        test %al, %al
        jz 5f
        mov $0x3FD, %dx
        mov %al, %ah
4:      in (%dx), %al
        test $0x20, %al
        jz 4b
        mov %ah, %al
        mov $0x3F8, %dx
        out %al, (%dx)
        inc %esi
        jmp 3b
5:      hlt
        jmp 5b
no_long_mode_text:
        .asciz "This processor has no 64-bit mode; this image needs it.\r\n"
        .code64
#else
        // Loaders leave CD and NW as RESET did, and so would VM exits.
        mov $CR0_PE_NE, %eax
        mov %eax, %cr0
        ljmp $CODE_SELECTOR, $boot_protected
#endif
boot_protected:
        mov $DATA_SELECTOR, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss
        xor %eax, %eax
        mov %eax, %fs
        mov %eax, %gs
#ifdef __x86_64__
        mov $boot_stack_top, %rsp
        xor %ebp, %ebp
#else
        xor %ebp, %ebp
        sub $12, %esp
#endif
        call BootMain
        ud2

        // --- An application processor begins here, in a page below 1 MiB to which this was copied
        // and in which the words at its end have been filled in.
        .globl ap_trampoline_begin, ap_trampoline_end
        .globl ap_trampoline_cr3, ap_trampoline_target, ap_trampoline_gdt_base
        .balign 16
        .code16
ap_trampoline_begin:
        cli
        cld
        mov %cs, %ax
        mov %ax, %ds
        lgdtl ap_gdt_pointer - ap_trampoline_begin
#ifdef __x86_64__
        mov $CR4_PAE, %eax
        mov %eax, %cr4
        mov ap_trampoline_cr3 - ap_trampoline_begin, %eax
        mov %eax, %cr3
        mov $IA32_EFER, %ecx
        rdmsr
        or $EFER_LME, %eax
        wrmsr
        mov $CR0_PE_PG_NE, %eax
#else
        mov ap_trampoline_cr4 - ap_trampoline_begin, %eax
        mov %eax, %cr4
        mov ap_trampoline_cr3 - ap_trampoline_begin, %eax
        mov %eax, %cr3
        mov ap_trampoline_cr0 - ap_trampoline_begin, %eax
        or $CR0_PE_NE, %eax
#endif
        mov %eax, %cr0
        ljmpl *(ap_trampoline_target - ap_trampoline_begin)
        .balign 8
ap_trampoline_cr3:
        .long 0
#ifndef __x86_64__
        .globl ap_trampoline_cr0, ap_trampoline_cr4
ap_trampoline_cr0:
        .long 0
ap_trampoline_cr4:
        .long 0
#endif
ap_trampoline_target:  // where the image's code for application processors is
        .long 0
        .word CODE_SELECTOR
        .balign 8
ap_gdt_pointer:
        .word 3 * 8 - 1
ap_trampoline_gdt_base:
        .long 0
        .balign 8
        .globl ap_trampoline_gdt
ap_trampoline_gdt:
        .quad 0
#ifdef __x86_64__
        .quad 0x00AF9B000000FFFF
#else
        .quad 0x00CF9B000000FFFF
#endif
        .quad 0x00CF93000000FFFF
ap_trampoline_end:

#ifdef __x86_64__
        .code64
#else
        .code32
#endif
        .globl ApplicationProcessorEntry
ApplicationProcessorEntry:
        mov $DATA_SELECTOR, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss
        xor %eax, %eax
        mov %eax, %fs
        mov %eax, %gs
        xor %ebp, %ebp
#ifdef __x86_64__
        mov ap_stack_top, %rsp
#else
        mov ap_stack_top, %esp
        sub $12, %esp
#endif
        call ApplicationProcessorMain
        ud2

        .section .rodata.boot, "a"
        .balign 8
boot_gdt:
        .quad 0
#ifdef __x86_64__
        .quad 0x00AF9B000000FFFF  // code, 64-bit
#else
        .quad 0x00CF9B000000FFFF  // code, 32-bit, flat
#endif
        .quad 0x00CF93000000FFFF  // data, flat
boot_gdt_pointer:
        .word 3 * 8 - 1
        .long boot_gdt

        .section .bss.boot, "aw", @nobits
        .balign 4096
        .globl boot_pml4
boot_pml4:
        .skip 4096
boot_pdpt:
        .skip 4096
boot_page_directories:
        .skip 4 * 4096
        .skip 0x8000
        .globl boot_stack_top
boot_stack_top:
        .globl boot_magic, boot_information_address, ap_stack_top
        .balign 8
boot_magic:
        .skip 8
boot_information_address:
        .skip 8
ap_stack_top:
        .skip 8
