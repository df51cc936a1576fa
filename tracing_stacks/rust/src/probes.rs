//! The USDT probes: a function of one nop each, and the semaphore that the kernel counts up while
//! somebody listens. Their notes' format:
//! <https://sourceware.org/systemtap/wiki/UserSpaceProbeImplementation>.
//!
//! The nop has one byte (on x86-64), for Linux 6.18 turns a probed 5-byte nop into a call whose
//! target forked children lack.
//!
//! Semaphores begin a page. Some linkers (lld) put a segment's end and the next one's begin into one page
//! of the file, which is then mapped twice: the kernel would count in the copy that nobody reads.

#[cfg(all(target_os = "linux", target_pointer_width = "64", any(target_arch = "x86_64", target_arch = "aarch64")))]
macro_rules! probe {
    ($name:literal, $module:ident ($($argument:ident: $type:ty),*), $where:expr, $alignment:literal) => {
        pub mod $module {
            std::arch::global_asm!(concat!(
                ".pushsection .text.stacks_tracing_", $name, ",\"ax\",%progbits\n",
                ".globl stacks_tracing_rust_fire_", $name, "\n",
                ".hidden stacks_tracing_rust_fire_", $name, "\n",
                ".type stacks_tracing_rust_fire_", $name, ",%function\n",
                "stacks_tracing_rust_fire_", $name, ":\n",
                ".cfi_startproc\n",  // the stack of an exit is unwound from here
                "990: nop\n",
                "ret\n",
                ".cfi_endproc\n",
                ".size stacks_tracing_rust_fire_", $name, ", . - stacks_tracing_rust_fire_", $name, "\n",
                ".pushsection .note.stapsdt,\"?\",%note\n",
                ".balign 4\n",
                ".4byte 992f-991f, 994f-993f, 3\n",
                "991: .asciz \"stapsdt\"\n",
                "992: .balign 4\n",
                "993: .8byte 990b\n",
                ".8byte _.stapsdt.base\n",
                ".8byte stacks_tracing_rust_", $name, "_semaphore\n",
                ".asciz \"stacks_tracing\"\n",
                ".asciz \"", $name, "\"\n",
                ".asciz \"", $where, "\"\n",
                "994: .balign 4\n",
                ".popsection\n",
                ".popsection\n",
                ".pushsection .probes,\"aw\",%progbits\n",
                ".balign ", $alignment, "\n",
                ".globl stacks_tracing_rust_", $name, "_semaphore\n",
                ".hidden stacks_tracing_rust_", $name, "_semaphore\n",
                "stacks_tracing_rust_", $name, "_semaphore: .2byte 0\n",
                ".popsection\n",
                ".ifndef _.stapsdt.base\n",
                ".pushsection .stapsdt.base,\"aG\",%progbits,.stapsdt.base,comdat\n",
                ".weak _.stapsdt.base\n",
                ".hidden _.stapsdt.base\n",
                "_.stapsdt.base: .space 1\n",
                ".size _.stapsdt.base, 1\n",
                ".popsection\n",
                ".endif\n"
            ));
            extern "C" {
                #[link_name = concat!("stacks_tracing_rust_fire_", $name)]
                fn function($($argument: $type),*);
                #[link_name = concat!("stacks_tracing_rust_", $name, "_semaphore")]
                static mut SEMAPHORE: u16;
            }
            #[inline(always)]
            pub fn listened() -> bool {
                // SAFETY: it is only read here; the kernel writes it
                unsafe { std::ptr::addr_of!(SEMAPHORE).read_volatile() != 0 }
            }
            #[inline]
            pub fn fire($($argument: $type),*) {
                // SAFETY: the function is a nop that touches nothing
                unsafe { function($($argument),*) }
            }
        }
    };
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64", any(target_arch = "x86_64", target_arch = "aarch64"))))]
macro_rules! probe {
    ($name:literal, $module:ident ($($argument:ident: $type:ty),*), $where:expr, $alignment:literal) => {
        pub mod $module {
            pub fn listened() -> bool {
                false
            }
            pub fn fire($(_: $type),*) {}
        }
    };
}

#[cfg(target_arch = "aarch64")]
macro_rules! registers {
    (1) => { "8@x0" };
    (6) => { "8@x0 8@x1 8@x2 8@x3 8@x4 8@x5" };
}
#[cfg(not(target_arch = "aarch64"))]
macro_rules! registers {
    (1) => { "8@%rdi" };
    (6) => { "8@%rdi 8@%rsi 8@%rdx 8@%rcx 8@%r8 8@%r9" };
}

probe!(
    "enter",
    enter(span_id: u64, parent_id: u64, id: u64, amount: u64, name: *const u8, name_length: u64),
    registers!(6),
    "4096"
);
probe!("exit", exit(span_id: u64), registers!(1), "2");
probe!("exit_stack", exit_stack(span_id: u64), registers!(1), "2");
probe!("close", close(span_id: u64), registers!(1), "2");

/// In `name_length`: the span began before this enter. A listener that has not seen it came late.
pub const ENTERED: u64 = 1 << 63;
