"""Weights that follow the step of a training: schedules, as data.

A schedule is a `regkit.Live` that `RegularizerSet.step` moves. It takes the place of a number:

>>> import regkit
>>> from regkit.schedules import Warmup
>>> regs = regkit.build(hidden_l1=dict(weight=Warmup(to=0.1, steps=1000)))
>>> regs.step(250)
>>> regs.live()
{'hidden_l1': 0.025}

In JSON and TOML it is a mapping: the class in lower case under ``schedule``, and its arguments. `RegularizerSet.config`
writes it so, without the step, and `build` takes it back:

>>> regs.config()["hidden_l1"]["weight"]
{'schedule': 'warmup', 'to': 0.1, 'steps': 1000}
>>> regkit.build(hidden_l1={"weight": {"schedule": "cosine", "start": 0.1, "to": 0, "steps": 1000}})
build(hidden_l1=Cosine(start=0.1, to=0, steps=1000))
"""

from __future__ import annotations

import math

from ._engines import current_value, engine
from ._messages import warn
from ._values import INFINITY, accepted_value, as_python_number, in_range, is_mapping
from ._weights import Live, weight_limit
from .errors import NoMatchError, OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["Cosine", "Linear", "Steps", "Target", "Warmup"]


class _Schedule(Live):
    """A weight that `RegularizerSet.step` moves; `highest` is the largest value that it can have."""

    def __init__(self, highest: float, **arguments: Any) -> None:
        self._arguments = arguments
        self._highest = highest
        self._step = 0
        self.is_still = True
        super().__init__(self._at(0))

    def set(self, value: float) -> None:
        """Raise an OptionError: a schedule has the value of its step."""
        raise OptionError(f"{self!r} has the value of its step, so it cannot be set. Call regs.step(n)")

    def _at(self, step: Any) -> Any:
        """Return the value at a step, which is a number or a scalar expression, in the library of the step."""
        number = as_python_number(step)
        if number is not None:
            return self._value_at(number, _Numbers)
        own = engine(step)
        wrapped = own.wrap(step)
        return own.unwrap(self._value_at(own.cast(wrapped, own.float_type()), own.functions()))

    def _value_at(self, step: Any, functions: Any) -> Any:
        """Return the value at a step, computed with NumPy's functions under their names."""
        raise NotImplementedError

    def _follow(self, member: str, step: int | None, metrics: Mapping[str, Any] | None) -> None:
        self.is_still = False
        self._step = self._step + 1 if step is None else step
        self._put(self._at(self._step))

    def _limit(self, cls: type) -> None:
        below = weight_limit(cls)
        if self._highest >= below:
            raise OptionError(
                f"{cls.__name__} got weight={self!r}, which can become {self._highest:g}; accepted: "
                f"{accepted_value(below)}"
            )

    def _config(self) -> Any:
        return {"schedule": type(self).__name__.lower(), **self._arguments}

    def _as_written(self) -> str:
        return f"{self.value:g} ({self!r})"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._arguments.items())})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self._arguments, self._step, self._value)

    def _weight(self, argument: str, value: Any) -> float:
        """Return a weight of an argument; OptionError if it is none."""
        number = in_range(value)
        if number is None:
            raise OptionError(f"{type(self).__name__} got {argument}={value!r}; accepted: {accepted_value()}")
        return number

    def _count(self, argument: str, value: Any) -> int:
        """Return a number of steps of an argument; OptionError if it is none."""
        number = as_python_number(value)
        if number is None or not 1 <= number < INFINITY or number != int(number):
            raise OptionError(f"{type(self).__name__} got {argument}={value!r}; accepted: an integer of at least 1")
        return int(number)


def _restored(cls: type[_Schedule], arguments: dict[str, Any], step: int, value: float) -> _Schedule:
    schedule = cls(**arguments)
    schedule._step, schedule.is_still = step, step == 0
    schedule._put(value)
    return schedule


class _Numbers:
    """NumPy's functions for Python's numbers."""

    minimum = min
    cos = math.cos

    @staticmethod
    def where(condition: bool, this: float, that: float) -> float:
        """Return one of two numbers."""
        return this if condition else that


class Linear(_Schedule):
    r"""A weight that goes from one value to another in equal steps, and stays there.

    At step n it is :math:`(1 - s) \, \mathit{start} + s \, \mathit{to}` with :math:`s = \min(n / \mathit{steps}, 1)`.

    Parameters
    ----------
    start, to : real number
        The first value and the last, at least 0; below the limit of every regularizer that uses it.
    steps : int
        At which step it has the last value, at least 1.

    Raises
    ------
    OptionError
        If an argument is not accepted.

    Examples
    --------
    >>> import regkit
    >>> regs = regkit.build(hidden_l1=regkit.schedules.Linear(0.5, 0.1, steps=100))
    >>> for step in (0, 50, 100, 200):
    ...     regs.step(step)
    ...     print(f"{regs.live()['hidden_l1']:.1f}")
    0.5
    0.3
    0.1
    0.1
    """

    def __init__(self, start: float, to: float, steps: int) -> None:
        self._start, self._to = self._weight("start", start), self._weight("to", to)
        self._steps = self._count("steps", steps)
        super().__init__(max(self._start, self._to), start=self._start, to=self._to, steps=self._steps)

    def _value_at(self, step: Any, functions: Any) -> Any:
        share = functions.minimum(step / self._steps, 1.0)
        return (1.0 - share) * self._start + share * self._to


