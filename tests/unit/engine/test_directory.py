"""A state directory is one engine's, private, and keeps who it is."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from daggy.engine.directory import StateDirectory
from daggy.errors import DirectoryError, NoRoomError, UnavailableError


def test_it_is_made_private_and_keeps_its_instance(tmp_path: Path) -> None:
    with StateDirectory.open(tmp_path / "a" / "b") as directory:
        first = directory.instance
        directory.make_packs(7)
        directory.make_packs(7)
        made = [directory.path, *(directory.path / name for name in ("runs", "runs/7", "runs/7/packs"))]
        assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o700] * 4
        for name in ("lock", "instance"):
            assert stat.S_IMODE((directory.path / name).stat().st_mode) == 0o600
    with StateDirectory.open(tmp_path / "a" / "b") as directory:
        assert directory.instance == first
    with StateDirectory.open(tmp_path / "c") as other:
        assert other.instance != first
    assert StateDirectory.look(tmp_path / "a" / "b").instance == first


def test_a_copy_has_an_instance_of_its_own_and_takes_up_nothing_of_the_originals(tmp_path: Path) -> None:
    with StateDirectory.open(tmp_path / "a") as directory:
        first = directory.instance
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with StateDirectory.open(tmp_path / "b") as directory:
        second = directory.instance
        assert second != first
    with StateDirectory.open(tmp_path / "b") as directory:
        assert directory.instance == second
    (tmp_path / "a" / "launchers" / "1").mkdir()  # of one that has ended
    (tmp_path / "a" / "launchers" / "2").mkdir()
    (tmp_path / "a" / "launchers" / "2" / "spool").touch()
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    with pytest.raises(DirectoryError, match=r"is a copy.*remove '.*/c/launchers'"):
        StateDirectory.open(tmp_path / "c")
    shutil.rmtree(tmp_path / "c" / "launchers")
    with StateDirectory.open(tmp_path / "c") as directory:
        assert directory.instance not in (first, second)


def test_another_engine_is_refused_by_the_name_of_who_has_it_until_that_is_dead(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from daggy.engine.directory import StateDirectory as S\n"
    program += "kept = S.open(Path(sys.argv[1])); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        with pytest.raises(DirectoryError, match=f"is in use by process {process.pid}; 'daggy watch last"):
            StateDirectory.open(tmp_path)
        seen = StateDirectory.look(tmp_path)
        seen.close()
        process.kill()
        process.wait()
    with StateDirectory.open(tmp_path) as mine:
        assert mine.instance == seen.instance


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DirectoryError, match=r"cannot be used: .*; choose another with --dir"):
        StateDirectory.open(tmp_path / "file")
    with pytest.raises(DirectoryError, match="holds no runs"):
        StateDirectory.look(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_network_filesystem_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = f"1 1 0:1 / / rw - ext4 /dev/x rw\n2 1 0:2 / {tmp_path} rw,relatime - nfs4 host:/x rw\n"
    read = Path.read_text

    def told(path: Path, encoding: str | None = None, errors: str | None = None) -> str:
        return table if path == Path("/proc/self/mountinfo") else read(path, encoding, errors)

    monkeypatch.setattr(Path, "read_text", told)
    with pytest.raises(DirectoryError, match=r"is on a network filesystem \(nfs4\)"):
        StateDirectory.open(tmp_path / "state")


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o707])
def test_an_empty_directory_that_others_can_read_is_closed_to_them(tmp_path: Path, mode: int) -> None:
    place = tmp_path / "state"
    place.mkdir()
    place.chmod(mode)
    StateDirectory.open(place).close()
    assert place.stat().st_mode & 0o777 == 0o700
    place.chmod(mode)
    StateDirectory.open(place).close()
    assert place.stat().st_mode & 0o777 == 0o700


def test_a_directory_of_other_files_that_others_can_read_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    place = tmp_path / "project"
    place.mkdir()
    (place / "notes.txt").write_text("mine")
    place.chmod(0o755)
    with pytest.raises(DirectoryError, match=r"open to other users \(mode 755\) and holds other files; .*chmod 700"):
        StateDirectory.open(place)
    assert [entry.name for entry in place.iterdir()] == ["notes.txt"]
    assert place.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, NoRoomError),
        (errno.EDQUOT, NoRoomError),
        (errno.EACCES, UnavailableError),
        (errno.EROFS, UnavailableError),
    ],
)
def test_a_folder_that_cannot_be_made_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[UnavailableError]
) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    with StateDirectory.open(tmp_path / "a") as directory:
        monkeypatch.setattr(Path, "mkdir", refuse)
        with pytest.raises(UnavailableError, match=os.strerror(number).lower()) as caught:
            directory.make_packs(7)
    assert type(caught.value) is kind
    assert f"'{tmp_path}/a/runs'" in str(caught.value)


def test_a_look_at_who_uses_it_keeps_no_engine_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    StateDirectory.open(tmp_path).close()
    looks = [os.open(tmp_path / "lock", os.O_RDONLY)]
    fcntl.flock(looks[0], fcntl.LOCK_SH)
    monkeypatch.setattr("time.sleep", lambda _: os.close(looks.pop()))
    StateDirectory.open(tmp_path).close()
    assert looks == []
