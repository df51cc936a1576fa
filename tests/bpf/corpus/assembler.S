// Functions by hand with rules: call0, a register as frame, an expression, a pushed frame.
        .text
        .globl  by_push, by_rbx, by_saved_stack, unframed
        .type   by_push, @function
by_push:                                // by_push(function)
        .cfi_startproc
        push    %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbx, 0
        push    %r12
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r12, 0
        sub     $0x128, %rsp
        .cfi_adjust_cfa_offset 0x128
        call    *%rdi
        add     $0x128, %rsp
        .cfi_adjust_cfa_offset -0x128
        pop     %r12
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r12
        pop     %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbx
        ret
        .cfi_endproc
        .size   by_push, . - by_push

        .type   by_rbx, @function
by_rbx:                                 // the frame is known by rbx alone
        .cfi_startproc
        push    %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbx, 0
        mov     %rsp, %rbx
        .cfi_def_cfa_register %rbx
        and     $-64, %rsp
        sub     $0x100, %rsp
        call    *%rdi
        mov     %rbx, %rsp
        .cfi_def_cfa_register %rsp
        pop     %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbx
        ret
        .cfi_endproc
        .size   by_rbx, . - by_rbx

        .type   by_saved_stack, @function
by_saved_stack:                         // as OpenSSL's assembler: the old rsp on the stack
        .cfi_startproc
        mov     %rsp, %rax
        .cfi_def_cfa_register %rax
        push    %rbp
        .cfi_offset %rbp, -16
        sub     $0x80, %rsp
        and     $-32, %rsp
        mov     %rax, 0x18(%rsp)
        .cfi_escape 0x0f, 5, 0x77, 0x18, 0x06, 0x23, 8  // *(rsp + 0x18) + 8
        xor     %ebp, %ebp
        call    *%rdi
        mov     0x18(%rsp), %rax
        .cfi_def_cfa %rax, 8
        mov     -8(%rax), %rbp
        lea     (%rax), %rsp
        .cfi_def_cfa_register %rsp
        ret
        .cfi_endproc
        .size   by_saved_stack, . - by_saved_stack

        .type   unframed, @function
unframed:                               // no rules, and no frame pointer: nobody can know
        sub     $0x48, %rsp
        call    *%rdi
        add     $0x48, %rsp
        ret
        .size   unframed, . - unframed
        .section .note.GNU-stack, "", @progbits
