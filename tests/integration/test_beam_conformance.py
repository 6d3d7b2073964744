"""The Beam executor fulfils the interface of executors, on real Beam."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from daggy.testing import check_executor
from daggy_beam.executor import BeamExecutor
from daggy_beam.settings import BeamPoolSettings
from tests.integration.beam_rig import beam_python

pytestmark = [pytest.mark.mill, pytest.mark.timeout(3600)]  # a Beam job for each handful of tasks


def test_bundles_pass_the_checks(tmp_path: Path) -> None:
    # FnApiRunner deals elements out beforehand: with fewer workers, one that runs for long holds up others of a check.
    settings = BeamPoolSettings(
        staging=str(tmp_path / "staging"), python=beam_python(), workers=8, tasks_per_shard=1, most=100
    )
    trio.run(
        lambda: check_executor(
            lambda site: BeamExecutor(settings, site),
            tmp_path / "sites",
            durable=True,
            linger=True,
            holds=50,
            seconds=600,
        )
    )
