from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from daggy.errors import SpecError
from daggy.spec import Document, ListValues, RunSpec, load_file, overlay, parse, parse_fragment
from daggy.spec.document import encode, lines_of
from daggy.spec.exact import count_keys, decode
from daggy.spec.formats import read_toml, read_yaml
from daggy.spec.numbers import Number

RUN = {"details": {"command": ["x"]}}
RUNNING = RunSpec(tasks=(), directory="/base")

WORDS = st.sampled_from(
    [
        "tasks",
        "a",
        "b",
        "details",
        "command",
        "shell",
        "environment",
        "parents",
        "children",
        "parameters",
        "zip",
        "range",
        "lines",
        "defaults",
        "templating",
        "literal",
        "jinja",
        "none",
        "options",
        "match",
        "task",
        "on",
        "ended",
        "{{ a }}",
        "{{a}}",
        "{{",
        "'{{ a }}'",
        "timeout",
        "5s",
        "resources",
        "limits",
        "name",
        "tags",
        "retry_on",
        "exit",
        "x-y",
        "expand",
        "version",
        "directory",
        "/d",
        "max_retries",
        "stdin",
        "\0",
        "DAGGY_X",
        "{{ run.tags.a }}",
        "class",
        "",
    ]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
    | st.text(max_size=5)
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)
TASKS = st.dictionaries(WORDS, st.dictionaries(WORDS, JSON, max_size=5) | JSON, max_size=3)


def never_raises_anything_else(data: bytes) -> None:
    readers: tuple[Callable[[], RunSpec], ...] = (
        lambda: parse(data, directory="/base"),
        lambda: parse_fragment(data, RUNNING),
    )
    for read in readers:
        try:
            spec = read()
        except SpecError as error:
            assert error.problems  # noqa: PT017  # either is right
            assert str(error)  # noqa: PT017  # either is right
        else:
            assert isinstance(spec, RunSpec)


@given(st.binary(max_size=60))
@example(b"\xef\xbb\xbf{}")
@example(b'{"tasks": {"\\ud800": 1}}')
@example(b"[" * 200_000)
@example(b'{"a":' * 100_000)
@example(b'{"version": ' + b"9" * 10_000 + b"}")
def test_any_bytes_are_a_spec_or_a_spec_error(data: bytes) -> None:
    never_raises_anything_else(data)


@given(
    JSON
    | st.fixed_dictionaries(
        {"tasks": TASKS},
        optional={"parameters": JSON, "defaults": JSON, "zip": JSON, "limits": JSON, "tags": JSON, "templating": JSON},
    )
)
def test_any_json_is_a_spec_or_a_spec_error(value: object) -> None:
    never_raises_anything_else(json.dumps(value).encode())


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@example(b"a: &a [*a]")
@example(b"? [a]\n: b")
@example(b"a: !!python/object:os.system x")
@example(b"a: !!binary eA==")
@example(b"a: .inf")
@example(b"- - - - -")
@example(b"a: " + b"[" * 500)
def test_any_bytes_are_yaml_or_toml_or_a_spec_error(data: bytes) -> None:
    for read in (read_yaml, read_toml):
        try:
            value = read(data)
        except SpecError as error:
            assert error.problems  # noqa: PT017  # either is right
        else:
            try:
                assert encode(value)
            except SpecError as error:
                assert error.problems  # noqa: PT017  # either is right


@given(JSON)
def test_what_is_encoded_is_decoded(value: object) -> None:
    exact = decode(json.dumps(value).encode())
    try:
        data = encode(exact)
    except SpecError:
        return  # a lone surrogate
    assert decode(data) == exact
    assert json.loads(data) == json.loads(json.dumps(value))


def test_numbers_keep_their_text() -> None:
    assert (
        encode(decode(b"[0.30, 1e5, -0.0, 12345678901234567890123, 1E+2]"))
        == b"[0.30,1e5,-0.0,12345678901234567890123,1E+2]"
    )


@given(JSON)
def test_keys_are_never_undercounted(value: object) -> None:
    def keys(item: object) -> int:
        if isinstance(item, dict):
            return len(item) + sum(map(keys, item.values()))
        return sum(map(keys, item)) if isinstance(item, list) else 0

    for text in (json.dumps(value), json.dumps(value, indent=1), json.dumps(value, separators=(" , ", " \n: "))):
        assert count_keys(text.encode()) >= keys(value)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_yaml_by_the_core_schema(tmp_path: Path) -> None:
    text = """
a: [2022-01-01, no, on, yes, 1:30, 0, +5, 1_000, 1.50, .5, 1e3, -.5, true, null, ~, "1", =, <<]
"<<": x
2022-01-01: y
1: z
b: &b {c: d}
e: *b
"""
    value: Any = decode(load_file(write(tmp_path / "s.yaml", text)).raw)
    assert value["a"] == [
        "2022-01-01",
        "no",
        "on",
        "yes",
        "1:30",
        0,
        5,
        "1_000",
        Decimal("1.50"),
        Decimal("0.5"),
        Decimal(1000),
        Decimal("-0.5"),
        True,
        None,
        None,
        "1",
        "=",
        "<<",
    ]
    assert [str(number) for number in value["a"][8:12]] == ["1.50", "0.5", "1e3", "-0.5"]
    assert list(value) == ["a", "<<", "2022-01-01", "1", "b", "e"]
    assert value["e"] == {"c": "d"}


