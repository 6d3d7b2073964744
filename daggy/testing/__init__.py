"""Conformance checks that every executor and tracker must pass, and an executor that runs nothing."""

from daggy.testing.executors import check_executor as check_executor
from daggy.testing.noop import NoopExecutor as NoopExecutor, NoopSettings as NoopSettings, finish as finish
from daggy.testing.trackers import check_tracker as check_tracker
