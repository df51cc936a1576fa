"""Call frame information, one entry at a time: CIEs, and the interpreter that knows every opcode.

Comes in: bytes of .eh_frame or .debug_frame, possibly hostile. Goes out: CIEs with their initial
state, and table lines (location, state). Whatever is malformed or beyond a row's means becomes a
state of kind BAD, never an exception. `lanes` does the same for many FDEs at once, and gives the
seldom ones to this.
"""

from __future__ import annotations

from dataclasses import dataclass

from stacks_tui.unwind.rows import Kind

EXPRESSION = 64
"""From here on a CFA register is an expression: `by_expression` makes one."""
PLT_AT = 32
"""Instead of a kind, PLT_AT + n: rsp + 8, and 8 more where (rip & 15) >= n."""

# Where a register was saved: an offset from the CFA, or one of these.
SAME = 1 << 40
LOST = SAME + 1
UNDEFINED = SAME + 2
AT_FP = SAME + 3
IN_REGISTER = SAME + 256
"""IN_REGISTER + n: in register n."""

FAR = 1 << 31
"""Offsets at and beyond this are no offsets."""


def by_expression(kind: int, offset: int = 0) -> int:
    """A CFA register that stands for an expression of that kind of row (or PLT_AT + n).

    The state's own offset stays as it is: a later def_cfa_register finds it again.
    """
    return (offset + FAR) << 8 | EXPRESSION | kind


BAD = by_expression(Kind.BAD)

PADDING = 64
"""Zeros that a reader adds after the section, so that no read of one instruction leaves it."""

_FACTOR_LIMIT = 1 << 16
_LEB_BYTES = 10
_AUGMENTATION_BYTES = 16

# low nibble of a pointer encoding: bytes and signedness; the variable-length ones are not used
POINTER_SIZES = {0x0: 8, 0x2: 2, 0x3: 4, 0x4: 8, 0xA: 2, 0xB: 4, 0xC: 8}
PCREL = 0x10

State = tuple[int, int, int, int]
"""CFA register (or expression kind), its offset, places of frame pointer and return address."""
Line = tuple[int, int, int, int, int]
"""Location, then the state that holds from there."""


class Malformed(Exception):
    """The bytes are no call frame information."""


@dataclass(frozen=True, slots=True)
class Machine:
    """DWARF numbers of the registers that matter."""

    name: str
    stack_pointer: int
    frame_pointer: int
    return_address: int
    no_operand: frozenset[int]
    """Opcodes of this machine alone that change nothing here and have no operand."""


X86_64 = Machine("x86-64", 7, 6, 16, frozenset())
AARCH64 = Machine("aarch64", 31, 29, 30, frozenset({0x2C, 0x2D}))  # negate_ra_state: signed x30


@dataclass(frozen=True, slots=True)
class Frames:
    """One section of call frame information."""

    data: bytes
    """The section and PADDING zeros."""
    size: int
    vaddr: int
    is_eh: bool

    def pointer(self, at: int, encoding: int) -> tuple[int, int]:
        """The address encoded at `at` and where it ends.

        Raises:
            Malformed: an encoding that no FDE has.
        """
        size = POINTER_SIZES.get(encoding & 15)
        if size is None or encoding & 0xF0 not in (0, PCREL):
            raise Malformed
        value = int.from_bytes(self.data[at : at + size], "little", signed=bool(encoding & 8))
        if encoding & 0xF0 == PCREL:
            value += self.vaddr + at
        return value & (1 << 64) - 1, at + size


@dataclass(slots=True)
class Budget:
    """Steps that scalar work may still take; hostile files get no more."""

    steps: int


@dataclass(frozen=True, slots=True)
class Cie:
    """What a group of FDEs has in common."""

    code_factor: int
    data_factor: int
    encoding: int
    """Of FDE addresses; -1: unknown, so that its FDEs' ranges can't be read."""
    augmented: bool
    """FDEs carry augmentation data."""
    signal: bool
    state: State


UNREADABLE = Cie(1, 1, -1, False, False, (BAD, 0, SAME, SAME))


