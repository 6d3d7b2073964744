"""The operator's configuration: pools, tracker, limits; from a file, the environment and flags, in that order."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from daggy import plugins
from daggy.errors import PluginError, UsageError
from daggy.executor import Executor, Site
from daggy.settings import structure
from daggy.tracker import Tracker
from daggy.worker.listing import Listing, Module

PREFIX = "DAGGY_"
"""Of variables that configure: `DAGGY_POOLS__DEFAULT__WORKERS` is `pools.default.workers`."""

Settings = Mapping[str, Any]


@frozen
class TlsSettings:
    """Files of a server's certificate, with the chain above it, and of its key; both in PEM."""

    certificate: Path
    key: Path


@frozen
class ServerSettings:
    """Where a server listens, its names besides localhost and its addresses, and how it encrypts."""

    ip: str = "127.0.0.1"
    port: int = 2503
    names: Sequence[str] = ()
    tls: TlsSettings | None = None


@frozen
class AgentsSettings:
    """Where agents alone call in, and nothing else is answered: an address of this machine that theirs see.

    Args:
        ip: The address; empty: agents call where everybody does.
        port: The port; 0: 2504 of a server, any free one of `daggy run`.
    """

    ip: str = ""
    port: int = 0


@frozen
class Limits:
    """What a server accepts at most: bytes of a spec, tasks of a run."""

    spec_bytes: int = 1_000_000_000
    tasks: int = 200_000_000


@frozen
class Retention:
    """How many ended runs are kept, and for how many days."""

    runs: int = 1000
    days: float = 30


@frozen
class Configuration:
    """The whole configuration, validated except for the settings of plug-ins, which validate them themselves.

    Args:
        pools: By name: the key `executor`, whether tasks may `eval`, and that executor's settings.
        default_pool: For templates that name none.
        tracker: The key `type`, and that tracker's settings; empty if not given.
        server, limits, retention: Of a server.
        agents: Where agents call in.
        functions: The modules whose functions are shown to those who ask what there is to call.
        scripts: The folders whose scripts are.
    """

    pools: Mapping[str, Settings]
    default_pool: str
    tracker: Settings = field(factory=dict)
    server: ServerSettings = ServerSettings()
    limits: Limits = Limits()
    retention: Retention = Retention()
    agents: AgentsSettings = AgentsSettings()
    functions: Sequence[Module] = ()
    scripts: Sequence[str] = ()

    def executors(self) -> dict[str, Callable[[Site], Executor]]:
        """Return by pool what makes its executor.

        Raises:
            PluginError: there is no such executor.
        """
        return {name: _executor(settings) for name, settings in self.pools.items()}

    @property
    def evals(self) -> frozenset[str]:
        """The pools whose tasks may be Python source."""
        return frozenset(name for name, settings in self.pools.items() if settings.get("eval"))

    def listing(self) -> Listing:
        """Return what lists functions and scripts."""
        return Listing(tuple(self.functions), tuple(self.scripts))

    def make_tracker(self, directory: Path, default: str) -> Tracker:
        """Return the tracker for a directory, of type `default` if none is given.

        Raises:
            PluginError: there is none of this type, or its settings are wrong.
            DirectoryError: the directory cannot be used.
        """
        kind, settings = _split(self.tracker, "type", default)
        return plugins.make_tracker(kind, settings, directory)

    def look(self, directory: Path, default: str) -> Tracker:
        """Return the tracker of a directory opened for reading only.

        Raises:
            PluginError: there is none of this type, or its settings are wrong.
            UsageError: nothing that it keeps outlives the process.
            DirectoryError: there is nothing, or it cannot be read.
        """
        kind, settings = _split(self.tracker, "type", default)
        plugin = plugins.tracker_class(kind)
        return plugin.open_readonly(structure(settings, plugin.Settings, f"tracker '{kind}'"), directory)


def _executor(configured: Settings) -> Callable[[Site], Executor]:
    name, settings = _split(configured, "executor", "fork")
    settings.pop("eval", None)
    plugins.executor_class(name)
    return lambda site: plugins.make_executor(name, settings, site)


