"""How far the energy of a harmonic oscillator drifts, by method of integration and size of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Sequence

DURATION = 10.0


class Method(Enum):
    EULER = "euler"
    LEAPFROG = "leapfrog"
    RUNGE_KUTTA = "runge-kutta"


@dataclass
class Outcome:
    method: Method
    step: float
    steps: int
    drift: float


def drift(method: Method, step: float) -> Outcome:
    """Integrate ten seconds of an oscillator of energy 1/2; return how far its energy is from that at most.

    Args:
        method: How.
        step: Seconds.
    """
    if not step > 0:
        raise ValueError(f"a step of {step} leads nowhere")
    advance = {Method.EULER: euler, Method.LEAPFROG: leapfrog, Method.RUNGE_KUTTA: runge_kutta}[method]
    steps = math.ceil(DURATION / step)
    x, v, most = 1.0, 0.0, 0.0
    for _ in range(steps):
        x, v = advance(x, v, step)
        most = max(most, abs((x * x + v * v) / 2 - 0.5))
    return Outcome(method, step, steps, most)


def cheapest(outcomes: Sequence[Outcome], tolerance: float) -> Outcome:
    """Return the outcome of the fewest steps among those with a drift that can be tolerated."""
    return min((one for one in outcomes if one.drift <= tolerance), key=lambda one: one.steps)


def euler(x: float, v: float, step: float) -> tuple[float, float]:
    return x + step * v, v - step * x


def leapfrog(x: float, v: float, step: float) -> tuple[float, float]:
    v -= step / 2 * x
    x += step * v
    return x, v - step / 2 * x


def runge_kutta(x: float, v: float, step: float) -> tuple[float, float]:
    def slope(dx: float, dv: float, share: float) -> tuple[float, float]:
        return v + share * step * dv, -(x + share * step * dx)

    first = slope(0, 0, 0)
    second = slope(*first, 0.5)
    third = slope(*second, 0.5)
    fourth = slope(*third, 1)
    dx, dv = ((a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(first, second, third, fourth))
    return x + step * dx, v + step * dv
