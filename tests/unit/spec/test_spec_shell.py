from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings, strategies as st

from daggy.spec.templating.shell import LOST, MARK, places, quote

M = MARK


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"echo {M}", [""]),
        (f"echo {M}{M}>f", ["", ""]),
        (f'echo "{M}"', ["quotes"]),
        (f"echo '{M}' {M}", ["quotes", ""]),
        (f"echo '\"' {M} '\"'", [""]),
        (f'echo "\'" {M}', [""]),
        (f'echo "a\\"{M}"', ["quotes"]),
        (f"echo \\' {M}", [""]),
        (f"echo \\\\{M}", [""]),
        (f"echo \\{M}", ["text after a backslash"]),
        (f"echo ${M}", ["text after a `$`"]),
        (f"# {M}\n{M}", ["a comment", ""]),
        (f"echo a#{M}", [""]),
        (f"echo {M} # it's\necho {M}", ["", ""]),
        (f"cat <<EOF\n{M}\nEOF\necho {M}", ["a here-document", ""]),
        (f"cat <<'EOF' <<-B\n{M}\nEOF\n\t{M}\n\tB\n{M}", ["a here-document", "a here-document", ""]),
        (f"cat <<A\nx\\\nA\n{M}\nA\n{M}", ["a here-document", ""]),
        (f"cat <<< {M}", [""]),
        (f"cat <<{M}", [LOST]),
        (f'echo "$(cat {M})" {M}', ["", ""]),
        (f'echo "$(cat "{M}")"', ["quotes"]),
        (f'echo "$(cat "$(cat {M})")"', [""]),
        (f"echo `cat {M}` {M}", ["backquotes", ""]),
        (f"echo $(({M}+1)) {M}", ["arithmetic", ""]),
        (f"echo ${{x:-{M}}} {M}", ["`${ }`", ""]),
        (f'echo "${{x:-{M}}}" {M}', ["`${ }`", ""]),
        (f"echo ${{#x}} {M}", [""]),
        (f"case {M} in a) echo {M};; esac", ["", ""]),
        (f'echo "$(case x in a) echo {M};; esac)"', [LOST]),
        (f"( echo {M} ) | cat", [""]),
        (f"echo $'\\'{M}'", [LOST]),
        (f"echo $[{M}]", [LOST]),
        (f'a\\\n#"\n{M}"', [LOST]),
        (f"a \\\n b {M}", [""]),
        (f"a\\ #'\n{M}", ["quotes"]),
        (f"$()#'\n{M}", ["quotes"]),
        (f"$${{x #}}'\n{M}", [""]),
        (f"$((){M}", [LOST]),
        (f"$(( (1) ))#'{M}", ["quotes"]),
        (f"cat <<A\n$(\nA\n{M}", [LOST]),
        (f"cat <<A\n$(date) ${{x}} \\$(\nA\n{M}", [""]),
        (f"cat <<'A'\n$(\nA\n{M}", [""]),
    ],
)
def test_where_a_substitution_stands(text: str, expected: list[str]) -> None:
    assert places(text) == expected


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1, max_size=20))
def test_a_quoted_text_is_one_word_of_a_real_shell(texts: list[str]) -> None:
    script = "printf '%s\\0' " + " ".join(map(quote, texts))
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == texts


PIECES = [
    M,
    M,
    M,
    "'",
    '"',
    "\\",
    "\n",
    " ",
    "$",
    "`",
    "(",
    ")",
    "$(",
    "$((",
    "))",
    "${x:-",
    "}",
    "#",
    " #",
    ":",
    " echo ",
    "<<E\n",
    "\nE\n",
    ";",
    "case x in a)",
    "esac",
    "a",
    "{",
    "<",
    "&&",
    "|",
]
ATTACK = (
    "PWNED; echo PWNED; $(echo PWNED>&2) `echo PWNED>&2` '$(echo PWNED>&2)' \"$(echo PWNED>&2)\""
    "\necho PWNED>&2\nE\necho PWNED>&2\n#"
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=14))
def test_what_may_be_substituted_never_runs(pieces: list[str]) -> None:
    text = "".join(pieces)
    found = places(text)
    assert len(found) == text.count(M)
    if not found or any(found):
        return
    script = text.replace(M, quote(ATTACK))
    # Builtins only, nothing is found on the PATH; what the attack writes to standard error is expanded text.
    done = subprocess.run(
        ["/bin/sh", "-c", "exec 3>&2 2>/dev/null\n" + "eval " + quote(script.replace(">&2", ">&3"))],
        capture_output=True,
        env={"PATH": "/nonexistent"},
        stdin=subprocess.DEVNULL,
        timeout=20,
        check=False,
    )
    assert b"PWNED" not in done.stderr, script
