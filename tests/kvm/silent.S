/* SPDX-License-Identifier: Apache-2.0 */
/* A multiboot program that never prints: what a Linux kernel looks like where KVM can't run it. */
	.set MULTIBOOT, 0x1badb002

	.text
	.globl _start
	.align 4
	.long MULTIBOOT
	.long 0
	.long -MULTIBOOT
_start:
	cli
sleep:
	hlt
	jmp sleep

	.section .note.GNU-stack, "", @progbits
