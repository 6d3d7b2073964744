"""Why a task does not run, from what only the engine knows: use of its pool, order, trouble."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from daggy.attempt import Ticket
from daggy.engine.batches import fault
from daggy.engine.dispatch import PoolLink
from daggy.engine.engine import Engine
from daggy.engine.lacking import lacking
from daggy.engine.pool import pool_needs
from daggy.run import states
from daggy.run.ready import ReadyQueue
from daggy.run.run import Run
from daggy.view.explain import Because, Explanation, explain as of_run
from daggy.view.shapes import AttemptShape


def explain(engine: Engine, run: Run, index: int, attempts: Sequence[AttemptShape] | None = None) -> Explanation:
    """Return why a task of a run in memory is where it is, and what its turn waits for.

    Kinds beyond those of `daggy.view.explain`: `held` (nothing of the run is started), `pool` (it can start nothing at
    this moment), `machines` and `reserved` (as `daggy.engine.lacking`), `turn` (how many tasks go first), `waits` (what
    the place says to which it was handed out).
    """
    told = of_run(run, index, engine.place_names(), engine.now(), attempts)
    code = int(run.frontier.state[index])
    if code == states.SENT:
        return Explanation(told.state, [*_said(engine, run.ticket(index)), *told.because])
    if code != states.QUEUED:
        return told
    return Explanation(told.state, [*_waits(engine, run, index), *told.because])


def _said(engine: Engine, ticket: Ticket) -> Iterator[Because]:
    """Yield what its executor says of a task that has not begun."""
    pool = engine.state.flights.pool_of(ticket)
    executor = None if pool is None else engine.state.dispatcher.links[pool.name].executor
    if pool is None or executor is None:
        return
    try:
        message = executor.waits(ticket)
    except Exception as error:  # noqa: BLE001 - a plug-in is isolated: the rest is told whatever it raises
        message = fault(error)
    if message:
        yield {"kind": "waits", "pool": pool.name, "message": message}


def _waits(engine: Engine, run: Run, index: int) -> Iterator[Because]:
    if held := engine.runs.held(run.id):
        yield {"kind": "held", "message": held}
    queue = run.frontier.queue_of(index)
    link = engine.state.dispatcher.links.get(queue.policy.pool or engine.state.dispatcher.default_pool)
    if link is None:
        yield {"kind": "pool", "pool": queue.policy.pool, "message": f"there is no pool '{queue.policy.pool}'"}
        return
    if trouble := link.trouble or (engine.trouble and f"cannot save state: {engine.trouble}"):
        yield {"kind": "pool", "pool": link.pool.name, "message": trouble}
    needs = pool_needs(run, queue.policy.resources)
    absence = link.executor.absence if link.executor is not None else ""
    yield from lacking(link.pool, needs, link.pool.longest(queue.policy, needs), engine.now().wall, absence)
    yield from _turn(engine, run, queue, link)


def _turn(engine: Engine, run: Run, queue: ReadyQueue, link: PoolLink) -> Iterator[Because]:
    """Yield how many ready tasks of the pool have priority, and how many runs take turns with this one."""
    first = runs = 0
    for other in engine.runs.values():
        shares = False
        for number in other.frontier.ready:
            rival = other.frontier.queues[number]
            if (rival.policy.pool or engine.state.dispatcher.default_pool) != link.pool.name:
                continue
            if rival.policy.priority > queue.policy.priority:
                first += len(rival.tasks)
            elif rival.policy.priority == queue.policy.priority:
                shares = True
        runs += shares and other is not run
    if first or runs:
        yield {"kind": "turn", "first": first, "runs": runs}
