"""What each alias is to compute, from its formula: NumPy and loops, with nothing of regkit or of its plugins.

Derivatives are complex steps: the imaginary part of ``f(x + ih) / h`` is the derivative to the last digit, for nothing
is subtracted. So the formulas are of analytic functions alone: no absolute values, but those of `magnitude`.
"""

from __future__ import annotations

import math
from typing import Any, Callable, NamedTuple

import numpy as np

STEP = 1e-100

UNITS = {"in": 4, "hid1": 3, "hid2": 3, "out": 2}
EXAMPLES = 5
TIMES = 4

#: With these, one singular value stands out, so that 20 iterations find it to the last digit, and columns have norms on
#: both sides of 1.
SEEDS = {"hid1": 4, "hid2": 8, "out": 13}


def numbers(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return numbers between -1.6 and 1.6 that are the same to the last bit everywhere: whole ones over 64."""
    places = np.arange(math.prod(shape)) + 1
    return ((places * (31 * places + 17 * seed) + seed * seed) % 207 - 103).reshape(shape) / 64


def inputs(kind: str) -> dict[str, np.ndarray]:
    """Return the input and the parameters of a network of some kind."""
    shape = (EXAMPLES, TIMES, UNITS["in"]) if kind == "sequence" else (EXAMPLES, UNITS["in"])
    values = {"in:out": numbers(shape, 3)}
    before = "in"
    for layer, seed in SEEDS.items():
        values[f"{layer}.w"] = numbers((UNITS[before], UNITS[layer]), seed)
        values[f"{layer}.b"] = numbers((UNITS[layer],), seed + 10) / 2
        before = layer
    return values


class Network:
    """A network of in, hid1, hid2 and out, with what it computes of an input and parameters.

    Its kind is that of its units, ``"tanh"`` or ``"sigmoid"``, or ``"sequence"``: of tanh, with a time axis.
    """

    def __init__(self, kind: str, values: dict[str, np.ndarray]) -> None:
        self.values = values
        self.outputs = {"in:out": values["in:out"]}
        current = values["in:out"]
        for layer in ("hid1", "hid2", "out"):
            current = current @ values[f"{layer}.w"] + values[f"{layer}.b"]
            current = 1 / (1 + np.exp(-current)) if kind == "sigmoid" else np.tanh(current)
            self.outputs[f"{layer}:out"] = current

    @property
    def hidden(self) -> list[np.ndarray]:
        """The outputs of the hidden layers."""
        return [self.outputs["hid1:out"], self.outputs["hid2:out"]]

    @property
    def matrices(self) -> list[np.ndarray]:
        """The parameters of two axes."""
        return [self.values[f"{layer}.w"] for layer in ("hid1", "hid2", "out")]


def magnitude(x: Any) -> Any:
    """Return the absolute value of a number, whose derivative is its sign."""
    return x * np.sign(np.real(x))


def mean(terms: Any) -> Any:
    """Return the mean of some numbers."""
    terms = list(terms)
    return sum(terms) / len(terms)


def divisor(z: np.ndarray, reduction: str) -> int:
    """Return what a sum over an array is divided by."""
    return {"sum": 1, "mean": z.size, "batch": len(z)}[reduction]


def per_example(z: np.ndarray, reduction: str) -> int:
    """Return what a sum over examples is divided by."""
    return 1 if reduction == "sum" else len(z)


def by_unit(z: np.ndarray) -> np.ndarray:
    """Return activations as (examples, units)."""
    return z.reshape(-1, z.shape[-1])


# Of outputs


def hidden_l1(network: Network, reduction: str = "sum") -> Any:
    return mean(sum(magnitude(x) for x in z.ravel()) / divisor(z, reduction) for z in network.hidden)


def hidden_l2(network: Network, reduction: str = "sum") -> Any:
    return mean(sum(x * x for x in z.ravel()) / divisor(z, reduction) for z in network.hidden)


def hidden_hoyer(network: Network, reduction: str = "sum") -> Any:
    def measure(example: np.ndarray) -> Any:
        return sum(magnitude(x) for x in example.ravel()) ** 2 / sum(x * x for x in example.ravel())

    return mean(sum(measure(example) for example in z) / per_example(z, reduction) for z in network.hidden)


def hidden_variation(network: Network, axis: int = -1, reduction: str = "sum") -> Any:
    terms = []
    for z in network.hidden:
        slices = list(np.moveaxis(z, axis, 0))
        steps = [magnitude(x) for one, other in zip(slices, slices[1:]) for x in (other - one).ravel()]
        terms.append(sum(steps) / {"sum": 1, "mean": len(steps), "batch": len(z)}[reduction])
    return mean(terms)


def hidden_kl(network: Network, rho: float = 0.05) -> Any:
    def divergence(unit: np.ndarray) -> Any:
        active = mean(unit)
        return rho * np.log(rho / active) + (1 - rho) * np.log((1 - rho) / (1 - active))

    return mean(sum(divergence(unit) for unit in by_unit(z).T) for z in network.hidden)


def hidden_decorrelation(network: Network) -> Any:
    terms = []
    for z in network.hidden:
        units = [unit - mean(unit) for unit in by_unit(z).T]
        covariances = [mean(one * other) for one in units for other in units if one is not other]
        terms.append(sum(covariance**2 for covariance in covariances) / 2)
    return mean(terms)


def contractive(network: Network, reduction: str = "sum") -> Any:
    first, second = network.hidden  # of tanh, whose derivative is 1 - tanh^2
    sums = [0, 0]
    for one, other in zip(first, second):
        jacobian = np.diag(1 - one**2) @ network.values["hid1.w"].T
        sums[0] += sum(x * x for x in jacobian.ravel())
        jacobian = np.diag(1 - other**2) @ network.values["hid2.w"].T @ jacobian
        sums[1] += sum(x * x for x in jacobian.ravel())
    entries = EXAMPLES * UNITS["hid1"] * UNITS["in"]
    return mean(sums) / {"sum": 1, "batch": EXAMPLES, "mean": entries}[reduction]


def recurrent_norm(network: Network, reduction: str = "sum") -> Any:
    terms = []
    for z in network.hidden:
        norms = [[sum(x * x for x in step) for step in example] for example in z]
        changes = [(later - sooner) ** 2 for example in norms for sooner, later in zip(example, example[1:])]
        terms.append(sum(changes) / (TIMES - 1) / per_example(z, reduction))
    return mean(terms)


def recurrent_state(network: Network, reduction: str = "sum") -> Any:
    terms = []
    for z in network.hidden:
        changes = [x * x for example in z for x in (example[1:] - example[:-1]).ravel()]
        units = z.shape[2] if reduction == "mean" else 1
        terms.append(sum(changes) / (TIMES - 1) / per_example(z, reduction) / units)
    return mean(terms)


def hidden_topk(example: np.ndarray, k: int) -> np.ndarray:
    """Return an example in which the k largest stay, of equal ones the first."""
    places = sorted(range(len(example)), key=lambda place: -example[place])[:k]
    return np.array([x if place in places else 0.0 for place, x in enumerate(example)])


def hidden_threshold(example: np.ndarray, threshold: float) -> np.ndarray:
    """Return an example in which those above a threshold stay."""
    return np.array([x if x > threshold else 0.0 for x in example])


# Of parameters


def weight_l1(network: Network, reduction: str = "sum") -> Any:
    return mean(sum(magnitude(x) for x in w.ravel()) / divisor(w, reduction) for w in network.matrices)


def weight_l2(network: Network, reduction: str = "sum") -> Any:
    return mean(sum(x * x for x in w.ravel()) / divisor(w, reduction) for w in network.matrices)


def elastic_net(network: Network, l1_ratio: float = 0.5, reduction: str = "sum") -> Any:
    return l1_ratio * weight_l1(network, reduction) + (1 - l1_ratio) / 2 * weight_l2(network, reduction)


def norm(vector: np.ndarray) -> Any:
    """Return the L2 norm."""
    return np.sqrt(sum(x * x for x in vector))


def group_lasso(network: Network, axis: int = 0, reduction: str = "sum") -> Any:
    terms = []
    for w in network.matrices:
        groups = list(w if axis == 0 else w.T)
        of_each = [math.sqrt(len(group)) * norm(group) for group in groups]
        terms.append(sum(of_each) / (len(groups) if reduction == "mean" else 1))
    return mean(terms)


def weight_max_norm(network: Network, c: float = 1.0, axis: int = 1) -> Any:
    def excess(vector: np.ndarray) -> Any:
        over = norm(vector) - c
        return over**2 if over.real > 0 else 0 * over

    return mean(sum(excess(vector) for vector in (w if axis == 0 else w.T)) for w in network.matrices)


def weight_orthogonal(network: Network) -> Any:
    terms = []
    for w in network.matrices:
        columns = list(w.T if w.shape[0] >= w.shape[1] else w)
        products = [(sum(one * other), one is other) for one in columns for other in columns]
        terms.append(sum((product - same) ** 2 for product, same in products))
    return mean(terms)


def weight_spectral(network: Network) -> Any:
    terms = []
    for w in network.matrices:
        left, _, right = np.linalg.svd(w.real)  # the largest value has the derivative that it has with these held
        terms.append((left[:, 0] @ w @ right[0]) ** 2 / 2)
    return mean(terms)


class Penalty(NamedTuple):
    """The formula of an alias, the kind of network that it is for, and what options it is tried with."""

    formula: Callable[..., Any]
    kind: str
    options: tuple[dict[str, Any], ...]

    def value(self, **options: Any) -> float:
        """Return the penalty."""
        return float(self.formula(Network(self.kind, inputs(self.kind)), **options))

    def gradient(self, name: str, **options: Any) -> np.ndarray:
        """Return the derivatives by the input, or by a parameter."""
        values = {key: value.astype(complex) for key, value in inputs(self.kind).items()}
        gradient = np.zeros(values[name].shape)
        for place in np.ndindex(*gradient.shape):
            values[name][place] += STEP * 1j
            gradient[place] = np.imag(self.formula(Network(self.kind, values), **options)) / STEP
            values[name][place] -= STEP * 1j
        return gradient


REDUCTIONS = ({}, {"reduction": "mean"}, {"reduction": "batch"})
VARIATIONS = ({}, {"axis": 0, "reduction": "mean"}, {"axis": 1, "reduction": "batch"})
RATIOS = ({}, {"l1_ratio": 0.3, "reduction": "mean"}, {"l1_ratio": 0.8, "reduction": "batch"})
GROUPS = ({}, {"axis": 1}, {"axis": 1, "reduction": "mean"})

PENALTIES = {
    "hidden_l1": Penalty(hidden_l1, "tanh", REDUCTIONS),
    "hidden_sparsity": Penalty(hidden_l1, "sequence", REDUCTIONS),
    "hidden_l2": Penalty(hidden_l2, "tanh", REDUCTIONS),
    "hidden_hoyer": Penalty(hidden_hoyer, "tanh", REDUCTIONS),
    "hidden_variation": Penalty(hidden_variation, "sequence", VARIATIONS),
    "hidden_kl": Penalty(hidden_kl, "sigmoid", ({}, {"rho": 0.2})),
    "hidden_decorrelation": Penalty(hidden_decorrelation, "sequence", ({},)),
    "contractive": Penalty(contractive, "tanh", REDUCTIONS),
    "recurrent_norm": Penalty(recurrent_norm, "sequence", REDUCTIONS),
    "recurrent_state": Penalty(recurrent_state, "sequence", REDUCTIONS),
    "weight_l1": Penalty(weight_l1, "tanh", REDUCTIONS),
    "weight_sparsity": Penalty(weight_l1, "tanh", REDUCTIONS[::-1]),
    "weight_l2": Penalty(weight_l2, "tanh", REDUCTIONS),
    "weight_decay": Penalty(weight_l2, "tanh", REDUCTIONS[::-1]),
    "elastic_net": Penalty(elastic_net, "tanh", RATIOS),
    "group_lasso": Penalty(group_lasso, "tanh", GROUPS),
    "weight_orthogonal": Penalty(weight_orthogonal, "tanh", ({},)),
    "weight_spectral": Penalty(weight_spectral, "tanh", ({},)),
    "weight_max_norm": Penalty(weight_max_norm, "tanh", ({}, {"c": 1.5, "axis": 0})),
}

# Steps after an optimizer's: a parameter after a step of an amount, which the mean has divided


def shrunk(x: float, amount: float) -> float:
    return math.copysign(max(0.0, abs(x) - amount), x) if abs(x) > amount else 0.0


def by_slices(w: np.ndarray, scale: Callable[[float], float]) -> np.ndarray:
    """Scale the columns of a matrix by a function of their norms."""
    return np.array([column * scale(float(norm(column))) for column in w.T]).T


def each(function: Callable[[float, float], float]) -> Callable[[np.ndarray, float], np.ndarray]:
    return lambda w, amount: np.array([function(x, amount) for x in w.ravel()]).reshape(w.shape)


def shrunk_groups(w: np.ndarray, amount: float) -> np.ndarray:
    return by_slices(w, lambda size: max(0.0, 1 - amount * math.sqrt(len(w)) / size))


#: By alias: options, and what a parameter is after an amount.
STEPS = {
    "weight_l1": ({"by": "proximal"}, each(shrunk)),
    "weight_l2": ({"by": "proximal"}, each(lambda x, amount: x / (1 + 2 * amount))),
    "elastic_net": ({"by": "proximal"}, each(lambda x, amount: shrunk(x, amount / 2) / (1 + amount / 2))),
    "group_lasso": ({"by": "proximal", "axis": 1}, shrunk_groups),
    "weight_max_norm": ({"by": "projection"}, lambda w, _: by_slices(w, lambda size: min(1, 1 / size))),
    "weight_unit_norm": ({}, lambda w, _: by_slices(w, lambda size: 1 / size)),
    "weight_nonnegative": ({}, each(lambda x, _: max(0.0, x))),
    "weight_l0": ({}, each(lambda x, amount: x if x * x > 2 * amount else 0.0)),
    "decoupled_decay": ({}, each(lambda x, amount: x * (1 - 3 * amount))),  # which is not divided by the three of them
}


def weight_l0(network: Network) -> Any:
    return mean(sum(1 + 0 * x for x in w.ravel() if x) for w in network.matrices)


REFERENCE = {name: numbers(value.shape, 9) for name, value in inputs("tanh").items() if name.endswith(".w")}


def weight_distance(network: Network, reference: Any, importance: Any = None) -> Any:
    terms = []
    for layer in ("hid1", "hid2", "out"):
        w, far = network.values[f"{layer}.w"], reference[f"{layer}.w"]
        counted = np.ones(w.shape) if importance is None else importance[f"{layer}.w"]
        terms.append(sum(f * (x - y) ** 2 for x, y, f in zip(w.ravel(), far.ravel(), counted.ravel())))
    return mean(terms)


WEIGHED = {name: abs(value) for name, value in REFERENCE.items()}
PENALTIES["weight_l0"] = Penalty(weight_l0, "tanh", ({},))
PENALTIES["weight_distance"] = Penalty(
    weight_distance, "tanh", ({"reference": REFERENCE}, {"reference": REFERENCE, "importance": WEIGHED})
)

#: What noise and dropout change where nothing else is said, by alias.
EVERYTHING, FIRST, HIDDEN, LAST = tuple(UNITS), ("in",), ("hid1", "hid2"), ("out",)
NOISES = {"noise": EVERYTHING, "input_noise": FIRST, "hidden_noise": HIDDEN, "output_noise": LAST}
DROPOUTS = {"dropout": EVERYTHING, "input_dropout": FIRST, "hidden_dropout": HIDDEN, "output_dropout": LAST}
DROP_PATHS = {"drop_path": HIDDEN}

#: What changes hidden outputs and draws nothing: values of the alias, what it makes of an example of 60 units, and the
#: end of the name of what was there before.
SPARSE = {
    "hidden_topk": (({"k": 7}, 0.25), (lambda z: hidden_topk(z, 7), lambda z: hidden_topk(z, 15)), "-pretopk"),
    "hidden_threshold": (
        ({"threshold": -0.5}, 0.25),
        (lambda z: hidden_threshold(z, -0.5), lambda z: hidden_threshold(z, 0.25)),
        "-prethreshold",
    ),
}

#: Schedules as configs have them, each with its formula of the step.
SCHEDULES = {
    "warmup": ({"to": 0.1, "steps": 8}, lambda n: 0.1 * min(n / 8, 1)),
    "linear": ({"start": 0.4, "to": 0.1, "steps": 8}, lambda n: 0.4 - 0.3 * min(n / 8, 1)),
    "cosine": ({"start": 0.4, "to": 0.1, "steps": 8}, lambda n: 0.25 + 0.15 * math.cos(math.pi * min(n / 8, 1))),
    "steps": ({"weights": {"2": 0.5, "6": 0.25}}, lambda n: 0 if n < 2 else 0.5 if n < 6 else 0.25),
}
