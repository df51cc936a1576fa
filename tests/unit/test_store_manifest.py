"""The manifest: every field back, and one line for what is not one."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_rows import EPOCH, header, me, names

from stacks_tui.errors import StacksError
from stacks_tui.schema import SCHEMA_VERSION
from stacks_tui.store.manifest import (
    KindCounts,
    Manifest,
    RecordingStatus,
    State,
    Totals,
    iso_time,
    parse_manifest,
    read_manifest,
    to_json,
    write_manifest,
)

FULL = Manifest(
    replace(header(), targets=("a\x1b[31m", "é\udcff"), clock_offset=-5),
    RecordingStatus(
        EPOCH + 1,
        {"profile": KindCounts(5, 4, 3, 2, {"fp_end": 1}, ((EPOCH, EPOCH + 1),))},
        Totals(6, 7, 8, 9, 10),
    ),
    State.FAILED,
    "the disk is full",
)


def test_every_field_comes_back() -> None:
    assert parse_manifest(to_json(FULL)) == FULL


def test_the_text_is_plain_and_tells_the_time() -> None:
    text = to_json(FULL)
    assert text.isascii() and "\x1b" not in text
    assert json.loads(text)["begin_iso"] == "2023-11-14T22:13:20.000000000Z"
    assert json.loads(text)["kinds"]["profile"]["lost"] == 4


def test_times_no_calendar_has_are_left_out() -> None:
    assert iso_time(2**64 - 1).startswith("2554-")
    assert iso_time(2**80) == ""


def test_a_newer_version_is_named() -> None:
    text = to_json(replace(FULL, schema_version=SCHEMA_VERSION + 1))
    with pytest.raises(StacksError, match=r"\A[^\n]*newer than[^\n]*update[^\n]*\Z"):
        parse_manifest(text)
    # A newer version may have changed all the rest.
    with pytest.raises(StacksError, match="newer than"):
        parse_manifest(json.dumps({"schema_version": 99}))


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "7", "{}", '"\x1b"', "[" * 200_000, "\udcff", b"\xff\xfe\0", "NaN"],
)
def test_what_is_no_manifest_is_told_in_one_line(text: str | bytes) -> None:
    with pytest.raises(StacksError, match="damaged") as caught:
        parse_manifest(text)
    assert str(caught.value).isprintable()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(st.data())
def test_any_value_anywhere_parses_or_is_told(data: st.DataObject) -> None:
    content = json.loads(to_json(FULL))
    places = [content, content["totals"], content["kinds"], content["kinds"]["profile"]]
    place = data.draw(st.sampled_from(places))
    name = data.draw(st.sampled_from(sorted(place)))
    if data.draw(st.booleans()):
        place[name] = data.draw(VALUES)
    else:
        del place[name]
    try:
        manifest = parse_manifest(json.dumps(content))
    except StacksError as error:
        assert str(error).isprintable()
    else:
        assert parse_manifest(to_json(manifest)) == manifest


def test_it_is_replaced_as_a_whole_and_through_no_link(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    (tmp_path / "manifest.json.partial").symlink_to("victim")
    (tmp_path / "manifest.json").symlink_to("victim")
    with pytest.raises(StacksError, match="can't read"):
        read_manifest(fd)
    write_manifest(fd, FULL, me())
    assert names(tmp_path) == ["manifest.json"]
    assert read_manifest(fd) == FULL
    assert (tmp_path / "manifest.json").stat().st_mode & 0o777 == 0o600
    os.close(fd)
