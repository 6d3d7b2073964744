"""Large specs go into SQLite and out of it in pieces, and come back as they were."""

from pathlib import Path

import pytest

from daggy.tracker import Submitted
from daggy_sqlite import SqliteTracker, blobs


@pytest.mark.parametrize("size", [0, 1, blobs.LARGE - 1, blobs.LARGE, blobs.LARGE + 1, 3 * blobs.LARGE + 7])
def test_a_spec_comes_back_as_it_was(tmp_path: Path, size: int) -> None:
    spec = bytes(range(256)) * (size // 256 + 1)
    spec = spec[:size]
    tracker = SqliteTracker(SqliteTracker.Settings(), tmp_path)
    tracker.append([Submitted(1, 1, spec, "digest", "name", {}, 5.0)])
    tracker.append([Submitted(1, 2, spec[::-1], "other", "name", {}, 6.0, keep_downstream=True, actor="me")])
    reader = SqliteTracker.open_readonly(SqliteTracker.Settings(), tmp_path)
    for one in (tracker, reader):
        first, second = one.history(1).versions
        assert (first.version, first.spec, first.digest, first.at, first.keep_downstream) == (
            1, spec, "digest", 5.0, False
        )  # fmt: skip
        assert (second.version, second.spec, second.digest, second.keep_downstream) == (2, spec[::-1], "other", True)
    reader.close()
    tracker.close()
