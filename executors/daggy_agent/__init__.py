"""The agent executor: runs tasks on machines that call in by themselves, by `daggy agent`."""

from daggy_agent.executor import AgentExecutor as AgentExecutor
from daggy_agent.settings import AgentSettings as AgentSettings
