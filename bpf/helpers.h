// Helpers by number. Under BCC's own names it would look up whether this kernel has them, and read all of
// the kernel's symbols for that, which takes longer than to compile.
// SPDX-License-Identifier: GPL-2.0-only OR MIT
#pragma once

#define bpf_probe_read_user ((long (*)(void *, u32, const void *))112)
#define bpf_probe_read_kernel ((long (*)(void *, u32, const void *))113)
#define bpf_probe_read_user_str ((long (*)(void *, u32, const void *))114)
#define bpf_probe_read_kernel_str ((long (*)(void *, u32, const void *))115)
