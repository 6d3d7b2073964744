"""Run specs as users write them: documents, specs and their templates."""

from __future__ import annotations

from daggy.spec.document import (
    CALLED_FROM as CALLED_FROM,
    Document as Document,
    load_file as load_file,
    overlay as overlay,
)
from daggy.spec.model import (
    Defaults as Defaults,
    Dependency as Dependency,
    Details as Details,
    On as On,
    Policy as Policy,
    RunSpec as RunSpec,
    Template as Template,
    Templating as Templating,
    Value as Value,
    Values as Values,
)
from daggy.spec.parameters import (
    ListValues as ListValues,
    RangeValues as RangeValues,
)
from daggy.spec.schema import (
    schema as schema,
)
from daggy.spec.templating.recipe import (
    Builtins as Builtins,
    Recipe as Recipe,
    Rendered as Rendered,
    recipe as recipe,
)
from daggy.spec.templating.text import (
    Text as Text,
    compile_text as compile_text,
    normalise as normalise,
)
from daggy.spec.validate import (
    VERSION as VERSION,
    parse as parse,
    parse_fragment as parse_fragment,
)
