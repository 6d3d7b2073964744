"""List the sonnets and answer with a task that counts the words of each, and one that adds them up."""

import json
from pathlib import Path

sonnets = sorted(int(path.stem) for path in Path("sonnets").glob("*.txt"))
answer = {
    "parameters": {"SONNET": sonnets},
    "tasks": {
        "count": {
            "details": {"shell": "mkdir -p out/words && wc -w < sonnets/{{ SONNET }}.txt > out/words/{{ SONNET }}"}
        },
        "total": {
            "details": {"shell": "cat out/words/* | awk '{n += $1} END {print n, \"words\"}' > out/total"},
            "parents": ["count"],
        },
    },
}
print(json.dumps(answer))
