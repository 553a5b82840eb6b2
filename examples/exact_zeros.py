"""Weights that are exactly zero: the lasso and the group lasso by proximal steps, on every library that is installed.

    python examples/exact_zeros.py

First the lasso, beside its closed form where columns are orthonormal, and beside scikit-learn on the diabetes data.
Then scikit-learn's digits, read by a softmax of the 64 pixels: `group_lasso` sets all weights of a pixel to zero
together, so that the pixel is not needed. With ``by="proximal"`` a penalty has no gradient, and ``regs.after_step``
applies its proximal operator after each step of gradient descent. By its gradient no weight would become exactly zero.
The program fails if two libraries have different zeros.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any, Callable

import numpy as np
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import Lasso

import regkit
from _library import graph_library

os.environ.setdefault("JAX_ENABLE_X64", "1")

WEIGHTS = (0.0, 0.0005, 0.001, 0.002, 0.005)  # of group_lasso
STEPS = 2000
TRAINED = 1200  # of 1797 digits; the others are for the accuracy

Params = dict[str, np.ndarray]
Train = Callable[[np.ndarray, np.ndarray, float, regkit.RegularizerSet], Params]


# The lasso


def lasso(x: np.ndarray, y: np.ndarray, weight: float, by: str, steps: int) -> np.ndarray:
    """Return the minimum of the squared error over 2n, and weight times the absolute values."""
    regs = regkit.build(weight_l1=dict(weight=weight, by=by))
    w = np.zeros((x.shape[1], 1))
    rate = len(x) / np.linalg.norm(x, 2) ** 2
    for _ in range(steps):
        gradient = x.T @ (x @ w - y) / len(x)
        if by == "gradient":
            gradient = gradient + weight * np.sign(w)
        w = regs.after_step({"w": w - rate * gradient}, rate)["w"]
    return w[:, 0]


def compare_lasso() -> None:
    """Print the lasso beside its closed form, and beside scikit-learn."""
    rng = np.random.default_rng(0)
    columns = np.linalg.qr(rng.normal(size=(200, 100)))[0] * np.sqrt(200)
    y = columns[:, :40] @ rng.normal(size=(40, 1)) + rng.normal(size=(200, 1))
    products = (columns.T @ y)[:, 0] / 200
    closed_form = np.sign(products) * np.maximum(0, abs(products) - 0.3)
    print("lasso, 100 orthonormal columns  zeros  off the closed form")
    print(f"{'closed form':<31} {np.sum(closed_form == 0):>5}")
    for by in ("gradient", "proximal"):
        w = lasso(columns, y, 0.3, by, 1000)
        print(f"{f'weight_l1, by={by!r}':<31} {np.sum(w == 0):>5}  {abs(w - closed_form).max():.0e}")

    x, y = load_diabetes(return_X_y=True)
    x, y = (x - x.mean(axis=0)) / x.std(axis=0), (y - y.mean()) / y.std()
    theirs = Lasso(alpha=0.05, tol=1e-14, max_iter=100_000, fit_intercept=False).fit(x, y).coef_
    ours = lasso(x, y[:, None], 0.05, "proximal", 20_000)
    same = np.array_equal(ours == 0, theirs == 0)
    print(
        f"lasso of diabetes data, {len(ours)} columns: {np.sum(ours == 0)} zeros, {'the same' if same else 'OTHERS'}",
        end="",
    )
    print(f" as scikit-learn's; weights differ by {abs(ours - theirs).max():.0e}\n")


# A softmax of pixels, by gradient descent in each library


def start(x: np.ndarray, y: np.ndarray) -> Params:
    """Return parameters of zeros."""
    return {"w": np.zeros((x.shape[1], y.shape[1])), "b": np.zeros(y.shape[1])}


def in_numpy(x: np.ndarray, y: np.ndarray, rate: float, regs: regkit.RegularizerSet) -> Params:
    """Train on arrays."""
    params = start(x, y)
    for _ in range(STEPS):
        scores = np.exp(x @ params["w"] + params["b"])
        error = (scores / scores.sum(axis=1, keepdims=True) - y) / len(x)
        params = {"w": params["w"] - rate * x.T @ error, "b": params["b"] - rate * error.sum(axis=0)}
        params = regs.after_step(params, rate)
    return params


def in_graph_library(x: np.ndarray, y: np.ndarray, rate: float, regs: regkit.RegularizerSet) -> Params:
    """Train in PyTensor, Aesara or theano-pymc: the updates of gradient descent go through `after_step`."""
    library, tt = graph_library()
    params = {name: library.shared(value, name=name) for name, value in start(x, y).items()}
    scores = tt.exp(tt.dot(tt.as_tensor_variable(x), params["w"]) + params["b"])
    loss = -(tt.log(scores / scores.sum(axis=1, keepdims=True)) * y).sum() / len(x)
    gradients = tt.grad(loss, list(params.values()))
    updates = [(param, param - rate * gradient) for param, gradient in zip(params.values(), gradients)]
    step = library.function([], [], updates=regs.after_step(updates, rate, [regkit.Layer("out", params)]))
    for _ in range(STEPS):
        step()
    return {name: param.get_value() for name, param in params.items()}


def in_jax(x: np.ndarray, y: np.ndarray, rate: float, regs: regkit.RegularizerSet) -> Params:
    """Train in JAX."""
    import jax
    import jax.numpy as jnp

    def loss(params: Any) -> Any:
        return -(jax.nn.log_softmax(x @ params["w"] + params["b"]) * y).sum() / len(x)

    @jax.jit
    def step(params: Any) -> Any:
        gradients = jax.grad(loss)(params)
        return regs.after_step({name: params[name] - rate * gradients[name] for name in params}, rate)

    params = {name: jnp.asarray(value) for name, value in start(x, y).items()}
    for _ in range(STEPS):
        params = step(params)
    return {name: np.asarray(param) for name, param in params.items()}


def in_torch(x: np.ndarray, y: np.ndarray, rate: float, regs: regkit.RegularizerSet) -> Params:
    """Train in PyTorch."""
    import torch

    torch.set_num_threads(1)  # matrices of this size gain nothing by more
    data, classes = torch.tensor(x), torch.tensor(y)
    params = {name: torch.tensor(value, requires_grad=True) for name, value in start(x, y).items()}
    optimizer = torch.optim.SGD(params.values(), rate)
    for _ in range(STEPS):
        optimizer.zero_grad()
        scores = torch.log_softmax(data @ params["w"] + params["b"], dim=1)
        (-(scores * classes).sum() / len(x)).backward()
        optimizer.step()
        with torch.no_grad():
            for name, value in regs.after_step(dict(params), rate).items():
                params[name].copy_(value)
    return {name: param.detach().numpy() for name, param in params.items()}


def libraries() -> dict[str, Train]:
    """Return what trains, for each library that is installed; NumPy is."""
    found: dict[str, Train] = {"numpy": in_numpy}
    if any(find_spec(name) for name in ("theano", "aesara", "pytensor")):
        found[graph_library()[0].__name__] = in_graph_library
    for name, train in (("jax", in_jax), ("torch", in_torch)):
        if find_spec(name) and find_spec(f"regkit_{name}"):
            found[name] = train
    return found


def compare_digits() -> None:
    """Print how many pixels `group_lasso` leaves, at which accuracy, in each library."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.data))
    x, classes = digits.data[order] / 16, digits.target[order]
    y = np.eye(10)[classes]
    rate = 2 * TRAINED / np.linalg.norm(np.hstack([x, np.ones((len(x), 1))])[:TRAINED], 2) ** 2
    print("group_lasso  library   pixels of 64 at zero  right on new digits  off NumPy's weights")
    for weight in WEIGHTS:
        regs = regkit.build(group_lasso=dict(weight=weight, pattern="w", by="proximal"))
        reference = None
        for name, train in libraries().items():
            params = train(x[:TRAINED], y[:TRAINED], rate, regs)
            reference = params if reference is None else reference
            gone = (params["w"] == 0).all(axis=1)
            assert np.array_equal(gone, (reference["w"] == 0).all(axis=1)), f"{name} has other zeros than NumPy"
            right = ((x[TRAINED:] @ params["w"] + params["b"]).argmax(axis=1) == classes[TRAINED:]).mean()
            off = abs(params["w"] - reference["w"]).max()
            print(f"{weight:<11g}  {name:<8}  {gone.sum():>20}  {right:>19.1%}  {off:>19.0e}", flush=True)


if __name__ == "__main__":
    compare_lasso()
    compare_digits()
