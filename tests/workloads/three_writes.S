# A program of five calls: opens /dev/null, writes 1, 2 and 3 bytes there, and ends with status 5.
.globl _start
.text
.type _start, @function
_start:
    xorl %ebp, %ebp
    movl $2, %eax               # open
    leaq path(%rip), %rdi
    movl $1, %esi               # O_WRONLY
    syscall
    movl %eax, %ebx
    xorl %r12d, %r12d
.Lagain:
    incl %r12d
    movl $1, %eax               # write
    movl %ebx, %edi
    leaq path(%rip), %rsi
    movl %r12d, %edx
    syscall
    cmpl $3, %r12d
    jne .Lagain
    movl $60, %eax              # exit
    movl $5, %edi
    syscall
.size _start, . - _start
.section .rodata
path: .asciz "/dev/null"
.section .note.GNU-stack, "", @progbits
