"""Literal templating: parameters are replaced wherever their text appears, as in DaggyR."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen


@frozen
class Spelled:
    """A parameter's text found in a string."""

    name: str


def cut(text: str, spellings: Mapping[str, str]) -> list[str | Spelled]:
    """Cut a string at the texts that stand for parameters, the longest text first.

    Args:
        text: As written.
        spellings: The text that stands for each parameter, by its name.

    Returns:
        Literal pieces, none empty, and the parameters between them.
    """
    pieces: list[str | Spelled] = [text] if text else []
    for name, spelling in sorted(spellings.items(), key=lambda item: (-len(item[1]), item[1])):
        if spelling in text:
            pieces = [part for piece in pieces for part in _cut_one(piece, name, spelling)]
    return pieces


def _cut_one(piece: str | Spelled, name: str, spelling: str) -> list[str | Spelled]:
    if not isinstance(piece, str) or spelling not in piece:
        return [piece]
    parts: list[str | Spelled] = []
    for before in piece.split(spelling):
        parts += [before, Spelled(name)] if before else [Spelled(name)]
    return parts[:-1]
