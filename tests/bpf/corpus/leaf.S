// Functions by hand without rules, that keep frame pointers: each but the last makes its system call, or is
// stopped, at another instruction of prologue and epilogue. at_...(fd, memory, size), called by outer.
        .text
        .globl  outer, outer_end, outer_calls, outer_caller, framed, framed_end
        .globl  at_check, at_push, at_landing, at_mov, at_body, at_leave, at_ret, at_pad
        .macro  write
        mov     $1, %eax
        syscall
        .endm

outer:                                  // outer(a, b, c, function)
        mov     (%rsp), %rax
        mov     %rax, outer_caller(%rip)
        push    %rbp
        mov     %rsp, %rbp
        call    *%rcx
outer_calls:
        pop     %rbp
        ret
outer_end:

framed:                                 // to be stepped through
        test    %edx, %edx
        js      1f
        push    %rbp
        mov     %rsp, %rbp
        push    $1
        push    $2
        leave
1:      ret
framed_end:

at_check:
        write
        test    %edx, %edx
        js      1f
        push    %rbp
        mov     %rsp, %rbp
        pop     %rbp
1:      ret
at_push:
        write
        push    %rbp
        mov     %rsp, %rbp
        pop     %rbp
        ret
at_landing:
        write
        endbr64
        push    %rbp
        mov     %rsp, %rbp
        pop     %rbp
        ret
at_mov:
        push    %rbp
        write
        mov     %rsp, %rbp
        pop     %rbp
        ret
at_body:
        push    %rbp
        mov     %rsp, %rbp
        push    $1
        write
        nop
        leave
        ret
at_leave:
        push    %rbp
        mov     %rsp, %rbp
        push    $1
        write
        leave
        ret
at_ret:
        push    %rbp
        mov     %rsp, %rbp
        pop     %rbp
        write
        ret
at_pad:                                 // no frame, and nothing that tells it
        write
        .rept   24
        nop
        .endr
        ret

        .bss
        .balign 8
outer_caller:
        .skip   8
        .section .note.GNU-stack, "", @progbits
