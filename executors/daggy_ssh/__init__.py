"""The ssh executor: runs tasks on machines that can be reached by SSH; they need a shell and a Python."""

from daggy_ssh.executor import SshExecutor as SshExecutor
from daggy_ssh.settings import SshHost as SshHost, SshSettings as SshSettings
