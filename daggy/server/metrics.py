"""Metrics of the server in Prometheus' text format, with bounded sets of labels."""

from __future__ import annotations

from collections.abc import Iterator

import trio
from litestar import Response, get
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from daggy.attempt import RunState, State
from daggy.engine.engine import Engine
from daggy.engine.nodes import NodeStatus
from daggy.executor import NodeState
from daggy.server.requests import Asked, service_of

TYPE = "text/plain; version=0.0.4; charset=utf-8"

BEAT = 0.1
"""Seconds between two looks at how late the loop is."""

METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")
"""Any other method counts as 'other'."""


class Meter:
    """The figures of one server: those counted as it goes, and those that its engine knows."""

    def __init__(self, engine: Engine) -> None:
        """Begin at zero."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.registry.register(Figures(engine))
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "daggy_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self._late = Histogram(
            "daggy_loop_late_seconds",
            "Lateness of the loop, measured ten times a second.",
            buckets=(0.002, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5),
            registry=self.registry,
        )

    def count(self, method: str, route: str, status: int) -> None:
        """Count a request; `route` is the template of its path, empty if there is none."""
        self._requests.labels(method if method in METHODS else "other", route or "other", str(status)).inc()

    async def watch(self) -> None:
        """Look at how late the loop is, until cancelled."""
        while True:
            due = trio.current_time() + BEAT
            await trio.sleep_until(due)
            self._late.observe(trio.current_time() - due)

    def text(self) -> bytes:
        """Return all figures."""
        return generate_latest(self.registry)


class Figures:
    """Collects the figures of an engine on request."""

    def __init__(self, engine: Engine) -> None:
        """Keep the engine."""
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """Yield all figures."""
        engine = self._engine
        yield from self._runs()
        yield from self._pools()
        yield from self._nodes()
        yield _gauge("daggy_ready", "Whether work goes on as it should.", not engine.readiness())
        behind = engine.writer.last - engine.writer.done
        yield _gauge("daggy_tracker_behind", "Batches of entries that are given and not kept yet.", behind)
        yield _gauge("daggy_tracker_trouble", "Whether state cannot be saved at the moment.", bool(engine.trouble))
        yield _gauge("daggy_followers", "Streams of events that are open.", engine.news.followers)
        told = CounterMetricFamily("daggy_events", "Events that were sent.")
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
        yield from (runs, tasks)

    def _pools(self) -> Iterator[Metric]:
        attempts = CounterMetricFamily("daggy_attempts", "Attempts that ended.", labels=["pool", "reason"])
        pools = self._engine.status()
        for pool in pools:
            for reason, count in pool.attempts.items():
                attempts.add_metric([pool.name, reason.name.lower()], float(count))
        yield attempts
        trouble = GaugeMetricFamily("daggy_pool_trouble", "Whether a pool's executor is in trouble.", labels=["pool"])
        running = GaugeMetricFamily("daggy_running", "Tasks that run.", labels=["pool"])
        waiting = GaugeMetricFamily("daggy_sent_ahead", "Tasks that wait at launchers.", labels=["pool"])
        totals = GaugeMetricFamily("daggy_pool_total", "Resources of a pool's machines.", labels=["pool", "resource"])
        used = GaugeMetricFamily("daggy_pool_used", "Resources in use.", labels=["pool", "resource"])
        for pool in pools:
            trouble.add_metric([pool.name], float(bool(pool.trouble)))
            running.add_metric([pool.name], sum(machine.running for machine in pool.machines))
            waiting.add_metric([pool.name], sum(machine.waiting for machine in pool.machines))
            for name in sorted({name for machine in pool.machines for name in (*machine.totals, *machine.used)}):
                totals.add_metric([pool.name, name], sum(one.totals.get(name, 0.0) for one in pool.machines))
                used.add_metric([pool.name, name], sum(one.used.get(name, 0.0) for one in pool.machines))
        yield from (trouble, running, waiting, totals, used)

    def _nodes(self) -> Iterator[Metric]:
        nodes = GaugeMetricFamily("daggy_nodes", "Machines of pools, by state.", labels=["pool", "state"])
        silent = GaugeMetricFamily("daggy_node_silent_seconds", "Longest silence of a pool's nodes.", labels=["pool"])
        by_pool: dict[str, list[NodeStatus]] = {}
        for node in self._engine.nodes.listed():
            by_pool.setdefault(node.pool, []).append(node)
        now = self._engine.clock()
        for pool, there in by_pool.items():
            for state in NodeState:
                nodes.add_metric([pool, state.value], sum(node.state == state.value for node in there))
            silences = [now - node.since for node in there if node.state == NodeState.SILENT.value]
            silent.add_metric([pool], max(silences, default=0.0))
        yield from (nodes, silent)


def _gauge(name: str, told: str, value: float) -> Metric:
    gauge = GaugeMetricFamily(name, told)
    gauge.add_metric([], float(value))
    return gauge


def meter_of(request: Asked) -> Meter:
    """Return the server's meter; an application without a server makes one on demand."""
    state = request.app.state
    if "meter" not in state:
        state["meter"] = Meter(service_of(request).engine)
    meter: Meter = state["meter"]
    return meter


@get("/metrics", summary="Figures for Prometheus", media_type="text/plain")
async def metrics(request: Asked) -> Response[bytes]:
    """Return figures in Prometheus' text form."""
    return Response(meter_of(request).text(), headers={"Content-Type": TYPE})


HANDLERS = [metrics]
"""What the application serves."""