def uleb(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number and where it ends."""
    value = shift = 0
    for end in range(at, at + _LEB_BYTES):
        byte = data[end]
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, end + 1
    raise Malformed


def sleb(data: bytes, at: int) -> tuple[int, int]:
    """A signed LEB128 number and where it ends."""
    value, end = uleb(data, at)
    if data[end - 1] & 64:
        value -= 1 << 7 * (end - at)
    return value, end


def place(offset: int) -> int:
    """The place of a register saved at CFA + offset."""
    return offset if -FAR < offset < FAR else LOST


def read_cie(frames: Frames, at: int, machine: Machine, budget: Budget) -> Cie:
    """The CIE at offset `at`; UNREADABLE when it is malformed or of an unknown kind."""
    try:
        return _read_cie(frames, at, machine, budget)
    except (Malformed, IndexError):
        return UNREADABLE


def _read_cie(frames: Frames, at: int, machine: Machine, budget: Budget) -> Cie:
    data = frames.data
    if not 0 <= at <= frames.size - 12:
        raise Malformed
    length, word = int.from_bytes(data[at : at + 4], "little"), 4
    at += 4
    if length == 0xFFFFFFFF:
        length, word = int.from_bytes(data[at : at + 8], "little"), 8
        at += 8
    end = at + length
    if length < 8 or end > frames.size:
        raise Malformed
    id_size = 4 if frames.is_eh else word
    identity = int.from_bytes(data[at : at + id_size], "little")
    if identity != (0 if frames.is_eh else (1 << 8 * id_size) - 1):
        raise Malformed
    at += id_size
    version = data[at]
    if version not in (1, 3, 4):
        raise Malformed
    zero = data.find(b"\0", at + 1, at + 1 + _AUGMENTATION_BYTES)
    if zero < 0:
        raise Malformed
    augmentation = data[at + 1 : zero]
    at = zero + 1
    if augmentation == b"eh":  # gcc 2's: a pointer that nothing reads
        at += 8
    elif augmentation[:1] not in (b"", b"z"):
        raise Malformed
    if version == 4:
        if data[at] != 8 or data[at + 1] != 0:  # bytes of an address, of a segment selector
            raise Malformed
        at += 2
    code_factor, at = uleb(data, at)
    data_factor, at = sleb(data, at)
    if version == 1:
        column, at = data[at], at + 1
    else:
        column, at = uleb(data, at)
    if column != machine.return_address or code_factor > _FACTOR_LIMIT:
        raise Malformed
    if abs(data_factor) > _FACTOR_LIMIT:
        raise Malformed
    encoding = 0
    if augmentation[:1] == b"z":
        size, at = uleb(data, at)
        encoding = _augmentation_encoding(frames, augmentation, at)
        at += size
    if at > end:
        raise Malformed
    signal = b"S" in augmentation
    cie = Cie(code_factor, data_factor, encoding, augmentation[:1] == b"z", signal, START)
    lines: list[Line] = []
    interpret(frames, at, end, 0, cie, machine, cie.state, [], lines, budget)
    state = lines[-1][1:]
    return Cie(code_factor, data_factor, encoding, cie.augmented, signal, state)


START: State = (BAD, 0, SAME, SAME)
"""Before the first instruction of a CIE."""


def _augmentation_encoding(frames: Frames, augmentation: bytes, at: int) -> int:
    encoding = 0
    for letter in augmentation[1:]:
        if letter == ord("R"):
            encoding = frames.data[at]
            at += 1
        elif letter == ord("P"):
            kind = frames.data[at]
            if kind & 0x70 == 0x50:  # aligned: its place depends on the address
                return -1
            size = POINTER_SIZES.get(kind & 15)
            if size is None:
                return -1
            at += 1 + size
        elif letter == ord("L"):
            at += 1
        elif letter not in b"SBG":
            return -1
    if encoding & 15 not in POINTER_SIZES or encoding & 0xF0 not in (0, PCREL):
        return -1
    return encoding


def interpret(
    frames: Frames,
    at: int,
    end: int,
    location: int,
    cie: Cie,
    machine: Machine,
    state: State,
    remembered: list[State],
    lines: list[Line],
    budget: Budget,
) -> None:
    """Run the instructions in [at, end), appending a line at each advance and one at the end.

    The last line is of kind BAD when they are malformed, or the budget is spent.
    """
    data = frames.data
    cfa, offset, fp, ra = state
    code_factor, data_factor = cie.code_factor, cie.data_factor
    fp_register, ra_register = machine.frame_pointer, machine.return_address
    initial_fp, initial_ra = cie.state[2], cie.state[3]
    try:
        while at < end:
            budget.steps -= 1
            if budget.steps < 0:
                raise Malformed
            opcode = data[at]
            at += 1
            operand = opcode & 0x3F
            advance = -1
            register = -1  # the one whose place changes, to `where`
            where = SAME
            match opcode & 0xC0:
                case 0x40:
                    advance = operand * code_factor
                case 0x80:
                    value, at = uleb(data, at)
                    register, where = operand, place(value * data_factor)
                case 0xC0:
                    if operand == fp_register:
                        fp = initial_fp
                    elif operand == ra_register:
                        ra = initial_ra
                case _:
                    match opcode:
                        case 0x00:  # nop
                            pass
                        case 0x01:  # set_loc
                            target, at = frames.pointer(at, cie.encoding)
                            if target < location:
                                raise Malformed
                            advance = target - location
                        case 0x02 | 0x03 | 0x04 | 0x1D:  # advance_loc1, 2, 4, MIPS_advance_loc8
                            size = 8 if opcode == 0x1D else 1 << opcode - 2
                            advance = int.from_bytes(data[at : at + size], "little") * code_factor
                            at += size
                        case 0x05:  # offset_extended
                            register, at = uleb(data, at)
                            value, at = uleb(data, at)
                            where = place(value * data_factor)
                        case 0x06:  # restore_extended
                            value, at = uleb(data, at)
                            if value == fp_register:
                                fp = initial_fp
                            elif value == ra_register:
                                ra = initial_ra
                        case 0x07:  # undefined
                            register, at = uleb(data, at)
                            where = UNDEFINED
                        case 0x08:  # same_value
                            register, at = uleb(data, at)
                        case 0x09:  # register
                            register, at = uleb(data, at)
                            value, at = uleb(data, at)
                            where = IN_REGISTER + value if value < 64 else LOST
                        case 0x0A:  # remember_state
                            remembered.append((cfa, offset, fp, ra))
                        case 0x0B:  # restore_state
                            if not remembered:
                                raise Malformed
                            cfa, offset, fp, ra = remembered.pop()
                        case 0x0C:  # def_cfa
                            value, at = uleb(data, at)
                            cfa = value if value < EXPRESSION else BAD
                            offset, at = uleb(data, at)
                        case 0x0D:  # def_cfa_register
                            value, at = uleb(data, at)
                            cfa = value if value < EXPRESSION else BAD
                        case 0x0E:  # def_cfa_offset
                            offset, at = uleb(data, at)
                        case 0x0F:  # def_cfa_expression
                            size, at = uleb(data, at)
                            if at + size > end:
                                raise Malformed
                            cfa = cfa_expression(data[at : at + size], machine)
                            at += size
                        case 0x10 | 0x16:  # expression, val_expression
                            register, at = uleb(data, at)
                            size, at = uleb(data, at)
                            if at + size > end:
                                raise Malformed
                            where = LOST
                            if opcode == 0x10:
                                where = place_expression(data[at : at + size], machine)
                            at += size
                        case 0x11:  # offset_extended_sf
                            register, at = uleb(data, at)
                            value, at = sleb(data, at)
                            where = place(value * data_factor)
                        case 0x12:  # def_cfa_sf
                            value, at = uleb(data, at)
                            cfa = value if value < EXPRESSION else BAD
                            value, at = sleb(data, at)
                            offset = value * data_factor
                        case 0x13:  # def_cfa_offset_sf
                            value, at = sleb(data, at)
                            offset = value * data_factor
                        case 0x14:  # val_offset
                            register, at = uleb(data, at)
                            _, at = uleb(data, at)
                            where = LOST
                        case 0x15:  # val_offset_sf
                            register, at = uleb(data, at)
                            _, at = sleb(data, at)
                            where = LOST
                        case 0x2E:  # GNU_args_size
                            _, at = uleb(data, at)
                        case 0x2F:  # GNU_negative_offset_extended
                            register, at = uleb(data, at)
                            value, at = uleb(data, at)
                            where = place(-value * data_factor)
                        case _:
                            if opcode not in machine.no_operand:
                                raise Malformed
            if at > end:
                raise Malformed
            if not -FAR < offset < FAR:
                offset = FAR
            if register == fp_register:
                fp = where
            elif register == ra_register:
                ra = where
            if advance >= 0:
                lines.append((location, cfa, offset, fp, ra))
                if location + advance >= 1 << 62:
                    raise Malformed
                location += advance
    except (Malformed, IndexError):
        cfa, offset, fp, ra = BAD, 0, SAME, SAME
    lines.append((location, cfa, offset, fp, ra))


# rsp + 8 + ((rip & 15) >= n) * 8: breg7 8, breg16 0, lit15, and, lit n, ge, lit3, shl, plus
_PLT_HEAD = b"\x77\x08\x80\x00\x3f\x1a"
_PLT_TAIL = b"\x2a\x33\x24\x22"


def cfa_expression(code: bytes, machine: Machine) -> int:
    """What stands for the CFA expression as a CFA register: BAD when rows have none like it."""
    if machine.name != X86_64.name:
        return BAD
    if len(code) == 11 and code.startswith(_PLT_HEAD) and code.endswith(_PLT_TAIL):
        limit = code[6] - 0x30
        if limit == 11:
            return by_expression(Kind.PLT, 8)
        return by_expression(PLT_AT + limit) if 0 < limit < 16 else BAD
    found = _based(code)
    if found is None:
        return BAD
    register, offset, rest = found
    if not -FAR < offset < FAR:
        return BAD
    if rest == b"\x06":  # deref
        kinds = {7: Kind.DRSP, 6: Kind.DRBP}
    elif rest == b"\x06\x23\x08":  # deref, plus_uconst 8
        kinds = {7: Kind.DRSP8, 6: Kind.DRBP8}
    else:
        return BAD
    return by_expression(kinds[register], offset) if register in kinds else BAD


def place_expression(code: bytes, machine: Machine) -> int:
    """The place of a register saved where the expression says."""
    found = _based(code)
    if found == (machine.frame_pointer, 0, b""):
        return AT_FP
    return LOST


def _based(code: bytes) -> tuple[int, int, bytes] | None:
    """(register, offset, what follows) of an expression that begins with breg."""
    if not code or not 0x70 <= code[0] <= 0x8F:
        return None
    try:
        offset, at = sleb(code, 1)
    except (Malformed, IndexError):
        return None
    return code[0] - 0x70, offset, code[at:]
