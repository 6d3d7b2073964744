"""The launcher's own reading and writing of JSON, against the standard library's."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, strategies as st

from daggy.launcher.local_host import PYTHON
from daggy.launcher.program.light import dumps, loads

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
WRITTEN = st.recursive(
    st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner, max_size=5),
)


@given(JSON, st.booleans())
def test_what_json_writes_is_read(value: Any, ascii_only: bool) -> None:
    assert loads(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(WRITTEN)
def test_what_is_written_json_reads(value: Any) -> None:
    assert json.loads(dumps(value)) == json.loads(json.dumps(value))


def test_names_of_files_that_are_no_text_pass() -> None:
    assert loads(json.dumps(["\udcff"]).encode()) == ["\udcff"]
    assert json.loads(dumps(["\udcff"])) == ["\udcff"]


@pytest.mark.parametrize("text", [b"", b"{", b'{"a"', b"[1,", b"nonsense", b"\xff"])
def test_other_text_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        loads(text)


def test_the_launcher_loads_no_slow_part_of_the_standard_library() -> None:
    code = "import sys; sys.path += [p for p in sys.argv[1:]]; import daggy.launcher.program.main; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, *PYTHON, "-c", code, *sys.path], capture_output=True, text=True, check=True
    )
    assert {"typing", "json", "signal", "enum", "re", "collections", "contextlib"}.isdisjoint(loaded.stdout.split())
