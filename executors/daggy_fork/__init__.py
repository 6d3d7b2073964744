"""The fork executor: runs tasks as processes on this machine."""

from daggy_fork.executor import ForkExecutor as ForkExecutor
from daggy_fork.settings import ForkSettings as ForkSettings