def _split(configured: Settings, key: str, default: str) -> tuple[str, dict[str, Any]]:
    rest = dict(configured)
    return str(rest.pop(key, default)), rest


def read_configuration(
    path: Path | None,
    environ: Mapping[str, str],
    *,
    workers: int | None = None,
    resources: Mapping[str, float] | None = None,
    serving: bool = False,
) -> Configuration:
    """Return what the file, then the environment, then flags say.

    Args:
        path: JSON, or TOML by its extension; None for no file.
        environ: Variables; those that begin with `DAGGY_` and a key of the configuration count.
        workers: Of the default pool; beats everything else.
        resources: Totals of the default pool's machine, beyond or instead of what is configured.
        serving: Without pools, one is made that leaves this machine something for others.

    Raises:
        UsageError: the file cannot be read.
        PluginError: something in it is wrong; one line each.
    """
    source = str(path) if path else "configuration"
    data = _read(path) if path else {}
    _overlay(data, environ)
    if isinstance(data.get("tracker"), str):
        data["tracker"] = {"type": data["tracker"]}
    elif isinstance(data.get("tracker"), dict) and "tracker" in data["tracker"]:
        data["tracker"]["type"] = data["tracker"].pop("tracker")  # as DaggyR calls it
    data.setdefault("pools", {})
    read = structure({"default_pool": "", **data}, Configuration, source)
    pools = {name: dict(settings) for name, settings in read.pools.items()} or {
        "default": _own_machine(serving=serving)
    }
    for name, settings in pools.items():
        if settings.get("eval") not in (None, True, False):
            raise PluginError(f"{source}: pools.{name}.eval: must be true or false, not {settings['eval']!r}")
    default_pool = _default_pool(read.default_pool, pools, source)
    _apply(pools[default_pool], workers, resources or {})
    return evolve(read, pools=pools, default_pool=default_pool)


def _own_machine(*, serving: bool) -> dict[str, Any]:
    if serving:
        return {"executor": "fork"}
    return {"executor": "fork", "workers": len(os.sched_getaffinity(0)), "eval": True}  # its user writes the spec


def _default_pool(named: str, pools: Settings, source: str) -> str:
    if named and named not in pools:
        raise PluginError(f"{source}: default_pool: no pool named '{named}'; there are: {', '.join(pools)}")
    if named or len(pools) == 1:
        return named or next(iter(pools))
    if "default" in pools:
        return "default"
    raise PluginError(f"{source}: several pools and none is the default; name one as 'default_pool'")


def _apply(pool: dict[str, Any], workers: int | None, resources: Mapping[str, float]) -> None:
    if workers is not None:
        pool["workers"] = workers
    for name, total in resources.items():
        if name == "cores":
            pool["workers"] = total
        elif name == "memory_mb":
            pool["memory_mb"] = total
        else:
            pool["resources"] = {**pool.get("resources", {}), name: total}


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
        data = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:
        raise UsageError(f"{path}: is not {'TOML' if path.suffix == '.toml' else 'JSON'}: {error}") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path}: must be an object with keys such as 'pools' and 'tracker'")
    return data


def _overlay(data: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Put in what the environment says. `DAGGY_SERVER` alone is an address and not part of this."""
    known = {"server", "agents", "pools", "tracker", "default_pool", "limits", "retention"}
    for variable in sorted(environ):
        keys = [key.lower() for key in variable.removeprefix(PREFIX).split("__")]
        if not variable.startswith(PREFIX) or keys[0] not in known or (len(keys) == 1 and keys[0] != "default_pool"):
            continue
        here = data
        for key in keys[:-1]:
            here = here.setdefault(_known_key(here, key), {})
            if not isinstance(here, dict):
                raise UsageError(f"{variable}: '{key}' is not an object in the configuration; unset one of the two")
        here[_known_key(here, keys[-1])] = _value(environ[variable])


def _known_key(here: Mapping[str, Any], key: str) -> str:
    return next((known for known in here if known.lower() == key), key)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
