"""What reads bytes that somebody else wrote: one function each, for fuzzers and for tests.

A target takes bytes, hands them on in the form that its subject takes, and raises only if the subject did what it must
not: raised something that is not documented, believed what nothing vouches for, or answered the same question twice
differently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.hostile import reading_files, reading_specs

Target = Callable[[bytes], None]

TARGETS: Mapping[str, Target] = {
    "json": reading_specs.json_spec,
    "yaml": reading_specs.yaml_spec,
    "toml": reading_specs.toml_spec,
    "template": reading_specs.template,
    "shell": reading_specs.shell,
    "fragment": reading_specs.fragment,
    "selector": reading_specs.selector,
    "frames": reading_files.frames,
    "answers": reading_files.answers,
    "spool": reading_files.spool,
    "records": reading_files.records,
    "pack": reading_files.pack,
    "columns": reading_files.columns,
    "database": reading_files.database,
}
"""By name, as `python tests/hostile NAME` takes it."""
