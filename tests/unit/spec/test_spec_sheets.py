"""Sample sheets: files of values whose columns step together."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from daggy.errors import SpecError
from daggy.plan import Plan, difference, plan
from daggy.plan.grouped import GroupedGates
from daggy.spec import load_file, parse
from daggy.spec.sheets import sheet_of

SHEET = "sample,group,path\na,x,a.fq\nb,y,b.fq\nc,x,c.fq\n"


def study(group: Any, **more: Any) -> dict[str, Any]:
    """A task a sample, one a group behind those of the group, and one behind all."""

    def task(*words: str, **other: Any) -> dict[str, Any]:
        return {"details": {"command": ["run", *words]}, **other}

    tasks = {
        "align": task("{{ sample }}", "{{ path }}", expand=["group"]),
        "merge": task("{{ group }}", parents=[{"task": "align", "match": ["group"]}]),
        "report": task(parents=["merge"]),
    }
    return {"zip": [group], "tasks": tasks, **more}


def read(folder: Path, sheet: str, name: str = "samples.csv", **more: Any) -> Plan:
    """The plan of a spec beside a sheet."""
    (folder / name).write_bytes(sheet.encode())
    path = folder / "spec.json"
    path.write_text(json.dumps(study({"csv": name, **more})))
    document = load_file(path)
    return plan(parse(document.raw, source="spec.json", directory="/"))


def test_a_template_has_a_task_for_each_row_of_the_columns_that_it_uses(tmp_path: Path) -> None:
    made = read(tmp_path, SHEET)
    assert made.names(range(made.size)) == [
        "align.group:x.path:a.fq.sample:a",
        "align.group:y.path:b.fq.sample:b",
        "align.group:x.path:c.fq.sample:c",
        "merge.group:x",
        "merge.group:y",
        "report",
    ]
    gates = made.arrays[0]
    assert [list(gates.parents(gate)) for gate in range(gates.size)] == [[0, 2], [1]]
    assert made.values(0) == {"group": "x", "path": "a.fq", "sample": "a"}
    assert made.select("align", {"group": "x"}).tolist() == [0, 2]


def test_a_group_is_one_gate_whatever_its_rows() -> None:
    rows = range(100_000)
    sheet = {
        "sample": [f"s{row}" for row in rows],
        "group": [f"g{row % 50}" for row in rows],
        "path": [str(row) for row in rows],
    }
    made = plan(parse(json.dumps(study({"sheet": sheet})).encode(), directory="/"))
    gates = made.arrays[0]
    assert isinstance(gates, GroupedGates)
    assert (gates.size, gates.edges(), made.size) == (50, 100_000, 100_051)


def test_a_further_row_changes_only_its_group(tmp_path: Path) -> None:
    before, after = read(tmp_path, SHEET), read(tmp_path, SHEET + "d,y,d.fq\n")
    found = difference(before, after)
    assert [(row.name, row.kept, row.added, row.changed) for row in found.rows()] == [
        ("align", 3, 1, 0),
        ("merge", 1, 0, 1),
        ("report", 1, 0, 0),
    ]
    assert found.changed[1].tolist() == [False, True]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", '\ufeff"sample", group ,path\r\n\r\na,x,a.fq\r\n,,\r\n"b",y,b.fq\r\nc,x,c.fq'),
        ("a.tsv", "sample\tgroup\tpath\na\tx\ta.fq\nb\ty\tb.fq\nc\tx\tc.fq\n"),
    ],
)
def test_byte_order_marks_carriage_returns_quotes_and_tabs(tmp_path: Path, name: str, text: str) -> None:
    made = read(tmp_path, text, name)
    assert made.names(range(made.size)) == read(tmp_path, SHEET).names(range(made.size))


def test_columns_can_be_named_and_chosen(tmp_path: Path) -> None:
    text = "sample id,note,group,fastq\na,very good,x,a.fq\nb,,x,b.fq\n"
    made = read(tmp_path, text, columns={"sample": "sample id", "group": "group", "path": "fastq"})
    assert made.name(0) == "align.group:x.path:a.fq.sample:a"


CELLS = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), min_size=1, max_size=4).filter(
    str.strip
)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=5), st.booleans())
def test_every_cell_comes_back(rows: list[list[str]], tabs: bool) -> None:
    quoted = [['"' + cell.replace('"', '""') + '"' for cell in row] for row in [["a", "b"], *rows]]
    text = "\n".join(("\t" if tabs else ",").join(row) for row in quoted)
    assert sheet_of(text.encode(), tabs=tabs) == {"a": [row[0] for row in rows], "b": [row[1] for row in rows]}


@pytest.mark.parametrize(
    ("text", "columns", "problem"),
    [
        ("", None, "is empty; the first line names the columns, each other one is a row"),
        ("a,b\n", None, "no rows; the first line names the columns, each other one is a row"),
        ("a,b\n1,2\n1\n", None, "line 3 has 1 cells, the header has 2"),
        ('a,b\n1,"2" 3\n', None, "line 2: ',' expected after '\"'; quote a cell that holds quotes, and double those"),
        ("a,a\n1,2\n", None, "two columns are called 'a'; rename one of the two"),
        ("a,b\n1,2\n", {"A": "c"}, "no column is called 'c'; there are 'a', 'b'"),
        (
            "sample id,b\n1,2\n",
            None,
            "the column 'sample id' is not called as a parameter can be; name the columns that are meant",
        ),
    ],
)
def test_what_is_no_sheet_is_told_with_its_line(text: str, columns: dict[str, str] | None, problem: str) -> None:
    with pytest.raises(SpecError) as refused:
        sheet_of(text.encode(), columns)
    assert str(refused.value).startswith(problem)


@pytest.mark.parametrize(
    ("group", "problem"),
    [
        (
            {"csv": "none.csv"},
            "zip[0].csv: 'none.csv' cannot be read: No such file or directory; it is relative to the spec's directory",
        ),
        ({"csv": 3}, "zip[0].csv: a number where a file name is expected"),
        (
            {"csv": "a.csv", "columns": ["a"]},
            'zip[0].columns: no map of parameters to headers; write {"SAMPLE": "sample id"}',
        ),
        ({"tsv": "a"}, 'zip[0]: an object that is no sheet; write {"csv": "samples.csv"}, or the names of parameters'),
        ({"sheet": {}}, "zip[0].sheet: a sheet without columns; give at least one"),
        (
            {"sheet": {"sample": ["a", "a"], "group": ["x", "x"], "path": ["p", "p"]}},
            "zip[0].sheet: rows 1 and 2 have the same values; remove one of the two, or add a column",
        ),
        (
            {"sheet": {"sample": ["a", "b"], "group": ["x"], "path": ["p", "p"]}},
            "zip[0].sheet: unequal numbers of values: group has 1, path has 2, sample has 2; parameters that",
        ),
        ({"sheet": {"run": ["a"]}}, "zip[0].sheet.run: 'run' is reserved; give the parameter another name"),
    ],
)
def test_what_is_no_group_is_told_with_the_mend(tmp_path: Path, group: Any, problem: str) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(study(group)))
    with pytest.raises(SpecError) as refused:
        parse(load_file(path).raw, directory="/")
    assert problem in str(refused.value).splitlines()[0].removeprefix(f"{path}: ")


def test_lists_that_repeat_are_a_sheet_too() -> None:
    spec = study(["sample", "group", "path"])
    columns = {"sample": ["a", "b"], "group": ["x", "x"], "path": ["p", "q"]}
    made = plan(parse(json.dumps({**spec, "parameters": columns}).encode(), directory="/"))
    assert [block.size for block in made.blocks] == [2, 1, 1]
    alike = {**spec, "parameters": {**columns, "sample": ["a", "a"], "path": ["p", "p"]}}
    with pytest.raises(SpecError, match="rows 1 and 2 have the same values"):
        parse(json.dumps(alike).encode(), directory="/")
    with pytest.raises(SpecError, match="the parameter 'group' is given twice; it is a column of this sheet"):
        parse(json.dumps({**study({"sheet": columns}), "parameters": columns}).encode(), directory="/")


def test_values_of_its_own_take_a_parameter_out_of_the_sheet() -> None:
    spec = study({"sheet": {"sample": ["a", "b"], "group": ["x", "x"], "path": ["p", "q"]}})
    spec["tasks"]["align"]["parameters"] = {"path": ["1", "2", "3"]}
    made = plan(parse(json.dumps(spec).encode(), directory="/"))
    assert [block.size for block in made.blocks] == [6, 1, 1]


def test_a_server_reads_no_sheets() -> None:
    with pytest.raises(SpecError, match="only the command line reads sheets; send the columns"):
        parse(json.dumps(study({"csv": "samples.csv"})).encode(), directory="/")
