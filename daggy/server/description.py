"""What the API's description says beyond what the routes' signatures do: bodies that are read by hand."""

from __future__ import annotations

from typing import Any

from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema


def _operation(
    name: str, description: str, content: Schema, example: dict[str, Any], *, required: bool
) -> type[Operation]:
    body = RequestBody(
        content={"application/json": OpenAPIMediaType(schema=content, example=example)},
        description=description,
        required=required,
    )

    class Described(Operation):
        """An operation with this body."""

        def __post_init__(self) -> None:
            """Put the body in."""
            self.request_body = body

    Described.__name__ = name
    return Described


def _object(**properties: Schema) -> Schema:
    return Schema(type=OpenAPIType.OBJECT, properties=dict(properties), additional_properties=False)


_SPEC = {"directory": "/tmp", "tasks": {"hello": {"details": {"command": ["echo", "hello"]}}}}  # noqa: S108 - an example
_FLAG = Schema(type=OpenAPIType.BOOLEAN)
_SELECTOR = Schema(description="An index, a task's name, a template; a list of these; or an object that narrows them.")
_ANY = Schema(type=OpenAPIType.OBJECT, description="A run spec; `daggy schema` says all.", additional_properties=True)

SPEC = _operation("SubmitOperation", "The run spec.", _ANY, _SPEC, required=True)
"""Of a submission."""

EDIT = _operation(
    "EditOperation",
    "What to change; empty: resume.",
    _object(
        spec=_ANY,
        resume=_FLAG,
        requeue=_SELECTOR,
        keep_downstream=_FLAG,
    ),
    {"requeue": "report"},
    required=False,
)
"""Of an edit."""

KILL = _operation(
    "KillOperation", "Which tasks; empty: the whole run.", _object(selector=_SELECTOR), {"selector": "report"},
    required=False,
)  # fmt: skip
"""Of a kill."""
