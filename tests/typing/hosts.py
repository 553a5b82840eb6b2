"""What owners of a framework or a training loop write, and of a library of arrays. It runs on arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import regkit

if TYPE_CHECKING:
    from typing_extensions import assert_type
else:

    def assert_type(value: Any, kind: Any) -> Any:
        """Leave it to the type checker."""
        return value


class OwnLayer:
    """A framework's own layer: what hooks need is an output's name and parameters."""

    def __init__(self, output_name: str, params: Mapping[str, Any]) -> None:
        self.output_name = output_name
        self.params = params


class OwnEngine(regkit.graph.Engine):
    """A library of arrays of one's own."""

    name = "own"

    def owns(self, value: object) -> bool:
        """Tell whether it is of the library."""
        return isinstance(value, memoryview)

    def constant(self, value: float, dtype: str) -> Any:
        """Return a scalar."""
        return np.asarray(value, dtype)


def train(**keywords: Any) -> tuple[Any, dict[str, Any]]:
    """Take regularizers as keywords, for a network that is finished."""
    options, rest = regkit.split(keywords)
    assert_type(options, "dict[str, Any]")
    regs = regkit.build(options)
    layers = [
        regkit.Layer("in", outputs={"in": np.ones((2, 2))}, role="input"),
        regkit.Layer("hid", {"hid.w": np.eye(2)}, {"hid": np.ones((2, 2))}, role="hidden"),
        regkit.Layer("out", [np.eye(2)], {"out": np.ones((2, 2))}, role="output"),
    ]
    assert_type(regs.changes_graph, bool)
    done = assert_type(regs.regularize(layers, also=[], allow_changes=False), regkit.Regularized)
    assert_type(done.outputs, "dict[str, Any]")
    assert_type(done.also, "tuple[Any, ...]")
    for term in done.terms:
        name, _weight, _penalty, weighted = assert_type(term, regkit.Term)
        assert_type(name, str)
        assert weighted is term.weighted
    return done.loss, rest


def while_it_is_built() -> Any:
    """Let regularizers change each layer as it comes."""
    regs = regkit.build(hidden_l1=0.1, hidden_noise=0.1)
    layers = [OwnLayer("in", {}), OwnLayer("hid", {"hid.w": np.eye(2)}), OwnLayer("out", {})]
    outputs: dict[str, Any] = {}
    for layer in layers:
        of_layer: dict[str, Any] = {layer.output_name: np.ones((2, 2))}
        regs.modify_graph(of_layer, layers)
        outputs.update(of_layer)
    assert_type(regkit.hosts.unchanged(regs, outputs), "list[regkit.hosts.Member]")
    assert_type(regs.terms(layers, outputs), "list[regkit.Term]")
    assert_type(regs.metrics(layers, outputs), "dict[str, Any]")
    assert_type(regs.changes_params, "bool")
    regs.after_step({"hid.w": np.eye(2)}, 0.1, layers)
    regs.log()
    return regs.loss(layers, outputs)


def finished(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Change a finished graph, of a graph library."""
    return assert_type(regkit.build(dropout=0.5).apply(outputs), "dict[str, Any]")


def wrong() -> None:
    """What type checkers are to refuse: an ignore that is not needed is an error."""
    regkit.Layer("hid", outputs=[np.ones(2)])  # type: ignore[arg-type]
    regkit.build().regularize(3)  # type: ignore[arg-type]
    regkit.build().regularize([]).nonsense  # type: ignore[attr-defined]  # noqa: B018
    regkit.split(["hidden_l1"])  # type: ignore[arg-type]


if __name__ == "__main__":
    loss, rest = train(hidden_l1=0.1, weight_l2=0.1, momentum=0.9)
    assert loss > 0
    assert rest == {"momentum": 0.9}
    assert while_it_is_built() > 0
    assert OwnEngine().owns(memoryview(b""))
