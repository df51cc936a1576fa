"""bpf(2) and perf_event_open(2) through ctypes: maps, programs, attachment.

Comes in: shapes and instructions from `compile`. Goes out: file descriptors, and values of maps as
bytes. Struct layouts: include/uapi/linux/bpf.h (union bpf_attr) and perf_event.h, stable.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import platform
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stacks_tui.capture.compile import Instructions, MapShape
from stacks_tui.errors import MachineError, StacksError

_SYS_BPF = {"x86_64": 321, "aarch64": 280}
_SYS_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}

_MAP_CREATE, _LOOKUP, _UPDATE, _DELETE, _NEXT_KEY, _PROG_LOAD = range(6)  # enum bpf_cmd
ANY, NEW, EXISTING = 0, 1, 2
_PROG_TEST_RUN = 10
_LOOKUP_BATCH = 24
_BATCH = struct.Struct("<QQQQIIQQ")
"""in, out, keys, values, count, map, flags."""
_RAW_TRACEPOINT_OPEN = 17

PERCPU_HASH, PERCPU_ARRAY, LRU_PERCPU_HASH, RINGBUF = 5, 6, 10, 27
_PERCPU_TYPES = (PERCPU_HASH, PERCPU_ARRAY, LRU_PERCPU_HASH)

_LINK_CREATE = 28

PROGRAM_KPROBE = 2
PROGRAM_PERF_EVENT = 7
PROGRAM_RAW_TRACEPOINT = 17

PERF_ATTRIBUTES = 128
"""Bytes of struct perf_event_attr that we fill (PERF_ATTR_SIZE_VER7)."""
_IOC_SET_BPF, _IOC_ENABLE = 0x40042408, 0x2400
_ATTACH_PERF_EVENT = 41
_UPROBE = Path("/sys/bus/event_source/devices/uprobe")

_libc = ctypes.CDLL(None, use_errno=True)


def possible_cpus() -> int:
    """How many CPUs the kernel's per-CPU values have a place for."""
    text = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii").strip()
    return int(text.split(",")[-1].split("-")[-1]) + 1


def online_cpus() -> list[int]:
    """The CPUs that run, by number."""
    found: list[int] = []
    for part in (
        Path("/sys/devices/system/cpu/online").read_text(encoding="ascii").strip().split(",")
    ):
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes.ljust(144, b"\0"), 144)
    result = _libc.syscall(_SYS_BPF[platform.machine()], command, buffer, len(buffer))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(result)


