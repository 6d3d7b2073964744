"""Pipeline options that a task names, as Beam's own parsers understand them."""

from __future__ import annotations

import argparse
import difflib
import json
from typing import Any, Dict, Iterable, List, Optional, Tuple


class Complaint(SystemExit):
    """What a user has to mend, in one line. No `except Exception` of a program swallows it."""


def chosen(name: str, value: Any, action: argparse.Action) -> Tuple[str, Any]:
    """Return the attribute that an option sets, and its value.

    Raises:
        Complaint: the value is not one of this option's.
    """
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise Complaint("options.%s: %r is neither true nor false; it is a switch" % (name, value))
        return action.dest, value if name == action.dest or action.const is not False else not value
    place, parser = argparse.Namespace(), argparse.ArgumentParser(add_help=False)
    for one in value if isinstance(value, list) else [value]:
        try:
            action(parser, place, _converted(name, one, action), None)
        except argparse.ArgumentError as error:
            raise Complaint("options.%s: %s" % (name, error)) from None
    kept = getattr(place, action.dest, [])
    if isinstance(value, list) and not isinstance(kept, list):
        raise Complaint("options.%s: a list where one value is expected" % name)
    return action.dest, kept


def _converted(name: str, value: Any, action: argparse.Action) -> Any:
    text = value if isinstance(value, str) else json.dumps(value)
    convert: Any = action.type or str
    try:
        converted = convert(text)
    except (ValueError, TypeError, argparse.ArgumentTypeError) as error:
        raise Complaint("options.%s: %r cannot be its value: %s" % (name, value, error)) from None
    if action.choices is not None and converted not in action.choices:
        known = ", ".join(map(str, action.choices))
        raise Complaint("options.%s: %r cannot be its value; there are: %s" % (name, value, known))
    return converted


def find(name: str, actions: Iterable[argparse.Action]) -> Optional[argparse.Action]:
    """Return the option of this name; None: there is none."""
    return next((action for action in actions if action.dest == name or "--" + name in action.option_strings), None)


def unknown(name: str, actions: Iterable[argparse.Action]) -> Complaint:
    """Return the error for an unknown option."""
    names = [option.lstrip("-") for action in actions for option in action.option_strings]
    close = difflib.get_close_matches(name, names, 1)
    mend = "did you mean '%s'?" % close[0] if close else "see the options of the runner and of the program"
    return Complaint("options.%s: Beam has no option of this name; %s" % (name, mend))


def inject(options: Any, wanted: Dict[str, Any], described: Any) -> None:
    """Set pipeline options by name, above what the program has set.

    Args:
        options: Beam's PipelineOptions.
        wanted: Values by name, as JSON has them.
        described: Returns names of further options that the runner knows, which are passed on as they are.

    Raises:
        Complaint: an option is unknown, or cannot have this value.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    owners = _owners(PipelineOptions.__subclasses__())
    actions = [action for action, _ in owners]
    foreign: List[str] = []
    for name, value in wanted.items():
        action = find(name, actions)
        if action is None:
            foreign.append(name)
        else:
            owner = next(owner for found, owner in owners if found is action)
            setattr(options.view_as(owner), *chosen(name, value, action))
    known = described(options) if foreign else ()
    for name in foreign:
        if name not in known:
            raise unknown(name, actions)
        options._all_options[name] = wanted[name]  # noqa: SLF001 - as PipelineOptions(name=value) does


def _owners(classes: Iterable[Any]) -> List[Tuple[argparse.Action, Any]]:
    """Return every option with the class of it: Beam's, the runners', and the program's own."""
    from apache_beam.options.pipeline_options import _BeamArgumentParser

    found = []
    for each in classes:
        parser = _BeamArgumentParser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
        each._add_argparse_args(parser)  # noqa: SLF001 - what subclasses define
        found += [(action, each) for action in parser._actions]  # noqa: SLF001 - there is no other way to list them
    return found
