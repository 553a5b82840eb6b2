"""What hooks see in the place of a host's arrays, where those do not behave as NumPy's do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..graph.engines import engine_of
from ..layers import Layer, named_params
from .penalties import Term

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping, Sequence

    from ..graph.engine import Engine


class Expressions:
    """The expressions around the arrays of one call, the same around an array wherever it comes.

    An array that is an expression already stays what it is, and so does what is made of it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._made: dict[int, tuple[Any, Any]] = {}  # by an array's id: the array, so that it lives
        self._given = False  # whether the host's arrays are expressions already

    @classmethod
    def needed(cls, engine: Engine | None, layers: Sequence[Any]) -> Expressions | None:
        """Return expressions for a call of a host; None where its arrays are expressions as they are.

        `engine` is that of the outputs.
        """
        if engine is None:  # no outputs: the parameters tell
            params = (param for layer in layers for _, param in named_params(layer))
            engine = next((own for own in map(engine_of, params) if own is not None), None)
        return cls(engine) if engine is not None and engine.wraps else None

    def of(self, array: Any) -> Any:
        """Return the expression of an array."""
        made = self._made.get(id(array))
        if made is None:
            made = self._made[id(array)] = array, self._engine.wrap(array)
            self._given = self._given or made[1] is array
        return made[1]

    def of_each(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Return the expressions of named arrays."""
        return {name: self.of(array) for name, array in arrays.items()}

    def layers(self, layers: Sequence[Any]) -> list[Layer]:
        """Return the layers with expressions for parameters; one of a host's own class has its name and role."""
        return [
            Layer(layer.output_name, self.of_each(dict(named_params(layer))), role=getattr(layer, "role", None))
            for layer in layers
        ]

    def array(self, expression: Any) -> Any:
        """Return what the host gets for an expression."""
        own = None if self._given else engine_of(expression)
        return expression if own is None else own.unwrap(expression)

    def back(self, expressions: Mapping[str, Any], outputs: MutableMapping[str, Any]) -> None:
        """Put what has become of the expressions into the host's outputs."""
        for name, expression in expressions.items():
            array = self.array(expression)
            if outputs.get(name) is not array:
                outputs[name] = array

    def terms(self, terms: Iterable[Term]) -> list[Term]:
        """Return terms as the host gets them."""
        return [term._replace(penalty=self.array(term.penalty), weighted=self.array(term.weighted)) for term in terms]
