"""Conformance checks that every executor, tracker and kind of task must pass, and an executor that runs nothing."""

from daggy.testing.executors import check_executor as check_executor
from daggy.testing.kinds import check_kind as check_kind
from daggy.testing.noop import NoopExecutor as NoopExecutor, NoopSettings as NoopSettings, finish as finish
from daggy.testing.trackers import check_tracker as check_tracker
