"""What authors of plugins write: regularizers of both kinds, and their proof. It runs on arrays."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

import regkit
import regkit.testing


class OfOutputs(regkit.Regularizer):
    """A penalty of outputs, with an option of each kind; its hook takes one argument of two.

    Parameters
    ----------
    pattern, weight
        As of `regkit.Regularizer`.
    reduction : {"sum", "mean", "batch"}
    rho : float
    wrt : str
    """

    default_selection = "all hidden layers"

    def __init__(
        self,
        pattern: str | Sequence[str] | None = None,
        weight: Any = 0.0,
        reduction: str = "sum",
        rho: float = 0.5,
        wrt: str | None = None,
    ) -> None:
        super().__init__(pattern, weight)
        self.reduction = self.checked_choice("reduction", reduction, self.REDUCTIONS)
        self.rho = self.checked_number("rho", rho, low=0.0, high=1.0)
        self.wrt = self.checked_pattern("wrt", wrt)

    def loss(self, outputs: Mapping[str, Any]) -> Any:
        """Return the penalty."""
        selected = regkit.select_outputs(outputs, self.pattern)
        if not selected:
            raise regkit.GraphError("nothing is selected")
        elements = [regkit.graph.absolute(regkit.graph.widened(z)) for _, z in selected]
        scale = regkit.graph.held(
            regkit.graph.functions(elements[0]).exp(regkit.graph.total([e.sum() for e in elements]))
        )
        scale = regkit.graph.cast(scale, str(elements[0].dtype))
        return regkit.graph.mean([regkit.graph.reduced_sum(e / scale, self.reduction) for e in elements])


class OfParameters(regkit.Regularizer):
    """A penalty of parameters; its hook takes the other argument."""

    def loss(self, layers: Sequence[regkit.Layer]) -> Any:
        """Return the penalty."""
        return regkit.graph.total([(w * w).sum() for _, w in regkit.select_params(layers, self.pattern)])

    def after_step(self, params: MutableMapping[str, Any], amount: Any) -> None:
        """Shrink."""
        params.update((name, w - w * regkit.graph.cast(amount, str(w.dtype))) for name, w in params.items())

    def metrics(self, layers: Sequence[Any]) -> dict[str, Any]:
        """Return the share of zeros."""
        return {"zeros": regkit.graph.sparsity([w for _, w in regkit.select_params(layers)])["zeros"]}


class Noisy(regkit.Regularizer):
    """A change to the graph, whose weight is a probability."""

    weight_below = 1.0

    def modify_graph(self, outputs: MutableMapping[str, Any], layers: Sequence[regkit.Layer]) -> None:
        """Change hidden layers."""
        for layer in regkit.select_layers(layers, "hidden"):
            z = outputs[layer.output_name]
            stream = regkit.graph.random_stream(z, seed=[1, 2])
            drawn = stream.normal(z) * stream.bernoulli(z, 0.5)
            outputs[layer.output_name] = z + regkit.graph.weight(self, z) * drawn


class Marked:
    """A class of one's own whose hooks are marked."""

    @regkit.hookimpl
    def loss(self, outputs: Mapping[str, Any]) -> Any:
        """Return the penalty."""
        return regkit.graph.total([z.sum() for z in outputs.values()])


def of_graphs(cost: Any, wrt: Any, outputs: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """Differentiate and rebuild, which takes a graph library and not arrays."""

    def modify(current: dict[str, Any]) -> None:
        current.update((name, z * 2) for name, z in current.items())

    rebuilt, also = regkit.graph.rebuild(outputs, modify, also=[cost])
    assert regkit.graph.library(cost) != "numpy"
    return regkit.graph.gradient(also[0], wrt), regkit.graph.jacobian(cost, wrt), rebuilt


def twin(regularizer: OfOutputs, layers: Any, outputs: Any) -> Any:
    """The penalty in NumPy."""
    chosen: dict[str, np.ndarray[Any, Any]] = regkit.testing.selected(regularizer, layers, outputs)
    scale = np.exp(sum(np.abs(z).sum() for z in chosen.values()))
    return np.mean([np.abs(z).sum() / scale for z in chosen.values()])


def proof() -> bool:
    """Prove a class as tests do, and as a program does that wants to know more."""
    test = regkit.testing.pytest_checks(OfOutputs, aliases=(), twin=twin)
    assert callable(test)
    report: regkit.testing.Report = regkit.testing.check_regularizer("hidden_l1", libraries=[])
    assert regkit.testing.Network().axes == 2
    assert {outcome.check for outcome in report.outcomes} <= set(regkit.testing.CHECKS)
    assert "numpy" not in regkit.testing.installed_libraries()
    assert regkit.testing.Laboratory.gradients
    print(report.text())
    return report.passed


def wrong() -> None:
    """What type checkers are to refuse: an ignore that is not needed is an error."""
    OfOutputs().checked_number("rho", 1, low="0")  # type: ignore[arg-type]
    regkit.select_params(layers=3)  # type: ignore[arg-type]
    regkit.graph.nonsense(3)  # type: ignore[attr-defined]


if __name__ == "__main__":
    layers = [regkit.Layer("in"), regkit.Layer("hid", {"hid.w": np.eye(2)}), regkit.Layer("out")]
    outputs = {"in": np.ones((2, 2)), "hid": np.ones((2, 2)), "out": np.ones((2, 2))}
    set_of_all = regkit.build(a=OfOutputs("hid", 0.1), b=OfParameters(weight=0.1), c=Noisy(weight=0.5), d=Marked())
    set_of_all.modify_graph(outputs, layers)
    assert set_of_all.loss(layers, outputs) > 0
    assert proof()
