"""Where a kept run goes on: where it was started, and with its project when that is moved or copied."""

import shutil
from pathlib import Path

import pytest

from tests.integration.test_run_command import Daggy, write

PLACES = {
    "first": {"details": {"shell": "pwd >> first.txt"}},
    "second": {"details": {"shell": "pwd >> second.txt; test -e go"}, "parents": ["first"]},
}


@pytest.mark.parametrize("how", ["copied", "moved"])
@pytest.mark.parametrize("state", ["state", "../kept"])
def test_a_project_that_has_moved_goes_on_where_it_is(daggy: Daggy, tmp_path: Path, how: str, state: str) -> None:
    project, other = tmp_path / "project", tmp_path / "other"
    (project / "work").mkdir(parents=True)
    spec = write(project, PLACES, directory="work")
    assert daggy("run", "-q", "--dir", state, spec, cwd=project).returncode == 1
    if how == "copied":
        shutil.copytree(project, other)
    else:
        project.rename(other)
    (other / "work" / "go").touch()
    again = daggy("run", "--dir", state, spec, cwd=other)
    assert again.returncode == 0, again.stderr
    assert "where it was started" not in again.stderr
    assert (other / "work" / "first.txt").read_text().split() == [str(project / "work")], "it is not run again"
    assert (other / "work" / "second.txt").read_text().split() == [str(project / "work"), str(other / "work")]
    if how == "copied":
        assert (project / "work" / "second.txt").read_text().split() == [str(project / "work")]
    assert "nothing to do" in daggy("run", "--dir", state, spec, cwd=other).stderr


def test_a_state_directory_that_moves_alone_leaves_the_run_where_it_was(daggy: Daggy, tmp_path: Path) -> None:
    project, far = tmp_path / "project", tmp_path / "far"
    (project / "work").mkdir(parents=True)
    far.mkdir()
    spec = write(project, PLACES, directory="work")
    assert daggy("run", "-q", "--dir", "state", spec, cwd=project).returncode == 1
    (project / "state").rename(far / "state")
    (project / "work" / "go").touch()
    again = daggy("run", "--dir", "../far/state", spec, cwd=project)
    assert again.returncode == 0, again.stderr
    assert (project / "work" / "second.txt").read_text().split() == [str(project / "work")] * 2


def test_a_run_whose_place_is_gone_is_refused_with_the_mend(daggy: Daggy, tmp_path: Path) -> None:
    project, spec = tmp_path / "project", write(tmp_path, PLACES)
    project.mkdir()
    command = ("run", "-q", "--dir", str(tmp_path / "state"), str(tmp_path / spec))
    assert daggy(*command, cwd=project).returncode == 1
    shutil.rmtree(project)
    ended = daggy(*command)
    assert ended.returncode == 2
    assert f"started in '{project}', which does not exist any more; restore it, or start in another" in ended.stderr
    assert daggy("run", "-n", *command[2:]).returncode == 2


def test_a_kept_run_goes_on_in_the_directory_where_it_was_first_called(daggy: Daggy, tmp_path: Path) -> None:
    spec = write(tmp_path, {"t": {"details": {"shell": "pwd >> {{ task.name }}.txt; test -e go"}}}, directory="work")
    (tmp_path / "work").mkdir()
    (tmp_path / "elsewhere").mkdir()
    assert daggy("run", "-q", "--dir", "state", spec).returncode == 1
    (tmp_path / "work" / "go").touch()
    again = daggy("run", "--dir", "../state", f"../{spec}", cwd=tmp_path / "elsewhere")
    assert again.returncode == 0, again.stderr
    assert "resumed" in again.stderr
    assert f"  in '{tmp_path}', where it was started\n" in again.stderr
    assert (tmp_path / "work" / "t.txt").read_text().split() == [str(tmp_path / "work")] * 2
