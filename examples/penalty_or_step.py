"""What a penalty, a decay and a proximal step do under SGD, momentum and Adam: the table of docs/steps.md.

Six weights have a loss of half their squared distance from given numbers, so that the lasso has a closed form, the soft
threshold of these numbers. A seventh weight, which no data depend on, shows a decay alone. It needs NumPy only::

    python examples/penalty_or_step.py
"""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

import regkit

TARGETS = np.array([[3.0, -2.0, 1.0, 0.5, -0.2, 0.1]])
WEIGHT = 0.6  # of weight_l1, whose minimum has three zeros
RATE = 0.01
MOMENTUM = 0.9

#: Returns the step of a gradient, and by what the optimizer divides the gradient of each element.
Step = Callable[[Any], tuple[Any, Any]]


def sgd(momentum: float = 0.0) -> Step:
    """Return a function from gradient to step: of SGD, with momentum as PyTorch and Keras have it."""
    velocity: Any = 0.0

    def step(gradient: Any) -> Any:
        nonlocal velocity
        velocity = momentum * velocity - RATE * gradient
        return velocity, np.ones_like(gradient)

    return step


def adam() -> Step:
    """Return a function from gradient to step: of Adam, with its usual numbers."""
    mean: Any = 0.0
    square: Any = 0.0
    count = 0

    def step(gradient: Any) -> Any:
        nonlocal mean, square, count
        count += 1
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        divisor = np.sqrt(square / (1 - 0.999**count)) + 1e-8
        return -RATE * mean / (1 - 0.9**count) / divisor, divisor

    return step


OPTIMIZERS: dict[str, Callable[[], Step]] = {
    "SGD": sgd,
    f"SGD, momentum {MOMENTUM}": lambda: sgd(MOMENTUM),
    "Adam": adam,
}


def lasso(step: Step, by: str, rate: float = RATE, divided: bool = False) -> str:
    """Return how many of the zeros of the lasso training finds, and how far the weights are from the closed form."""
    regs = regkit.build(weight_l1=dict(weight=WEIGHT, by=by))
    w = np.ones_like(TARGETS)
    for _ in range(5_000):
        penalty_gradient = WEIGHT * np.sign(w) if by == "gradient" else 0.0
        change, divisor = step(w - TARGETS + penalty_gradient)
        w = regs.after_step({"w": w + change}, rate, divisors={"w": divisor} if divided else None)["w"]
    closed_form = np.sign(TARGETS) * np.maximum(0, abs(TARGETS) - WEIGHT)
    zeros = f"{np.sum((w == 0) & (closed_form == 0))} of {np.sum(closed_form == 0)}"
    distance = abs(w - closed_form).max()
    return f"{zeros}, exact" if distance < 1e-9 else f"{zeros}, off by {distance:.2g}"


def decay(step: Step, alias: str, weight: float) -> str:
    """Return what is left of a weight of 1 that no data depend on."""
    regs = regkit.build({alias: weight})
    w = np.ones((1, 1))
    for _ in range(50):
        change, _ = step(2 * weight * w if alias == "weight_l2" else 0 * w)
        w = regs.after_step({"w": w + change}, RATE)["w"]
    return f"{w[0, 0]:.4f}"


def rows() -> list[tuple[str, ...]]:
    """Return the rows of the table."""
    slow = RATE / (1 - MOMENTUM)
    made: list[tuple[str, Callable[[str, Step], str]]] = [
        (f"`weight_l1={WEIGHT}`: zeros", lambda name, step: lasso(step, "gradient")),
        ('the same with `by="proximal"`', lambda name, step: lasso(step, "proximal")),
        (
            "the same, the rate over 1 - momentum",
            lambda name, step: lasso(step, "proximal", slow) if "momentum" in name else "",
        ),
        (
            "the same, divided by √v̂ + ε",
            lambda name, step: lasso(step, "proximal", divided=True) if name == "Adam" else "",
        ),
        ("`weight_l2=0.1`: what is left", lambda name, step: decay(step, "weight_l2", 0.1)),
        ("`weight_l2=1`", lambda name, step: decay(step, "weight_l2", 1.0)),
        ("`decoupled_decay=0.1`", lambda name, step: decay(step, "decoupled_decay", 0.1)),
        ("`decoupled_decay=1`", lambda name, step: decay(step, "decoupled_decay", 1.0)),
    ]
    return [(title, *(cell(name, start()) for name, start in OPTIMIZERS.items())) for title, cell in made]


def main() -> None:
    """Print the table as Markdown."""
    for row in [("", *OPTIMIZERS), ("---",) * (1 + len(OPTIMIZERS)), *rows()]:
        print(f"| {' | '.join(row)} |".replace("  ", " "))


if __name__ == "__main__":
    main()
