"""Scopes: where the templates of the spec, and those of each generator's answer, are found by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from attrs import frozen

from daggy.plan.blocks import Block

Place = tuple[Block, int]
"""A planned template: its block, and its row if that is an explicit one, else -1."""


@frozen(eq=False)
class Scope:
    """The templates of one spec or answer: product blocks by name, and the explicit block if there is one."""

    products: Mapping[str, Block]
    explicit: Block | None

    def place(self, name: str) -> Place | None:
        """Return where the template with this name is."""
        block = self.products.get(name)
        if block is not None:
            return block, -1
        row = -1 if self.explicit is None else self.explicit.rows.get(name, -1)
        return (self.explicit, row) if self.explicit is not None and row >= 0 else None

    def partner(self, block: Block) -> Block | None:
        """Return the block that holds the same template, or all without parameters, as one of another scope."""
        return self.explicit if block.explicit else self.products.get(block.templates[0].name)

    def blocks(self) -> Iterator[Block]:
        """Yield all blocks."""
        yield from self.products.values()
        if self.explicit is not None:
            yield self.explicit

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the templates."""
        return chain(self.products, () if self.explicit is None else self.explicit.rows)


def scope_of(blocks: Sequence[Block]) -> Scope:
    """Return the scope that these blocks form."""
    products = {block.templates[0].name: block for block in blocks if not block.explicit}
    return Scope(products, next((block for block in blocks if block.explicit), None))
