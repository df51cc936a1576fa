"""Why a thread waits: the one table from the kernel's functions to words.

Comes in: the names of a kernel stack's frames, leaf first, and the state in which the thread left.
Goes out: a reason of a word or two. The first frame from the leaf on that the table knows decides,
but for those that only say that it slept at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

PREEMPTED = "preempted"
NO_STACK = "asleep (no kernel stack)"
UNKNOWN = "other wait"

# Names of kernel functions change less than their arguments; suffixes such as .isra.0 are cut.
_TABLE: tuple[tuple[str, str], ...] = (
    (r"futex_.*|do_futex|__futex_.*|.*_futex", "futex (lock or condition)"),
    (r"ep_poll|do_epoll_wait|do_epoll_pwait.*|epoll_.*", "epoll"),
    (
        r"do_sys_poll|do_poll.*|poll_schedule_timeout.*|do_select|core_sys_select|do_pselect.*",
        "poll",
    ),
    (
        r"io_cqring_wait|io_wq_worker|io_sq_thread|io_run_task_work.*|__do_sys_io_uring_enter",
        "io_uring",
    ),
    (r"read_events|do_io_getevents|aio_.*", "aio"),
    (r"pipe_read|pipe_write|anon_pipe_.*|pipe_wait_.*|wait_for_partner|fifo_open", "pipe"),
    (r"unix_.*", "unix socket"),
    (r"inet_csk_accept|inet_accept|unix_accept|do_accept", "accept"),
    (
        r"tcp_.*|udp_.*|udpv6_.*|sk_wait_.*|sk_stream_wait_.*|inet_.*|__skb_wait_.*"
        r"|__skb_recv_.*|skb_wait_.*|netlink_.*|packet_recvmsg|vsock_.*|sock_alloc_send_pskb",
        "socket",
    ),
    (r"tty_.*|n_tty_.*|pty_.*", "terminal"),
    (r"do_wait|kernel_wait4|do_wait4|__do_wait", "child process"),
    (r"do_vfork|wait_for_vfork_done|kernel_clone", "vfork"),
    (
        r"sigsuspend|do_sigtimedwait|do_signal_stop|__do_sys_pause|sys_pause|signalfd_.*|ptrace_.*",
        "signal",
    ),
    (
        r"hrtimer_nanosleep|do_nanosleep|common_nsleep.*|__do_sys_nanosleep|alarm_.*|timerfd_.*",
        "sleep",
    ),
    (r"msleep.*|usleep_range.*|schedule_hrtimeout.*", "timer"),
    (r"eventfd_.*", "eventfd"),
    (r"inotify_.*|fanotify_.*", "file watch"),
    (
        r"do_semtimedop|__do_semtimedop|do_msgrcv|do_msgsnd|wq_sleep|do_mq_.*",
        "System V or POSIX queue",
    ),
    (r"(fcntl|flock|posix)_lock.*|locks_lock_.*|__break_lease|do_lock_file_wait", "file lock"),
    (
        r"jbd2_.*|__jbd2_.*|ext4_sync_file|xfs_log_.*|xfs_file_fsync|btrfs_sync_file|vfs_fsync.*|do_fsync",
        "sync to disk",
    ),
    (r"balance_dirty_pages.*", "dirty pages (writes throttled)"),
    (r"swap_read.*|do_swap_page|swap_readpage", "swap"),
    (
        r"try_to_free_.*|shrink_.*|mem_cgroup_.*|throttle_direct_reclaim|compact_.*"
        r"|__alloc_pages_slowpath.*|try_charge.*",
        "memory reclaim",
    ),
    (
        r"folio_wait_.*|wait_on_page_.*|__lock_page.*|folio_lock.*|__folio_lock.*|wait_on_buffer|__wait_on_buffer"
        r"|bio_wait.*|submit_bio_wait|blk_.*|__blk_.*|dio_.*|iomap_dio_.*|__iomap_dio_.*|rq_qos_.*|wbt_.*"
        r"|filemap_get_pages|filemap_read|filemap_update_page|nvme_.*|scsi_.*",
        "disk",
    ),
    (
        r"filemap_fault|__do_fault|do_read_fault|handle_userfault|userfaultfd_.*|hugetlb_fault",
        "page fault (from a file)",
    ),
    (r"fuse_.*|request_wait_answer", "FUSE file system"),
    (r"nfs.*|rpc_.*|cifs_.*|smb.*|ceph_.*", "network file system"),
    (
        r"mutex_lock.*|__mutex_lock.*|rwsem_.*|__?down_.*|down_.*|rt_mutex_.*|percpu_.*|ww_mutex_.*|__lock_sock|lock_sock_nested",
        "kernel lock",
    ),
    (r"asm_exc_page_fault|exc_page_fault|do_user_addr_fault|handle_mm_fault", "page fault"),
    (r"synchronize_.*|wait_rcu_.*|__wait_rcu_gp|rcu_.*", "RCU"),
    (
        r"worker_thread|kthread|smpboot_thread_fn|rescuer_thread|kswapd|oom_reaper|kcompactd",
        "kernel thread, idle",
    ),
    (
        r"exit_to_user_mode.*|irqentry_exit.*|syscall_exit_to_user_mode.*|prepare_exit_to_usermode|"
        r"asm_sysvec_.*|.*_cond_resched|preempt_schedule.*|raw_irqentry_exit_cond_resched",
        PREEMPTED,
    ),
    (r"do_exit|do_group_exit|exit_mm|coredump_.*|do_coredump", "exit"),
    (r"msg_.*|wait_for_completion.*|__wait_for_common|do_wait_intr.*", "completion"),
)

_LATE = ("page fault", "RCU", "completion", "exit", PREEMPTED, "timer", "kernel lock")
"""Reasons that a more telling frame further out replaces: who waits for a completion waits for a
disk, if a frame of the disk called it."""

_BY_SYSCALL: tuple[tuple[str, str], ...] = (
    (r"futex.*", "futex (lock or condition)"),
    (r"epoll_.*", "epoll"),
    (r"poll|ppoll|select|pselect6", "poll"),
    (r"(clock_)?nanosleep.*", "sleep"),
    (r"wait4|waitid|waitpid", "child process"),
    (r"pause|rt_sigsuspend|rt_sigtimedwait|ptrace", "signal"),
    (r"v?fork|clone3?", "vfork"),
    (r"accept4?", "accept"),
    (r"(send|recv)(to|from|msg|mmsg)?|connect", "socket"),
    (r"fsync|fdatasync|sync|syncfs|msync|sync_file_range", "sync to disk"),
    (r"flock|fcntl", "file lock"),
    (r"sched_yield", PREEMPTED),
    (r"exit(_group)?", "exit"),
    (r"io_uring_enter", "io_uring"),
    (
        r"p?(read|write)(64|v2?)?|openat2?|open|stat.*|newfstatat|getdents64|unlink.*|rename.*",
        "file",
    ),
    (r"mmap|munmap|mprotect|brk|madvise|mremap", "memory map"),
)

_PATTERNS = tuple((re.compile(pattern), reason) for pattern, reason in _TABLE)
_SYSCALLS = tuple((re.compile(pattern), reason) for pattern, reason in _BY_SYSCALL)
_ENTRY = re.compile(r"(?:__(?:x64|arm64|ia32|do|se)_)?(?:compat_)?sys_([a-z0-9_]+)")
_SUFFIX = re.compile(r"\.(?:isra|constprop|part|cold|llvm)[.0-9a-z]*.*$")


def reason(names: Iterable[str], state: str = "") -> str:
    """The reason of a wait with this kernel stack (leaf first) in this state (`enrich.events`)."""
    if state == "preempted":
        return PREEMPTED
    found = ""
    empty = True
    for name in names:
        empty = False
        plain = _SUFFIX.sub("", name)
        for pattern, told in _PATTERNS:
            if pattern.fullmatch(plain):
                if told not in _LATE:
                    return told
                found = found or told
                break
        entry = _ENTRY.fullmatch(plain)
        if entry is not None and (not found or found in _LATE):
            for pattern, told in _SYSCALLS:
                if pattern.fullmatch(entry[1]):
                    return found or told
    if found:
        return found
    if not empty:
        return UNKNOWN
    return {"disk": "disk", "exiting": "exit", "stopped": "signal", "traced": "signal"}.get(
        state, NO_STACK
    )
