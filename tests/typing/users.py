"""What users write: keywords, sets and weights that change. It is checked by type checkers, and runs on arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import regkit

if TYPE_CHECKING:
    from typing_extensions import assert_type
else:

    def assert_type(value: Any, kind: Any) -> Any:
        """Leave it to the type checker."""
        return value


def sets() -> regkit.RegularizerSet:
    """Build sets, look into them, put them together."""
    weight = regkit.Live(0.1)
    weight.set(weight.value / 2)
    regs = assert_type(regkit.build(hidden_sparsity=weight, weight_l2=dict(weight=0.01)), regkit.RegularizerSet)
    regs = regs + regkit.build({"hidden_l2": [0.1, None]})
    for regularizer in regs:
        regularizer.log()
    assert_type(len(regs), int)
    assert_type(regs.keys(), "list[str]")
    assert_type(regs.live(), "dict[str, Any]")
    assert_type(regs.live(step=3), "dict[str, Any]")
    assert_type(regs.needs_metrics, bool)
    assert_type(regs.config(), "dict[str, Any]")
    assert_type(repr(regs), str)
    assert "hidden_sparsity" in regs
    return regkit.build(regs.config())


def schedules() -> regkit.RegularizerSet:
    """Let weights follow the step and a metric."""
    schedules = regkit.schedules
    weights: list[regkit.Live] = [
        schedules.Warmup(0.1, steps=100),
        schedules.Linear(0.1, 0.2, steps=100),
        schedules.Cosine(0.2, 0, steps=100),
        schedules.Steps({0: 0.1, 50: 0.2}),
        schedules.Target("zeros", 0.9, start=0.1, gain=0.05),
    ]
    for weight in weights:
        assert_type(weight.value, float)
    regs = regkit.build(hidden_l1=[dict(weight=weight, pattern="hid") for weight in weights])
    outputs = {"hid": np.ones((2, 3))}
    regs.step(10)
    regs.step(metrics=assert_type(regs.metrics(outputs), "dict[str, Any]"))
    return regs


def discovery() -> str:
    """Ask what is installed, load a class, give one an alias."""
    for alias, claims in regkit.available().items():
        assert_type(alias, str)
        for claim in claims:
            assert_type(claim.distribution, "str | None")
            assert_type(claim.target, str)
    assert_type(regkit.load("hidden_l1"), type)
    regkit.register(regkit.load("hidden_l1"), "mine", replace=True)
    regkit.refresh()
    return assert_type(regkit.__version__, str)


def mistakes() -> list[str]:
    """Catch what goes wrong, by the most exact class and by the base of all."""
    said = []
    outputs = {"hid": np.ones((2, 3))}
    try:
        regkit.build(hiden_sparsity=0.1)
    except regkit.UnknownAliasError as error:
        said.append(str(error))
    try:
        regkit.build(hidden_sparsity=-1)
    except regkit.OptionError as error:
        said.append(str(error))
    try:
        regkit.build(hidden_sparsity=dict(weight=1, pattern="hid7")).loss([], outputs)
    except regkit.NoMatchError as error:
        said.append(str(error))
    for kind in (
        regkit.AliasConflictError,
        regkit.PluginLoadError,
        regkit.HookSignatureError,
        regkit.GraphError,
    ):
        assert issubclass(kind, regkit.RegkitError)
    return said


def wrong() -> None:
    """What type checkers are to refuse: an ignore that is not needed is an error."""
    regkit.build("hidden_l1")  # type: ignore[arg-type]
    regkit.build(hidden_l1="nonsense")  # type: ignore[arg-type]
    regkit.load(3)  # type: ignore[arg-type]
    regkit.Live("0.1")  # type: ignore[arg-type]
    regkit.available()["hidden_l1"][0].nonsense  # type: ignore[attr-defined]  # noqa: B018
    regkit.bild(hidden_l1=0.1)  # type: ignore[attr-defined]
    regkit.schedules.Warmup(0.1)  # type: ignore[call-arg]
    regkit.build(hidden_l1=0.1).step("3")  # type: ignore[arg-type]


if __name__ == "__main__":
    assert sets().keys()
    assert schedules().live()
    assert discovery()
    assert len(mistakes()) == 3