class Warmup(_Schedule):
    r"""A weight that rises from 0 in equal steps, and stays.

    At step n it is :math:`\mathit{to} \cdot \min(n / \mathit{steps}, 1)`.

    Parameters
    ----------
    to : real number
        The last value, at least 0; below the limit of every regularizer that uses it.
    steps : int
        At which step it has this value, at least 1.

    Raises
    ------
    OptionError
        If an argument is not accepted.

    Examples
    --------
    >>> import numpy, regkit
    >>> weight = regkit.schedules.Warmup(to=0.5, steps=100)
    >>> regs = regkit.build(hidden_l1=dict(weight=weight, pattern="hid"))
    >>> for step in (0, 50, 200):
    ...     regs.step(step)
    ...     print(regs.loss({"hid": numpy.array([1.0, -3.0])}))
    0.0
    1.0
    2.0
    """

    def __init__(self, to: float, steps: int) -> None:
        self._to, self._steps = self._weight("to", to), self._count("steps", steps)
        super().__init__(self._to, to=self._to, steps=self._steps)

    def _value_at(self, step: Any, functions: Any) -> Any:
        return self._to * functions.minimum(step / self._steps, 1.0)


class Cosine(_Schedule):
    r"""A weight that goes from one value to another along half a period of a cosine, and stays there.

    At step n it is :math:`\mathit{to} + \frac{1}{2} (1 + \cos \pi s) (\mathit{start} - \mathit{to})` with
    :math:`s = \min(n / \mathit{steps}, 1)`.

    Parameters
    ----------
    start, to : real number
        The first value and the last, at least 0; below the limit of every regularizer that uses it.
    steps : int
        At which step it has the last value, at least 1.

    Raises
    ------
    OptionError
        If an argument is not accepted.

    References
    ----------
    .. [1] I. Loshchilov & F. Hutter (2017). "SGDR: Stochastic Gradient Descent with Warm Restarts." ICLR.
       arXiv:1608.03983.

    Examples
    --------
    >>> import regkit
    >>> regs = regkit.build(hidden_l1=regkit.schedules.Cosine(0.5, 0.1, steps=100))
    >>> for step in (0, 25, 50, 100):
    ...     regs.step(step)
    ...     print(f"{regs.live()['hidden_l1']:.3f}")
    0.500
    0.441
    0.300
    0.100
    """

    def __init__(self, start: float, to: float, steps: int) -> None:
        self._start, self._to = self._weight("start", start), self._weight("to", to)
        self._steps = self._count("steps", steps)
        super().__init__(max(self._start, self._to), start=self._start, to=self._to, steps=self._steps)

    def _value_at(self, step: Any, functions: Any) -> Any:
        left = (1.0 + functions.cos(math.pi * functions.minimum(step / self._steps, 1.0))) / 2.0
        return (1.0 - left) * self._to + left * self._start


class Steps(_Schedule):
    r"""A weight that changes at given steps, and stays the same between them.

    Parameters
    ----------
    weights : mapping of int to real number
        Each weight, at least 0, by the step that it begins at; it is 0 before the first. Steps may be strings of
        digits, as JSON has them.

    Raises
    ------
    OptionError
        If an argument is not accepted.

    Examples
    --------
    >>> import regkit
    >>> regs = regkit.build(hidden_l1=regkit.schedules.Steps({100: 0.5, 200: 0.1}))
    >>> for step in (0, 100, 199, 200):
    ...     regs.step(step)
    ...     print(regs.live()["hidden_l1"])
    0.0
    0.5
    0.5
    0.1
    """

    def __init__(self, weights: Mapping[Any, float]) -> None:
        found: dict[int, float] = {}
        for step, weight in weights.items() if is_mapping(weights) else ():
            number = (
                int(step) if isinstance(step, str) and step.isascii() and step.isdigit() else as_python_number(step)
            )
            if number is None or not 0 <= number < INFINITY or number != int(number) or int(number) in found:
                raise OptionError(f"Steps got the step {step!r}; accepted: different integers of at least 0")
            found[int(number)] = self._weight(f"weights[{step!r}]", weight)
        if not found:
            raise OptionError(f"Steps got weights={weights!r}; accepted: a mapping of steps to weights")
        self._weights = dict(sorted(found.items()))
        super().__init__(max(self._weights.values()), weights=self._weights)

    def _value_at(self, step: Any, functions: Any) -> Any:
        value: Any = 0.0 * step
        for begins, weight in self._weights.items():
            value = functions.where(step >= begins, weight, value)
        return value

    def _config(self) -> Any:
        return {"schedule": "steps", "weights": {str(step): weight for step, weight in self._weights.items()}}