class BpfMap:
    """One map: bytes in, bytes out. Per-CPU maps give the values of all possible CPUs in a row."""

    def __init__(self, shape: MapShape, max_entries: int | None = None) -> None:
        self.shape = shape
        self.max_entries = max_entries or shape.max_entries
        name = shape.name.encode()[:15]
        ring = shape.type == RINGBUF
        key, value = (0, 0) if ring else (shape.key_size, shape.value_size)
        try:
            self.fd = _bpf(
                _MAP_CREATE,
                struct.pack(
                    "<IIIIIII16s", shape.type, key, value, self.max_entries, shape.flags, 0, 0, name
                ),
            )
        except PermissionError as error:
            raise MachineError(
                "this user can't create BPF maps: operation not permitted. "
                "Run with sudo, or give CAP_BPF and CAP_PERFMON."
            ) from error
        except OSError as error:
            raise MachineError(
                f"the kernel refused the BPF map {shape.name!r} of {self.max_entries:,} entries: "
                f"{error.strerror}. Ask for less, or free memory."
            ) from error
        per_cpu = shape.type in _PERCPU_TYPES
        self._size = (value + 7 & ~7) * possible_cpus() if per_cpu else value
        self._key = ctypes.create_string_buffer(max(key, 1))
        self._value = ctypes.create_string_buffer(max(self._size, 1))
        self._lock = threading.Lock()
        self._place = struct.pack(
            "<I4xQQQ", self.fd, ctypes.addressof(self._key), ctypes.addressof(self._value), 0
        )

    def get(self, key: bytes) -> bytes | None:
        """The value at `key`, or None."""
        with self._lock:
            ctypes.memmove(self._key, key, len(key))
            try:
                _bpf(_LOOKUP, self._place)
            except FileNotFoundError:
                return None
            return self._value.raw

    def put(self, key: bytes, value: bytes, when: int = ANY) -> None:
        """Set the value at `key`: always, only where there is none (`NEW`) or one (`EXISTING`).

        Raises:
            OSError: E2BIG where the map is full.
            FileExistsError, FileNotFoundError: `when` does not hold.
        """
        with self._lock:
            ctypes.memmove(self._key, key, len(key))
            ctypes.memmove(self._value, value, len(value))
            _bpf(_UPDATE, self._place[:24] + struct.pack("<Q", when))

    def drop(self, key: bytes) -> bool:
        """Delete `key`; False where it wasn't there."""
        with self._lock:
            ctypes.memmove(self._key, key, len(key))
            try:
                _bpf(_DELETE, self._place[:16])
            except FileNotFoundError:
                return False
            return True

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values of a hash map, each key once even while the map changes."""
        before = ctypes.create_string_buffer(self.shape.key_size)
        following = ctypes.create_string_buffer(self.shape.key_size)
        key: bytes | None = None
        for _ in range(2 * self.max_entries):
            at = 0
            if key is not None:
                ctypes.memmove(before, key, len(key))
                at = ctypes.addressof(before)
            try:
                _bpf(_NEXT_KEY, struct.pack("<I4xQQQ", self.fd, at, ctypes.addressof(following), 0))
            except FileNotFoundError:
                return
            key = following.raw
            value = self.get(key)
            if value is not None:
                yield key, value

    def at_once(self) -> tuple[bytes, bytes]:
        """All keys and all values of a hash map, by one call; of old kernels one by one."""
        keys = np.zeros(self.max_entries * self.shape.key_size, np.uint8)
        values = np.zeros(self.max_entries * self._size, np.uint8)
        after = ctypes.create_string_buffer(max(8, self.shape.key_size))
        attributes = ctypes.create_string_buffer(144)
        _BATCH.pack_into(
            attributes, 0, 0, ctypes.addressof(after), keys.ctypes.data, values.ctypes.data,
            self.max_entries, self.fd, 0, 0,
        )  # fmt: skip
        done = _libc.syscall(_SYS_BPF[platform.machine()], _LOOKUP_BATCH, attributes, 144)
        if done < 0 and ctypes.get_errno() != errno.ENOENT:  # that is its end
            pairs = list(self.items())
            return b"".join(key for key, _ in pairs), b"".join(value for _, value in pairs)
        count = _BATCH.unpack_from(attributes, 0)[4]
        return (
            keys[: count * self.shape.key_size].tobytes(),
            values[: count * self._size].tobytes(),
        )

    def map_memory(self, size: int, offset: int = 0, writable: bool = True) -> mmap.mmap:
        """Map the memory of a mappable array or a ring."""
        access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        return mmap.mmap(self.fd, size, mmap.MAP_SHARED, access, offset=offset)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)


def load_program(name: str, program_type: int, code: Instructions) -> int:
    """Load instructions with their maps' descriptors filled in; returns the program's descriptor.

    Raises:
        MachineError: not permitted.
        StacksError: the verifier refused it; the message holds its last lines.
    """
    license_text = ctypes.create_string_buffer(b"GPL")
    raw = code.tobytes()
    instructions = ctypes.create_string_buffer(raw, len(raw))

    def load(level: int, log: ctypes.Array[ctypes.c_char] | None) -> int:
        head = struct.pack(
            "<IIQQIIQII16s",
            program_type,
            len(raw) // 8,
            ctypes.addressof(instructions),
            ctypes.addressof(license_text),
            level,
            len(log) if log is not None else 0,
            ctypes.addressof(log) if log is not None else 0,
            0,
            0,
            name.encode()[:15],
        )
        return _bpf(_PROG_LOAD, head)

    for attempt in range(6):
        try:
            return load(0, None)
        except PermissionError as error:
            if error.errno == errno.EPERM:
                raise MachineError(
                    "this user can't load BPF programs: operation not permitted. "
                    "Run with sudo, or give CAP_BPF and CAP_PERFMON."
                ) from error
            break
        except OSError as error:
            if error.errno != errno.EAGAIN or attempt == 5:  # EAGAIN: a signal came while verifying
                break
    log = ctypes.create_string_buffer(1 << 24)
    try:
        return load(1, log)
    except OSError as error:
        lines = log.value.decode("ascii", "backslashreplace").splitlines()
        last = " | ".join(lines[-4:])
        raise StacksError(
            f"the kernel refused the BPF program {name!r} ({error.strerror}): {last}"
        ) from error


def run_on_cpu(program: int, cpu: int) -> None:
    """Run a raw tracepoint program once on a CPU, its arguments zero (BPF_PROG_TEST_RUN)."""
    arguments = ctypes.create_string_buffer(64)
    on_cpu = 1
    head = struct.pack(
        "<IIIIQQIIIIQQII",
        program,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        64,
        0,
        ctypes.addressof(arguments),
        0,
        on_cpu,
        cpu,
    )
    _bpf(_PROG_TEST_RUN, head)


def attach_raw_tracepoint(program: int, name: str) -> int:
    """Attach to a raw tracepoint; the descriptor returned holds the attachment.

    Raises:
        FileNotFoundError: the kernel has no such tracepoint.
    """
    text = ctypes.create_string_buffer(name.encode())
    return _bpf(_RAW_TRACEPOINT_OPEN, struct.pack("<QI", ctypes.addressof(text), program))


def open_perf_event(attributes: bytes, cpu: int, pid: int = -1) -> int:
    """A perf event of everything that runs on `cpu`, or of one process wherever it runs (cpu -1).

    `attributes`: struct perf_event_attr, padded with zeros.
    """
    size = PERF_ATTRIBUTES
    buffer = ctypes.create_string_buffer(attributes.ljust(size, b"\0"), size)
    number, close_on_exec = _SYS_PERF_EVENT_OPEN[platform.machine()], 8
    fd = _libc.syscall(number, buffer, pid, cpu, -1, close_on_exec)
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(fd)


def attach_cpu_clock(program: int, cpu: int, period_ns: int) -> int:
    """Run a program each `period_ns` of a CPU's clock; the descriptor holds the attachment."""
    software, cpu_clock = 1, 0
    head = struct.pack("<IIQQ", software, PERF_ATTRIBUTES, cpu_clock, period_ns)
    fd = open_perf_event(head, cpu)
    try:
        fcntl.ioctl(fd, _IOC_SET_BPF, program)
        fcntl.ioctl(fd, _IOC_ENABLE, 0)
    except OSError:
        os.close(fd)
        raise
    return fd


