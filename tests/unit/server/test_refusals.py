"""The body of an error can be encoded, whatever text of the request it quotes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given, strategies as st

from daggy.server.refusals import body

TEXT = st.text(st.sampled_from("\ud800\udfff\ud83d\0aé"))


@given(TEXT, TEXT)
def test_an_error_that_quotes_half_a_surrogate_pair_can_be_encoded(message: str, path: str) -> None:
    problems = [{"path": path, "message": message, "mend": ""}]
    told: dict[str, Any] = json.loads(msgspec.json.encode(body(422, message, problems)).decode())
    if not any("\ud800" <= letter <= "\udfff" for letter in message + path):
        assert (told["error"]["message"], told["error"]["problems"]) == (message, problems)
    assert told["error"]["code"] == "invalid_spec"