def test_toml_with_dates_as_text(tmp_path: Path) -> None:
    text = 'a = [2022-01-01, 2022-01-01T10:00:00Z, 10:00:00, 0.30, 1_0]\n[tasks.x.details]\ncommand = ["y"]\n'
    value: Any = decode(load_file(write(tmp_path / "s.toml", text)).raw)
    assert value == {
        "a": ["2022-01-01", "2022-01-01T10:00:00Z", "10:00:00", Number("0.30"), 10],
        "tasks": {"x": {"details": {"command": ["y"]}}},
    }
    assert str(value["a"][3]) == "0.30"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.yaml", "a: 1\na: 2", "a: the key 'a' is given twice (line 2); keep one"),
        ("s.yml", "a: [", "line 1, column 5: expected the node content"),
        ("s.yaml", "- a", "a list where an object with 'tasks' is expected"),
        ("s.yaml", "a: !mine x", "a: the tag '!mine'; leave it out"),
        ("s.yaml", "a: .nan", "a: "),
        ("s.yaml", "a: [10, 010]", "a[1]: '010' is a number with leading zeros; write \"010\" for the text, or 10"),
        ("s.yaml", "a: [-007]", "a[0]: '-007' is a number with leading zeros; write \"-007\" for the text, or -7"),
        ("s.yaml", "a: 00.50", "a: '00.50' is a number with leading zeros; write \"00.50\" for the text, or 0.50"),
        ("s.yaml", "a: 000", "a: '000' is a number with leading zeros; write \"000\" for the text, or 0"),
        (
            "s.yaml",
            "a: 0x1F",
            'JSON has in decimal only; write "0x1F" for the text, or 31',
        ),
        ("s.yaml", "a: 0o17", 'write "0o17" for the text, or 15'),
        (
            "s.yaml",
            "a: &a {b: c}\nd: {<<: *a}",
            "d: the merge key '<<' (line 2) is not part of YAML 1.2; write",
        ),
        ("s.toml", "a = 1\na = 2", "not TOML: Cannot overwrite a value"),
        ("s.toml", "a = inf", "'inf' is not a JSON number"),
        ("s.json", "{", "line 1, column 2: expecting property name"),
    ],
)
def test_a_file_that_is_not_what_it_says(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = write(tmp_path / name, text)
    with pytest.raises(SpecError) as caught:
        parse(load_file(path).raw, source=str(path), directory="/")
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_a_yaml_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 9)]
    with pytest.raises(SpecError, match="too large once its aliases are written out"):
        read_yaml("\n".join(lines).encode())


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_file(tmp_path / "none.json")
    assert str(caught.value) == f"{tmp_path}/none.json: cannot be read: No such file or directory"


@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n\ufeff", exclude_categories=["Cs"]), min_size=1)),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_lines_are_those_that_are_not_blank(lines: list[str], ending: str, last: bool) -> None:
    data = ending.join(lines) + (ending if last else "")
    assert lines_of(data.encode()) == [line for line in lines if line.strip()]


def test_files_of_lines_are_read_beside_the_spec(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"a\r\n\n b \n")
    values = {"L": {"lines": "in.txt"}}
    document = {
        "parameters": values,
        "tasks": {"t": {**RUN, "parameters": values, "expand": ["L"]}},
        "defaults": {"parameters": values},
    }
    loaded = load_file(write(tmp_path / "s.json", json.dumps(document)))
    spec = parse(loaded.raw, directory="/")
    assert spec.parameters["L"] == spec.tasks[0].parameters["L"] == ListValues(("a", " b "))
    assert loaded.name == "s"


def test_files_of_lines_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    document = {"parameters": {"A": {"lines": "none"}, "B": {"lines": "bad.txt"}, "C": {"lines": 5}}, "tasks": {}}
    with pytest.raises(SpecError) as caught:
        load_file(write(tmp_path / "s.json", json.dumps(document)))
    assert [str(problem) for problem in caught.value.problems] == [
        "parameters.A.lines: 'none' cannot be read: No such file or directory; it is relative to the spec's directory",
        "parameters.B.lines: 'bad.txt' is not UTF-8 at byte 0",
        "parameters.C.lines: a number where a file name is expected",
    ]


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in.txt", "1\n")
    data = {"parameters": {"L": {"lines": "in.txt"}}, "tasks": {"t": RUN}}
    document = load_file("-", stdin=json.dumps(data).encode())
    assert document.source == "standard input"
    assert document.data["parameters"] == {"L": ["1"]}


@pytest.mark.parametrize("padding", [0, 100_000])
def test_the_command_line_counts_more_than_the_document(padding: int) -> None:
    data = {
        "x-pad": "y" * padding,
        "parameters": {"{{ A }}": ["1"], "B": ["1"]},
        "tags": {"a": "1"},
        "directory": "d",
        "tasks": {"t": RUN},
    }
    document = overlay(
        Document(json.dumps(data).encode(), "s.json"),
        parameters={"A": ["1.50", "007", "x"], "C": ["1"]},
        tags={"b": "2"},
        templating="none",
        directory="/first",
    )
    assert document.data["parameters"] == {"{{ A }}": [Number("1.50"), "007", "x"], "B": ["1"], "C": [1]}
    assert document.data["tags"] == {"a": "1", "b": "2"}
    assert (document.data["templating"], document.data["directory"]) == ("none", "/first/d")
    assert overlay(document) is document


@pytest.mark.parametrize("padding", [0, 100_000])
def test_a_key_given_twice_is_not_lost_on_the_way(padding: int) -> None:
    raw = b'{"x-pad": "%s", "tasks": {}, "tasks": {"t": {"details": {"command": ["x"]}}}}' % (b"y" * padding)
    with pytest.raises(SpecError, match=r"s\.json: tasks: the key 'tasks' is given twice"):
        overlay(Document(raw, "s.json"), tags={"a": "b"})


def test_members_that_cannot_be_overlaid() -> None:
    with pytest.raises(SpecError, match=r"s\.json: parameters: a list where an object is expected"):
        overlay(Document(b'{"parameters": []}', "s.json"), parameters={"A": ["1"]})
