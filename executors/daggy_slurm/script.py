"""Batch scripts. Pure."""

from __future__ import annotations

import shlex
from pathlib import Path

from daggy.executor import Entrance
from daggy.launcher.pilots.autoscaler import LAST
from daggy.launcher.pilots.fleet import PREFIX
from daggy_slurm.settings import SlurmSettings

ELEMENT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from daggy.launcher.program.parcel import main; main()"
"""Runs an element: the program's folder, the parcel's, the element's number and its size are the arguments."""

GRACE = 20.0
"""Seconds that running tasks are given when an allocation takes its leave: the rest of `LAST` is for saying so."""


def pilot(settings: SlurmSettings, entrance: Entrance, pool: str, instance: str, token: Path) -> str:
    """Return the script of a pilot, which sbatch reads from standard input.

    The shell stays, to start an agent anew that was killed, and to remove what it leaves on the node's disk.

    Args:
        settings: The pool's.
        entrance: Where its agent calls in.
        pool: The pool that it joins.
        instance: Tells this server's pilots from others'.
        token: The file that has its token.
    """
    seconds = settings.seconds - LAST
    resources = " ".join(f"--resource {name}={amount:g}" for name, amount in settings.totals.items())
    ca = f"--ca {shlex.quote(str(entrance.certificate))}" if entrance.certificate is not None else ""
    return "\n".join(
        [
            "#!/bin/sh",
            *settings.setup,
            'DAGGY_AGENT_JOB="${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"; export DAGGY_AGENT_JOB',
            f'place="${{TMPDIR:-/tmp}}/daggy-{instance}-$DAGGY_AGENT_JOB"',
            f"until=$(($(date +%s) + {seconds:.0f}))",
            "leaves=",
            "trap 'leaves=1; kill -TERM \"$agent\" 2> /dev/null' TERM",
            "while :; do",
            f"    {shlex.quote(settings.interpreter)} -m daggy agent --server {shlex.quote(entrance.url)} {ca} \\",
            f"        --token-file {shlex.quote(str(token))} --pool {shlex.quote(pool)} \\",
            f'        --name "{PREFIX}$SLURM_ARRAY_TASK_ID" --directory "$place" {resources} \\',
            f'        --until "$until" --idle-exit {settings.idle} --grace {GRACE:.0f}s < /dev/null &',
            "    agent=$!",
            '    while wait "$agent"; code=$?; kill -0 "$agent" 2> /dev/null; do :; done',
            '    if [ -n "$leaves" ] || [ "$code" -lt 128 ]; then break; fi',
            "done",
            'rm -rf "$place"',
            'exit "$code"',
            "",
        ]
    )


def element(settings: SlurmSettings, program: Path, folder: Path, each: int) -> str:
    """Return the script of an element of a parcel.

    Args:
        settings: The pool's.
        program: The folder of what runs an element.
        folder: The parcel.
        each: How many tasks it runs.
    """
    run = f"{shlex.quote(settings.interpreter)} -I -S -E -X utf8 -c {shlex.quote(ELEMENT)} {shlex.quote(str(program))}"
    where = f'{shlex.quote(str(folder))} "$SLURM_ARRAY_TASK_ID" {each}'
    return "\n".join(["#!/bin/sh", *settings.setup, f"exec {run} {where}", ""])
