"""Daggy runs work modelled as a DAG: millions of tasks in the right order, on whatever there is to run them.

`daggy.run(spec)` runs a spec from Python; `daggy.client` is for the runs of a server.
"""

TYPE_CHECKING = False  # `typing` loads for milliseconds

if TYPE_CHECKING:
    from daggy.script import run as run


def __getattr__(name: str) -> object:
    """Import what runs a spec when it is first used: the command line, which imports this too, must not wait for it."""
    if name == "run":
        import importlib

        return importlib.import_module("daggy.run")
    raise AttributeError(f"module 'daggy' has no attribute '{name}'")
