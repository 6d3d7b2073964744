"""The newest run has a name in every path of the API."""

from __future__ import annotations

from pathlib import Path

import jsonschema

from tests.integration.serve_rig import serving, task


def test_last_stands_for_the_newest_run_in_every_path(tmp_path: Path) -> None:
    with serving(tmp_path / "state") as server:
        none = server.api("GET", "/runs/last")
        assert none.status_code == 404
        assert "no runs yet" in none.json()["error"]["message"]
        server.ended(server.submit({"a": task("echo", "first")}))
        run = server.submit({"a": task("echo", "second"), "b": task("sleep", "1000")})
        server.until(lambda: server.get("/runs/last/tasks/0")["state"] == "completed")
        assert server.get("/runs/last")["run_id"] == run
        assert server.api("GET", "/runs/last/tasks/0/logs/stdout?limit=3").text == "sec"
        assert server.api("PATCH", "/runs/last?dry_run=true", json={"requeue": "a"}).status_code == 200
        assert server.api("POST", "/runs/last/kill", json={"selector": "b"}).json()["run_id"] == run
        server.ended(run)
        assert server.api("DELETE", "/runs/last?forget=true").json()["run_id"] == run
        assert server.get("/runs/last")["run_id"] == run - 1
        assert server.api("GET", "/runs/lasting").status_code == 404
        described = server.http.get("/openapi.json").json()["paths"]["/api/v1/runs/{run_id}"]["get"]["parameters"][0]
        for one in (run, "last"):
            jsonschema.validate(one, described["schema"])
