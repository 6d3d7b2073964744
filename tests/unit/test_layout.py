"""What no linter checks: sizes of files and functions, links, and that README and CI mean the same commands."""

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
PACKAGES = (
    "daggy",
    "daggy_agent",
    "daggy_beam",
    "daggy_fork",
    "daggy_memory",
    "daggy_slurm",
    "daggy_sqlite",
    "daggy_ssh",
)
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")]
MOST_LINES_OF_A_FILE = 500
MOST_LINES_OF_A_FUNCTION = 60
MOST_METHODS_OF_A_CLASS = 25

MANY_METHODS = {
    "daggy.client.Client": 28,  # one a route
    "daggy.run.frontier.Frontier": 30,  # each move once for one task and once for many
    "daggy.run.gates.Gates": 28,  # idem
}
"""Classes of more methods, and how many they have. The list may only shrink."""


def sources() -> Iterator[Path]:
    yield from ROOT.glob("tests/**/*.py")
    yield from ROOT.glob("examples/**/*.py")
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        assert spec is not None, package
        for folder in spec.submodule_search_locations or ():
            yield from Path(folder).glob("**/*.py")


def modules() -> Iterator[tuple[str, Path, str]]:
    """Yield the modules of the packages: package with a dot, path below it, text."""
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        assert spec is not None, package
        for folder in map(Path, spec.submodule_search_locations or ()):
            for path in folder.glob("**/*.py"):
                yield f"{package}.", path.relative_to(folder), path.read_text()


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines from `def` to the end, less the docstring: documenting is free."""
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def test_no_file_is_too_long() -> None:
    long = {
        str(path): count for path in sources() if (count := len(path.read_text().splitlines())) > MOST_LINES_OF_A_FILE
    }
    assert long == {}


def test_no_function_is_too_long() -> None:
    functions = (
        (f"{path}:{node.lineno} {node.name}", lines_of(node))
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, FUNCTIONS)
    )
    assert {name: count for name, count in functions if count > MOST_LINES_OF_A_FUNCTION} == {}


def test_the_launcher_needs_a_python_3_8_and_nothing_else() -> None:
    spec = importlib.util.find_spec("daggy.launcher.program")
    assert spec is not None
    imported: set[str] = set()
    for path in Path(spec.submodule_search_locations[0]).glob("**/*.py"):  # type: ignore[index]
        for node in ast.walk(ast.parse(path.read_text(), feature_version=(3, 8))):
            if isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
    assert imported
    own = {name for name in imported if name.startswith("daggy.launcher.program.")}
    assert {name for name in imported - own if name.partition(".")[0] not in sys.stdlib_module_names} == set()


def test_no_class_has_too_many_methods() -> None:
    classes = (
        (f"{package}{'.'.join(path.with_suffix('').parts)}.{node.name}", node)
        for package, path, source in modules()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
    )
    counted = {name: sum(isinstance(part, FUNCTIONS) for part in node.body) for name, node in classes}
    assert {name: count for name, count in counted.items() if count > MOST_METHODS_OF_A_CLASS} == MANY_METHODS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    local = [target.partition("#")[0] for target in targets if "://" not in target and not target.startswith("#")]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_ci_runs_the_two_commands_of_the_readme() -> None:
    section = (ROOT / "README.md").read_text().partition("## Two commands")[2].partition("\n## ")[0]
    commands = re.findall(r"```sh\n(.*?)\n```", section, re.DOTALL)
    assert len(commands) == 2
    script = (ROOT / ".ci" / "run").read_text()
    assert [command for command in commands if f'\nbash -c "{command}"\n' not in script] == []
