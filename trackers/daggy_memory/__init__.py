"""The memory tracker: keeps runs as long as the process lives, and no longer."""

from daggy_memory.tracker import MemorySettings as MemorySettings, MemoryTracker as MemoryTracker
