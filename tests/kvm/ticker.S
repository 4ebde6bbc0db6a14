/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest guest that can be parked: it counts, in 32-bit protected mode without paging.
 *
 * Some hosts' KVM runs no Linux but does run this, so that the whole way of a session can be
 * walked under KVM there. A multiboot program for QEMU's -kernel:
 *
 *   1. prints "torpor ticker\n" on COM1;
 *   2. fills TICKER_PATTERN_PAGES pages from TICKER_PATTERN on: each 32-bit word is its own
 *      physical address, exclusive-ored with TICKER_PATTERN_KEY;
 *   3. for ever: adds 1 to the 32-bit count at TICKER_COUNT, writes the count into the first word
 *      of one page of TICKER_TOUCH (the count's low bits say which), and whenever the count is a
 *      multiple of TICKER_PRINT_EVERY prints "tick XXXXXXXX\n", the count in hexadecimal.
 *
 * What a test may rely on: the addresses and numbers below, that a printed count was reached,
 * and that the count in memory never goes backwards. It needs 8 MiB of memory and no device but
 * COM1.
 */

	.set TICKER_COUNT,         0x00200000
	.set TICKER_TOUCH,         0x00300000
	.set TICKER_TOUCH_PAGES,   256
	.set TICKER_PATTERN,       0x00400000
	.set TICKER_PATTERN_PAGES, 1024
	.set TICKER_PATTERN_KEY,   0x5a5a5a5a
	.set TICKER_PRINT_EVERY,   0x10000

	.set COM1,           0x3f8
	.set COM1_LSR,       COM1 + 5
	.set LSR_THR_EMPTY,  0x20
	.set MULTIBOOT,      0x1badb002
	.set MULTIBOOT_FLAGS, 0

	.text
	.globl _start
	.align 4
header:
	.long MULTIBOOT
	.long MULTIBOOT_FLAGS
	.long -(MULTIBOOT + MULTIBOOT_FLAGS)

_start:
	cli
	cld
	movl $stack_top, %esp
	movl $greeting, %esi
	call print

	movl $TICKER_PATTERN, %edi
	movl $(TICKER_PATTERN_PAGES * 1024), %ecx
fill:
	movl %edi, %eax
	xorl $TICKER_PATTERN_KEY, %eax
	movl %eax, (%edi)
	addl $4, %edi
	decl %ecx
	jnz fill

	xorl %ebx, %ebx
tick:
	incl %ebx
	movl %ebx, TICKER_COUNT
	movl %ebx, %eax
	andl $(TICKER_TOUCH_PAGES - 1), %eax
	shll $12, %eax
	movl %ebx, TICKER_TOUCH(%eax)
	testl $(TICKER_PRINT_EVERY - 1), %ebx
	jnz tick
	call print_count
	jmp tick

/* Prints "tick ", %ebx in hexadecimal, newline. */
print_count:
	movl $tick_text, %esi
	call print
	movl %ebx, %edx
	movl $8, %ecx
digit:
	roll $4, %edx
	movl %edx, %eax
	andl $15, %eax
	movb digits(%eax), %al
	call put
	decl %ecx
	jnz digit
	movb $'\n', %al
	jmp put

/* Prints the string at %esi. */
print:
	lodsb
	testb %al, %al
	jz done
	call put
	jmp print

/* Prints %al. Keeps all other registers. */
put:
	pushl %edx
	pushl %eax
	movl $COM1_LSR, %edx
full:
	inb %dx, %al
	testb $LSR_THR_EMPTY, %al
	jz full
	popl %eax
	movl $COM1, %edx
	outb %al, %dx
	popl %edx
done:
	ret

	.section .rodata
greeting:  .asciz "torpor ticker\n"
tick_text: .asciz "tick "
digits:    .ascii "0123456789abcdef"

	.bss
	.align 16
	.skip 1024
stack_top:

	.section .note.GNU-stack, "", @progbits
