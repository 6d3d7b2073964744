"""What a monitor asks for: figures of the server in Prometheus' text form, with bounded sets of labels."""

from __future__ import annotations

import time
from collections.abc import Iterator

from litestar import Response, get
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from daggy.attempt import Reason, RunState, State
from daggy.engine.engine import Engine
from daggy.server.runs import Asked, service_of

TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Figures:
    """Collects the figures of an engine when somebody asks."""

    def __init__(self, engine: Engine) -> None:
        """Keep the engine."""
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """Yield all figures."""
        yield from self._runs()
        yield from self._pools()
        engine = self._engine
        ready = GaugeMetricFamily("daggy_ready", "Whether work goes on as it should.")
        ready.add_metric([], 0.0 if engine.readiness() else 1.0)
        yield ready
        behind = GaugeMetricFamily("daggy_tracker_behind", "Batches of entries that are given and not kept yet.")
        behind.add_metric([], engine.writer.last - engine.writer.done)
        yield behind
        followers = GaugeMetricFamily("daggy_followers", "Streams of events that are open.")
        followers.add_metric([], engine.news.followers)
        yield followers
        told = CounterMetricFamily("daggy_events", "Events that were told.")
        told.add_metric([], engine.news.last)
        yield told

    def _runs(self) -> Iterator[Metric]:
        runs = GaugeMetricFamily("daggy_runs", "Runs in memory, by state.", labels=["state"])
        tasks = GaugeMetricFamily("daggy_tasks", "Tasks of runs that have not ended, by state.", labels=["state"])
        by_state = dict.fromkeys(RunState, 0)
        counts = dict.fromkeys((state.name.lower() for state in State), 0)
        for run in self._engine.runs.values():
            by_state[run.state] += 1
            if not run.is_ended:
                for state, count in run.counts().items():
                    counts[state] += count
        for run_state, count in by_state.items():
            runs.add_metric([run_state.name.lower()], count)
        for state, count in counts.items():
            tasks.add_metric([state], count)
        yield runs
        yield tasks

    def _pools(self) -> Iterator[Metric]:
        attempts = CounterMetricFamily("daggy_attempts", "Attempts that ended.", labels=["pool", "reason"])
        for pool, reasons in self._engine.ended_attempts.items():
            for reason in Reason:
                attempts.add_metric([pool, reason.name.lower()], float(reasons[reason]))
        yield attempts
        running = GaugeMetricFamily("daggy_running", "Tasks that run.", labels=["pool"])
        waiting = GaugeMetricFamily("daggy_sent_ahead", "Tasks that wait at launchers.", labels=["pool"])
        totals = GaugeMetricFamily("daggy_pool_total", "Resources of a pool's machines.", labels=["pool", "resource"])
        used = GaugeMetricFamily("daggy_pool_used", "Resources in use.", labels=["pool", "resource"])
        for pool, line in self._engine.dispatcher.lines.items():
            machines = line.pool.machines.values()
            shares = [share for one in machines for share in (*one.shares.values(), *one.adopted.values())]
            running.add_metric([pool], sum(share.running for share in shares))
            waiting.add_metric([pool], sum(share.waiting for share in shares))
            for name in sorted({name for machine in machines for name in machine.totals}):
                totals.add_metric([pool, name], sum(machine.totals.get(name, 0.0) for machine in machines))
                used.add_metric([pool, name], sum(machine.used().get(name, 0.0) for machine in machines))
        yield from (running, waiting, totals, used)


@get("/metrics", summary="Figures for Prometheus", media_type="text/plain")
async def metrics(request: Asked) -> Response[bytes]:
    """Return figures in Prometheus' text form."""
    registry = CollectorRegistry()
    registry.register(Figures(service_of(request).engine))
    ProcessCollector(registry=registry)
    clock = GaugeMetricFamily("daggy_time_seconds", "This moment, in seconds since 1970.")
    clock.add_metric([], time.time())
    return Response(generate_latest(registry), headers={"Content-Type": TYPE})


HANDLERS = [metrics]
"""What the application serves."""
