"""Who is let in: names, tokens, cookies, origins; against an application that says what reaches it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from daggy.server.access import LONGEST_QUERY, Access, Identity, names_of

TOKEN = "t" * 43
LOCAL = {"host": "127.0.0.1:2503"}
SHOWN = {**LOCAL, "authorization": f"Bearer {TOKEN}"}
COOKIE = {**LOCAL, "cookie": f"daggy_2503={TOKEN}"}


class Answer:
    """What came of one request."""

    def __init__(self, messages: list[Any], reached: list[str]) -> None:
        self.status = messages[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        self.body = b"".join(message.get("body", b"") for message in messages[1:])
        self.is_passed = bool(reached)

    @property
    def code(self) -> str:
        code: str = json.loads(self.body)["error"]["code"]
        return code


async def ask(
    headers: dict[str, str], path: str = "/api/v1/runs", query: str = "", method: str = "GET", **identity: Any
) -> Answer:
    reached: list[str] = []
    messages: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"yes"})

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode("latin-1"),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
    }
    await Access(app, Identity(TOKEN, 2503, **identity))(scope, receive, send)
    return Answer(messages, reached)


@pytest.mark.trio
async def test_the_token_lets_in_whatever_the_case_of_its_scheme() -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert (await ask({**LOCAL, "authorization": f"{scheme} {TOKEN}"})).is_passed


WRONG = [
    "",
    "Bearer",
    f"Bearer {TOKEN}x",
    f"Bearer {TOKEN[1:]}",
    f"Basic {TOKEN}",
    TOKEN,
    f"Bearer {TOKEN} x",
    "Bearer \xff",
]


@pytest.mark.parametrize("shown", WRONG)
@pytest.mark.trio
async def test_nothing_else_does(shown: str) -> None:
    answer = await ask({**LOCAL, "authorization": shown})
    assert not answer.is_passed
    assert (answer.status, answer.code) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == 'Bearer realm="daggy"'


@pytest.mark.trio
async def test_readiness_needs_no_token_but_a_name() -> None:
    assert (await ask(LOCAL, "/ready")).is_passed
    assert (await ask(LOCAL, "/api/v1/ready")).is_passed
    assert (await ask({"host": "evil.example"}, "/ready")).status == 421
    assert (await ask(LOCAL, "/ready/x")).status == 401


NAMES = ["127.0.0.1", "127.0.0.1:2503", "127.8.8.8:80", "localhost", "LOCALHOST.:1", "[::1]", "[::1]:2503"]
STRANGERS = [
    "",
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "10.1.2.3",
    "[2001:db8::1]:2503",
    "127.0.0.1:x",
    "localhost:٣",
    "user@localhost",
    "127.1",
    "0x7f000001",
    "::1",
    "[::1",
    "localhost:80:80",
    "0.0.0.0:2503",
]


def test_a_local_server_answers_to_this_machine_alone() -> None:
    identity = Identity(TOKEN, 2503)
    assert [name for name in NAMES if not identity.answers_to(name)] == []
    assert [name for name in STRANGERS if identity.answers_to(name)] == []


def test_a_remote_server_answers_to_addresses_and_its_own_names() -> None:
    identity = Identity(TOKEN, 2503, names_of(["Box.Example."]), is_remote=True)
    for name in ("10.1.2.3:2503", "box.example", "BOX.example:2503", "[2001:db8::1]:2503"):
        assert identity.answers_to(name)
    assert not identity.answers_to("other.example")
    assert not Identity(TOKEN, 2503, names_of(["box"])).answers_to("10.1.2.3")


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=40))
def test_any_header_is_either_a_name_or_not(text: str) -> None:
    assert Identity(TOKEN, 2503).answers_to(text) in (True, False)


@given(st.binary(max_size=60))
def test_no_other_bytes_are_the_token(shown: bytes) -> None:
    assert Identity(TOKEN, 2503).is_token(shown) == (shown == TOKEN.encode())


@pytest.mark.trio
async def test_a_browser_gets_a_cookie_and_loses_the_token_from_its_address() -> None:
    answer = await ask(LOCAL, "/docs", f"token={TOKEN}")
    assert (answer.status, answer.headers["location"], answer.is_passed) == (303, "/docs", False)
    assert answer.headers["set-cookie"].startswith(f"daggy_2503={TOKEN}; Path=/; HttpOnly; SameSite=Strict")
    assert (await ask(LOCAL, "/docs", "token=wrong")).status == 401
    assert (await ask(LOCAL, "/docs", "token=%ff%00")).status == 401
    assert (await ask(LOCAL, "/docs", f"token={TOKEN}", method="POST")).status == 401
    assert (await ask(LOCAL, "/api/v1/runs", f"token={TOKEN}")).status == 401, "an address is no place for a token"


BESIDE = ["@", 'a={"x":1}; @', "a=b; @; c=d", 'broken="; @', "=; ;; @", "daggy_2503=old; @", "{daggy}=1; @", "\xff;@"]


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.trio
async def test_the_cookie_counts_whatever_stands_beside_it(beside: str) -> None:
    cookie = beside.replace("@", f"daggy_2503={TOKEN}")
    assert (await ask({**LOCAL, "cookie": cookie})).is_passed


@pytest.mark.parametrize(
    "cookie",
    [f"daggy_2504={TOKEN}", f"xdaggy_2503={TOKEN}", f"daggy_2503={TOKEN}x", "daggy_2503", f"a=daggy_2503={TOKEN}"],
)
@pytest.mark.trio
async def test_other_cookies_do_not(cookie: str) -> None:
    assert (await ask({**LOCAL, "cookie": cookie})).status == 401


SAME = [
    {"origin": "http://127.0.0.1:2503"},
    {"sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "same-origin", "origin": "https://proxy"},
]
CROSS = [
    {},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:2504"},
    {"origin": "http://evil.example"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:2503"},
    {"sec-fetch-site": "none"},
    {"origin": ""},
]


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "PUT", "OPTIONS"])
@pytest.mark.trio
async def test_with_a_cookie_only_own_pages_change_anything(method: str) -> None:
    for headers in SAME:
        assert (await ask({**COOKIE, **headers}, method=method)).is_passed
    for headers in CROSS:
        answer = await ask({**COOKIE, **headers}, method=method)
        assert (answer.status, answer.code, answer.is_passed) == (403, "forbidden", False)
        assert (await ask({**SHOWN, **headers}, method=method)).is_passed, "who shows the token is no browser's victim"


@pytest.mark.trio
async def test_a_cookie_reads() -> None:
    for headers in (*SAME, *CROSS):
        assert (await ask({**COOKIE, **headers})).is_passed


@pytest.mark.trio
async def test_long_queries_are_refused() -> None:
    assert (await ask(SHOWN, query="x" * LONGEST_QUERY)).is_passed
    assert (await ask(SHOWN, query="x" * (LONGEST_QUERY + 1))).status == 400


@pytest.mark.trio
async def test_every_answer_says_how_it_may_be_used() -> None:
    for answer in (
        await ask(SHOWN),
        await ask(LOCAL),
        await ask({"host": "x"}),
        await ask(LOCAL, "/", f"token={TOKEN}"),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.trio
@pytest.mark.parametrize("path", ["/api/v1/agent", "/api/v1/runs"])  # and no agents are taken
async def test_websockets_are_closed(path: str) -> None:
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message["type"])

    scope = {"type": "websocket", "path": path}
    await Access(None, Identity(TOKEN, 1))(scope, None, send)  # type: ignore[arg-type] # nobody is asked
    assert said == ["websocket.close"]
