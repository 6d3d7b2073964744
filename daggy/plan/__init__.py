"""Plans: the tasks of a run as blocks, and the gates between them. Pure."""

from daggy.plan.blocks import Axis as Axis, Block as Block
from daggy.plan.build import MAX_TASKS as MAX_TASKS, grow as grow, plan as plan
from daggy.plan.difference import (
    Difference as Difference,
    DifferenceRow as DifferenceRow,
    changed_by_answer as changed_by_answer,
    difference as difference,
)
from daggy.plan.gates import GateArray as GateArray
from daggy.plan.parents import tasks_text as tasks_text
from daggy.plan.plans import PLAN_FORMAT as PLAN_FORMAT, Plan as Plan, examples as examples
from daggy.plan.summary import (
    ParentRow as ParentRow,
    SummaryRow as SummaryRow,
    plan_as_json as plan_as_json,
    summary as summary,
    summary_of as summary_of,
)
from daggy.plan.translation import earlier as earlier, present as present
