"""What `ssh` is asked to run is understood by whatever shell the login has, and its refusals are told with the mend."""

from __future__ import annotations

import os
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from daggy.launcher import bundle, command_line
from daggy.launcher.line import AwayError, UnfitError
from daggy.launcher.mux import Mux
from daggy_ssh import SshHost, SshSettings
from daggy_ssh.complaints import explained
from daggy_ssh.way import command

BY_HAND = "ssh a true"
SHELLS = ["sh", "bash", "tcsh", "fish", "zsh"]


def need(shell: str) -> None:
    if shutil.which(shell) is None:
        text = f"no {shell} here: install it"
        pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)


async def greeted(shell: str, far: Path, **settings: Any) -> Mux:
    """Return a connection to a relay that a shell has started, as the server of SSH would."""
    need(shell)
    pool = SshSettings(hosts=(SshHost("a"),), directory=str(far), **{"python": sys.executable, **settings})
    program = bundle.relay(pool.directory)
    *_, line = command(pool, SshHost("a"), program)
    mux = Mux(await command_line.start([shell, "-c", line], program, partial(explained, BY_HAND)))
    try:
        await mux.greet()
    except BaseException:
        await mux.drop()
        raise
    return mux


@pytest.mark.trio
@pytest.mark.parametrize("shell", SHELLS)
async def test_every_shell_starts_a_relay(tmp_path: Path, shell: str) -> None:
    mux = await greeted(shell, tmp_path / "far", setup="echo welcome; cd /")
    await mux.drop()


@pytest.mark.trio
@pytest.mark.parametrize("shell", SHELLS)
async def test_a_python_that_is_missing_is_named(tmp_path: Path, shell: str) -> None:
    with pytest.raises(UnfitError, match=r'nopython.*; set "python" of the pool$'):
        await greeted(shell, tmp_path, python="/usr/bin/nopython")


@pytest.mark.trio
@pytest.mark.parametrize("shell", ["sh", "tcsh", "fish"])
async def test_a_setup_that_fails_is_shown(tmp_path: Path, shell: str) -> None:
    with pytest.raises(UnfitError, match=r"cannot access '/nowhere'.*; try: ssh a true"):
        await greeted(shell, tmp_path, setup="ls /nowhere")


UNKNOWN = "Host key verification failed.\n"
CHANGED = "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nSomeone could be eavesdropping\n" + UNKNOWN
REFUSALS = [
    (255, UNKNOWN, "its host key is not known; look at it and accept it: ssh a true"),
    (255, CHANGED, "its host key has changed; if that is right, remove the old one as this says: ssh a true"),
    (255, "ssh: Could not resolve hostname a: Name or service not known\n", 'correct "host" of the pool'),
    (255, "command-line: line 0: Bad configuration option: foo\n", 'foo; correct "ssh" of the pool'),
    (255, "unknown option -- -\nusage: ssh [-46]\n", 'unknown option -- -; correct "ssh" of the pool'),
    (1, "Python 3.6 is too old: 3.8 or newer is needed\n", 'is needed; set "python" of the pool'),
    (1, "exec: python3: Command not found.\n", 'Command not found.; set "python" of the pool'),
    (127, "", 'no Python was found there; set "python" of the pool'),
    (0, "", "its login ended without running anything; try: ssh a true"),
    (3, "", "its shell ended with exit code 3; try: ssh a true"),
]
PAUSES = [
    (255, "ssh: connect to host 127.0.0.1 port 1: Connection refused\n", "Connection refused"),
    (255, "ssh: Could not resolve hostname a: Temporary failure in name resolution\n", "name resolution"),
    (255, "", "ssh ended without a word"),
    (-9, "", "ssh was ended by signal 9"),
]


@pytest.mark.parametrize(("code", "words", "said"), REFUSALS)
def test_what_has_to_be_mended_says_how(code: int, words: str, said: str) -> None:
    error = explained(BY_HAND, code, words, b"")
    assert isinstance(error, UnfitError)
    assert str(error).endswith(said)


@pytest.mark.parametrize(("code", "words", "said"), PAUSES)
def test_what_may_pass_is_tried_again(code: int, words: str, said: str) -> None:
    error = explained(BY_HAND, code, words, b"")
    assert isinstance(error, AwayError)
    assert str(error).endswith(said)