class Target(_Schedule):
    r"""A weight that goes up or down until a metric has a value.

    After each step that it gets the metric for, it becomes

    .. math:: w \leftarrow \min(\max(w \, e^{g (v - m)}, \mathit{low}), \mathit{high})

    where m is the metric, v the value that it is to have and g the gain: the logarithm of the weight adds up the
    errors, as an integral controller does, so that it stands still only where the metric is met. With the default
    gain, a share of zeros that is 0.5 too low multiplies the weight by 1.05 a step, by 12 in 50 steps. The bounds
    keep it from running away while a network is slow to follow.

    The metric comes from ``regs.step(metrics=regs.metrics(layers, outputs))``. Parts of one batch on several workers
    have different metrics: pass all workers the mean.

    Parameters
    ----------
    metric : str
        A name of the metrics of the member whose weight it is, such as ``"zeros"``; or any other name in the
        metrics that are passed.
    value : real number
        The value that it is to have.
    start : real number, default 0.1
        The first weight, from `low` to `high`.
    gain : real number, default 0.1
        How fast the weight follows, per step and unit of the metric: positive for a metric that rises with the weight,
        such as ``zeros``, and negative for one that falls, such as ``l0``. For trainings of a thousand steps 0.5 was
        right, and longer ones need less. If the metric swings around its value, take a smaller one.
    low, high : real number, default 1e-6 and 1000
        The bounds of the weight: above 0; below the limit of every regularizer that uses it.

    Attributes
    ----------
    metric : str

    Raises
    ------
    OptionError
        If an argument is not accepted.

    References
    ----------
    .. [1] K. J. Åström & R. M. Murray (2008). "Feedback Systems", chapter 10. Princeton University Press.

    Examples
    --------
    >>> import regkit
    >>> weight = regkit.schedules.Target("zeros", 0.9, start=1.0, gain=0.1)
    >>> regs = regkit.build(hidden_l1=weight)
    >>> for zeros in (0.4, 0.8, 0.9, 1.0):
    ...     regs.step(metrics={"hidden_l1.zeros": zeros})
    ...     print(f"{weight.value:.4f}")
    1.0513
    1.0618
    1.0618
    1.0513
    """

    _needs_metrics = True

    def __init__(
        self,
        metric: str,
        value: float,
        start: float = 0.1,
        gain: float = 0.1,
        low: float = 1e-6,
        high: float = 1000.0,
    ) -> None:
        if not isinstance(metric, str) or not metric:
            raise OptionError(f"Target got metric={metric!r}; accepted: the name of a metric, such as 'zeros'")
        self.metric = metric
        self._aim, self._gain = self._number("value", value), self._number("gain", gain)
        if not self._gain:
            raise OptionError("Target got gain=0, by which the weight would never change; accepted: any other number")
        self._start, self._low, self._high = (
            self._weight(name, number) for name, number in (("start", start), ("low", low), ("high", high))
        )
        if not 0 < self._low <= self._start <= self._high:
            raise OptionError(
                f"Target got start={start!r}, low={low!r}, high={high!r}; accepted: 0 < low <= start <= high"
            )
        self._value = self._start
        self._waited = 0  # steps without the metric, before there was one
        super().__init__(
            self._high,
            metric=metric,
            value=self._aim,
            start=self._start,
            gain=self._gain,
            low=self._low,
            high=self._high,
        )

    def _number(self, argument: str, value: Any) -> float:
        number = as_python_number(value)
        if number is None or not abs(number) < INFINITY:
            raise OptionError(f"Target got {argument}={value!r}; accepted: a finite real number")
        return number

    def _at(self, step: Any) -> float:
        return self._value

    def _follow(self, member: str, step: int | None, metrics: Mapping[str, Any] | None) -> None:
        super()._follow(member, step, metrics)
        if metrics is None:
            self._waited += self._waited >= 0
            if self._waited == 2:
                warn(
                    f"{member}: its weight, {self!r}, has had two steps without metrics, so it stays what it is. Call "
                    "regs.step(metrics=regs.metrics(layers, outputs))"
                )
            return
        self._waited = -1
        error = self._aim - self._measured(member, metrics)
        factor = math.exp(max(-700.0, min(self._gain * error, 700.0)))
        self._put(min(max(self._value * factor, self._low), self._high))

    def _measured(self, member: str, metrics: Mapping[str, Any]) -> float:
        """Return the metric as a number."""
        name = next((name for name in (f"{member}.{self.metric}", self.metric) if name in metrics), None)
        if name is None:
            raise NoMatchError(
                f"{member}: its weight follows the metric {self.metric!r}, and the metrics have no "
                f"'{member}.{self.metric}'; they have: {', '.join(metrics) or 'none'}"
            )
        number = as_python_number(current_value(metrics[name]))
        if number is None or not abs(number) < INFINITY:
            raise OptionError(f"{member}: the metric {name!r} is {metrics[name]!r}; accepted: a finite real number")
        return number


#: The classes by their names in configs.
BY_NAME = {cls.__name__.lower(): cls for cls in (Warmup, Linear, Cosine, Steps, Target)}
