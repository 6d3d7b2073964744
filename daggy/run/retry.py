"""Whether and when a task is tried again: pure arithmetic over a policy and what has happened."""

from __future__ import annotations

from daggy.attempt import Reason
from daggy.spec.model import Policy
from daggy.spec.task import RETRIED

LONGEST_DELAY = 3600.0
"""Seconds; no delay between retries is longer."""

RETRIABLE = frozenset(Reason[name.upper()] for name in RETRIED)


def is_retriable(policy: Policy, reason: int, code: int) -> bool:
    """Return whether a policy retries an attempt that ended like this."""
    if reason not in RETRIABLE:
        return False
    if policy.retry_on is None:
        return True
    return Reason(reason).name.lower() in policy.retry_on or (reason == Reason.EXIT and code in policy.retry_on)


def delay(policy: Policy, failures: int, seed: tuple[int, int, int]) -> float:
    """Return the seconds to wait before the retry after this many failures.

    Args:
        policy: Gives delay and backoff.
        failures: At least 1.
        seed: (run, task, attempt): the jitter is a hash of it, so that a repeated run waits the same.
    """
    if policy.retry_delay <= 0:
        return 0.0
    try:
        plain = policy.retry_delay * policy.retry_backoff ** (failures - 1)
    except OverflowError:
        plain = LONGEST_DELAY
    return min(LONGEST_DELAY, plain * (0.5 + _uniform(seed)))


def _uniform(seed: tuple[int, int, int]) -> float:
    """Return a number in [0, 1) that looks random: SplitMix64 over the seed (Steele, Lea, Flood 2014)."""
    word = 0
    for part in seed:
        word = (word + part + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        word ^= word >> 31
    return word / 2.0**64