def uprobe_format() -> tuple[int, int]:
    """(type of perf event, lowest bit in `config` of the semaphore's offset) of user probes.

    Raises:
        MachineError: this kernel has none.
    """
    try:
        number = int((_UPROBE / "type").read_text(encoding="ascii"))
        field = (_UPROBE / "format/ref_ctr_offset").read_text(encoding="ascii")
        return number, int(field.removeprefix("config:").partition("-")[0])
    except (OSError, ValueError) as error:
        raise MachineError(
            "this kernel has no user probes with semaphores (CONFIG_UPROBE_EVENTS)."
        ) from error


def attach_uprobe(
    program: int, file: int, offset: int, semaphore: int, cookie: int, pid: int | None = None
) -> tuple[int, int]:
    """Run a program where execution reaches `offset` of an open file; the semaphore counts up.

    `semaphore`: its offset in the file, 0: none. `pid`: only in this process. The two descriptors
    returned hold the attachment; the kernel takes some 0.1 s to close them.

    Raises:
        OSError: the kernel refuses the place, or the process is gone.
    """
    number, shift = uprobe_format()
    # The kernel looks the path up at once: this one leads to the very file that is open.
    path = ctypes.create_string_buffer(f"/proc/self/fd/{file}".encode())
    head = struct.pack(
        "<IIQQQQQIIQQ",
        number,
        PERF_ATTRIBUTES,
        semaphore << shift,
        1,
        0,
        0,
        0,
        1,
        0,
        ctypes.addressof(path),
        offset,
    )
    event = open_perf_event(head, 0) if pid is None else open_perf_event(head, -1, pid)
    try:
        attributes = struct.pack("<IIIIQ", program, event, _ATTACH_PERF_EVENT, 0, cookie)
        return _bpf(_LINK_CREATE, attributes), event
    except OSError:
        os.close(event)
        raise


def program_statistics(program: int) -> dict[str, int]:
    """The kernel's own counts of a program: `recursion_misses`, `verified_insns` … (fdinfo)."""
    text = Path(f"/proc/self/fdinfo/{program}").read_text(encoding="ascii")
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name: int(value) for name, value in pairs if value.strip().isdigit()}
