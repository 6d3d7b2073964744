"""The Slurm executor: runs tasks in the allocations of a cluster."""

from daggy_slurm.executor import SlurmExecutor as SlurmExecutor
from daggy_slurm.settings import SlurmSettings as SlurmSettings
