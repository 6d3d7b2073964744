"""Keys of `details` with which DaggyR's specs say what a job of Slurm's needs."""

from __future__ import annotations

from collections.abc import Mapping

from daggy.spec.problems import Problems, join

RESOURCES = {"min_cpus": "cores", "min_memory_mb": "memory_mb"}
"""Those that ask for resources, with their names here."""

TIME = "time_limit_seconds"

UNUSED = {
    "min_tmp_disk_mb": "give it to the pool, in 'sbatch'",
    "priority": "give it to the task, beside 'details'",
    "user": "jobs belong to who runs the server",
    "logdir": "'daggy logs' shows outputs",
}
"""Those that have no use here, with what there is instead."""

SECRET = "jwt_token"  # noqa: S105 - the name of a key


def translated(written: Mapping[str, object], path: str, problems: Problems) -> Mapping[str, object]:
    """Return `details` in which these keys are given as others that mean the same; the others stay.

    Args:
        written: The object as written.
        path: Of the object.
        problems: Where to report what has no use here.
    """
    known = {*RESOURCES, TIME, SECRET, *UNUSED}
    if known.isdisjoint(written):
        return written
    if SECRET in written:
        problems.add(join(path, SECRET), "a secret in a spec", "remove it; jobs belong to who runs the server")
    for key in (one for one in UNUSED if one in written):
        problems.warn(join(path, key), f"has no use here; {UNUSED[key]}")
    kept = {key: value for key, value in written.items() if key not in known}
    if TIME in written:
        kept.setdefault("timeout", written[TIME])
    needs = {name: written[key] for key, name in RESOURCES.items() if key in written}
    given = kept.get("resources", {})
    if needs and isinstance(given, Mapping):
        kept["resources"] = {**needs, **given}
    return kept
