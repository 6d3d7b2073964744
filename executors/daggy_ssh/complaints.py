"""What the end of an `ssh` means: whether the host is away or unfit, and what to do."""

from __future__ import annotations

import re

from daggy.launcher.line import AwayError, UnfitError

_NO_PROGRAM = re.compile(r"^.*(?:not found|unknown command|no such file).*$", re.IGNORECASE | re.MULTILINE)

SSH_FAILED = 255
"""The exit code of ssh when it is ssh that failed."""


def explained(by_hand: str, code: int, words: str, heard: bytes) -> AwayError | UnfitError:
    """Return why no relay answered.

    Args:
        by_hand: A command with which a person would see the same.
        code: The exit code of ssh.
        words: The end of its standard error.
        heard: What it wrote to its standard output.
    """
    said = (words or heard.decode("utf-8", "replace")).strip()
    last = said.splitlines()[-1].strip() if said else ""
    if code == SSH_FAILED:
        return _of_ssh(by_hand, said, last)
    if code < 0:
        return AwayError(f"ssh was ended by signal {-code}")
    if code == 127 or "command not found" in said.lower():
        line = _NO_PROGRAM.search(said)
        return UnfitError(f'{line[0].strip() if line else "no Python was found there"}; set "python" of the pool')
    if " is too old: " in last:
        return UnfitError(f'{last}; set "python" of the pool')
    if code == 0:
        shown = f"; it said: {last}" if last else ""
        return UnfitError(f"its login ended without running anything{shown}; try: {by_hand}")
    return UnfitError(f"{last or f'its shell ended with exit code {code}'}; try: {by_hand}")


def _of_ssh(by_hand: str, said: str, last: str) -> AwayError | UnfitError:
    if "HOST IDENTIFICATION HAS CHANGED" in said:
        return UnfitError(f"its host key has changed; if that is right, remove the old one as this says: {by_hand}")
    if "Host key verification failed" in said:
        return UnfitError(f"its host key is not known; look at it and accept it: {by_hand}")
    if "Permission denied" in said:
        return UnfitError(f"{last}: it must let you in without a password or passphrase; try: {by_hand}")
    if "Could not resolve hostname" in said and "Temporary" not in said:
        return UnfitError(f'{last}; correct "host" of the pool')
    if "onfiguration option" in said or said.startswith("usage:") or "unknown option" in said:
        return UnfitError(f'ssh refuses its arguments: {said.splitlines()[0]}; correct "ssh" of the pool')
    return AwayError(last or "ssh ended without a word")
