"""Sparse autoencoder on patches of photographs: what ``hidden_sparsity`` does to the features of a hidden layer.

One hidden layer learns to reproduce 8x8 patches of natural images [1]_. It is trained without a penalty, and then with
more and more of the L1 penalty on its activations. Without, its filters are noise spread over the whole patch; with it,
they become short edges of every direction, side by side across the patch, as in [2]_.

    python examples/sparse_autoencoder.py            # a table, and a picture in examples/output
    python examples/sparse_autoencoder.py --control  # the same on phase-scrambled photographs, which have no edges

The part that concerns regkit is `build_network`; all else is data, training and drawing.

References
----------
.. [1] A. Ng (2011). "Sparse Autoencoder." CS294A Lecture Notes, Stanford University.
.. [2] B. Olshausen, D. Field (1996). "Emergence of simple-cell receptive field properties by learning a sparse code for
   natural images." Nature 381, 607-609.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from pathlib import Path
from typing import Any, Callable, NamedTuple

try:
    import numpy as np
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Table
    from scipy.optimize import minimize
    from sklearn.datasets import load_sample_images
    from sklearn.feature_extraction.image import extract_patches_2d

    import regkit
    from _figures import CELLS, NEAR_ZERO, WELL_EXPLAINED, WINDOW, Result, draw, measure
    from _library import graph_library
except ImportError as missing:
    sys.exit(
        f'{missing}. The demonstration needs more, in the checkout: pip install ".[demo]" ./plugins/regkit-hidden-l1'
    )

SIDE = 8  # of a patch, in pixels


# The data


def photographs(scramble: bool, rng: np.random.Generator) -> list[np.ndarray]:
    """Return scikit-learn's two photographs as grey levels at half size, with a flattened spectrum.

    Photographs have most of their power in low frequencies, and L-BFGS would be busy with those alone. The filter
    |f| exp(-(|f| / 0.75)^4), f in units of the Nyquist frequency, evens it out up to where pixel noise begins.

    With `scramble`, every frequency keeps its power and gets a random phase: the same spectrum, but no edges.
    """
    images = []
    for colours in load_sample_images().images:
        grey = colours.mean(axis=2)
        rows, columns = (length // 2 for length in grey.shape)
        halved = grey[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).mean(axis=(1, 3))
        frequency = 2 * np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(columns)[None, :])
        spectrum = np.fft.fft2(halved) * frequency * np.exp(-((frequency / 0.75) ** 4))
        if scramble:
            # The phases of a real noise image are those of some real image, so the result is real again.
            spectrum = np.abs(spectrum) * np.exp(1j * np.angle(np.fft.fft2(rng.normal(size=halved.shape))))
        images.append(np.fft.ifft2(spectrum).real)
    return images


def sample_patches(images: list[np.ndarray], count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` random patches of each image, one per row, of equal contrast and unit standard deviation."""
    state = int(rng.integers(2**31))
    patches = np.concatenate(
        [extract_patches_2d(image, (SIDE, SIDE), max_patches=count, random_state=state) for image in images]
    ).reshape(-1, SIDE * SIDE)
    patches -= patches.mean(axis=1, keepdims=True)
    variance = patches.var(axis=1, keepdims=True)
    patches /= np.sqrt(variance + 0.1 * variance.mean())  # the second term keeps flat patches from becoming pure noise
    limit = 3 * patches.std()
    patches = patches.clip(-limit, limit)
    return patches / patches.std()


# The network


class Network(NamedTuple):
    """What `build_network` makes: shared parameters, expressions of the outputs by name, and of the whole loss."""

    parameters: dict[str, Any]
    outputs: dict[str, Any]
    loss: Any


def build_network(
    library: Any, tt: Any, patches: np.ndarray, units: int, regs: regkit.RegularizerSet, rng: np.random.Generator
) -> Network:
    """Return an autoencoder with one rectified hidden layer, and its loss with what regularizers add.

    The decoder's rows have unit norm by construction. Otherwise the penalty could be cheated: halve all activations,
    double the decoder, and the reconstruction is the same at half the price.
    """
    inputs = patches.shape[1]
    start = rng.normal(size=(inputs, units)) / math.sqrt(inputs)
    encoder = library.shared(start, name="hid1.w")
    bias = library.shared(np.zeros(units), name="hid1.b")
    decoder = library.shared(start.T.copy(), name="out.w")
    offset = library.shared(np.zeros(inputs), name="out.b")

    regs.log()
    layers = [
        regkit.Layer("in:out"),
        regkit.Layer("hid1:out", [encoder, bias]),
        regkit.Layer("out:out", [decoder, offset]),
    ]
    outputs: dict[str, Any] = {}

    def add(name: str, expression: Any) -> Any:
        """Keep an output under its name, after the regularizers had the chance to change it."""
        changed = {name: expression}
        regs.modify_graph(changed, layers)
        outputs.update(changed)
        return outputs[name]

    x = add("in:out", library.shared(patches, name="patches"))
    hidden = add("hid1:out", tt.maximum(tt.dot(x, encoder) + bias, 0))
    unit_rows = decoder / tt.sqrt((decoder**2).sum(axis=1, keepdims=True))
    reconstruction = add("out:out", tt.dot(hidden, unit_rows) + offset)

    error = 0.5 * ((reconstruction - x) ** 2).sum() / patches.shape[0]
    parameters = {parameter.name: parameter for layer in layers for parameter in layer.params}
    return Network(parameters, outputs, error + regs.loss(layers, outputs))


# Training


def train(
    parameters: list[Any],
    loss_and_gradients: Callable[[], list[np.ndarray]],
    start: list[np.ndarray],
    iterations: int,
    report: Callable[[float], None],
) -> None:
    """Minimize the loss by L-BFGS from `start`, leaving the result in the parameters.

    `report` is called after each iteration, with the loss.
    """
    ends = np.cumsum([value.size for value in start])[:-1]
    latest = math.inf

    def put(flat: np.ndarray) -> None:
        for parameter, value, piece in zip(parameters, start, np.split(flat, ends)):
            parameter.set_value(piece.reshape(value.shape))

    def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal latest
        put(flat)
        loss, *gradients = loss_and_gradients()
        latest = float(loss)
        return latest, np.concatenate([gradient.ravel() for gradient in gradients])

    found = minimize(
        evaluate,
        np.concatenate([value.ravel() for value in start]),
        jac=True,
        method="L-BFGS-B",
        callback=lambda _: report(latest),
        # ftol=0: with the default, training without a penalty would end early, when little is left to explain.
        options={"maxiter": iterations, "maxfun": 2 * iterations, "maxcor": 20, "ftol": 0, "gtol": 1e-9},
    )
    put(found.x)


def compiled(library: Any, tt: Any, network: Network) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return functions of the loss with its gradients by the parameters, and of activations and reconstructions."""
    gradients = tt.grad(network.loss, list(network.parameters.values()))
    functions = (
        library.function([], [network.loss, *gradients]),
        library.function([], [network.outputs["hid1:out"], network.outputs["out:out"]]),
    )
    for function in functions:
        function()  # some libraries compile at the first call
    return functions


def train_all(options: argparse.Namespace, console: Console) -> list[Result]:
    """Train once for each weight, and return what came out."""
    library, tt = graph_library()
    rng = np.random.default_rng(options.seed)
    patches = sample_patches(photographs(options.control, rng), options.patches, rng)
    console.print(f"{len(patches)} patches of {'phase-scrambled ' if options.control else ''}photographs")

    began = time.perf_counter()
    weight = library.shared(0.0, name="weight")
    regs = regkit.build(hidden_sparsity=dict(weight=weight, reduction="batch"))
    network = build_network(library, tt, patches, options.units, regs, rng)
    parameters = list(network.parameters.values())
    start = [parameter.get_value() for parameter in parameters]
    console.print("compiling: a minute the first time, seconds later")
    with Progress(SpinnerColumn(), TimeElapsedColumn(), console=console, transient=True) as progress:
        progress.add_task("")
        loss_and_gradients, activate = compiled(library, tt, network)
    seconds = time.perf_counter() - began
    console.print(f"compiled once, in {seconds:.0f} s, for all trainings: the weight is a shared variable")

    results = []
    columns = (
        TextColumn("weight {task.fields[weight]:g}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        for value in options.weights:
            task = progress.add_task("", total=options.iterations, weight=value, loss=math.nan)
            weight.set_value(value)
            train(
                parameters,
                loss_and_gradients,
                start,
                options.iterations,
                lambda loss, task=task: progress.update(task, advance=1, loss=loss),
            )
            progress.update(task, total=progress.tasks[task].completed)  # L-BFGS may be done early
            activations, reconstructions = activate()
            filters = network.parameters["out.w"].get_value().reshape(-1, SIDE, SIDE)
            results.append(measure(value, filters, activations, patches, reconstructions))
    return results


# The output


def table(results: list[Result], control: bool) -> Table:
    """Return the measures, one row for each weight."""
    drawn = Table(
        title=f"Sparse autoencoder on {'phase-scrambled ' if control else ''}photographs",
        caption=(
            f"Activations are in units of a pixel's standard deviation; near zero is below {NEAR_ZERO:g}. "
            f"Best window: median share of a filter's energy in its best {WINDOW}x{WINDOW} window. Gabor: share of "
            f"filters that a Gabor function explains by more than {WELL_EXPLAINED:g}. Cells: how many of {CELLS**2} "
            "cells of the patch hold a filter's centre."
        ),
        caption_justify="left",
    )
    for name in ("weight", "variance unexplained", "mean activation", "near zero", "best window", "Gabor", "cells"):
        drawn.add_column(name, justify="right")
    for result in results:
        drawn.add_row(
            f"{result.weight:g}",
            f"{result.unexplained:.3f}",
            f"{result.mean_activation:.2f}",
            f"{result.near_zero:.0%}",
            f"{result.best_window:.3f}",
            f"{result.share_gabor:.0%}",
            f"{result.cells}",
        )
    return drawn


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line, and refuse what could not work."""
    parser = argparse.ArgumentParser(
        description="Train an autoencoder on patches of photographs with and without hidden_sparsity.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--control", action="store_true", help="scramble the phases of the photographs: no edges")
    parser.add_argument("--weights", type=float, nargs="*", default=[0, 0.1, 0.3, 0.8], help="of hidden_sparsity")
    parser.add_argument("--iterations", type=int, default=300, help="of L-BFGS, at most, for each weight")
    parser.add_argument("--patches", type=int, default=5000, help="of each photograph")
    parser.add_argument("--units", type=int, default=100, help="of the hidden layer")
    parser.add_argument("--seed", type=int, default=0, help="of patches, start and scrambling")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output", help="folder of the picture")
    options = parser.parse_args(arguments)
    if not options.weights:
        parser.error("--weights needs at least one number")
    for weight in options.weights:
        if not 0 <= weight < math.inf:
            parser.error(f"--weights got {weight:g}; accepted: finite numbers of at least 0")
    for name, least in (("iterations", 1), ("patches", 1), ("units", 1), ("seed", 0)):
        if getattr(options, name) < least:
            parser.error(f"--{name} got {getattr(options, name)}; accepted: whole numbers of at least {least}")
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--output got {options.output}, where no folder can be made: {error.strerror}")
    return options


def main() -> None:
    """Train, print the table, draw the picture."""
    options = parse()
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger("regkit").setLevel(logging.INFO)  # where regs.log() writes
    console = Console()
    try:
        results = train_all(options, console)
    except regkit.UnknownAliasError as missing:
        sys.exit(f"{missing}")
    console.print(table(results, options.control))
    picture = options.output / f"sparse_autoencoder{'_control' if options.control else ''}.png"
    draw(results, picture, options.control)
    print(f"picture: {picture}")


if __name__ == "__main__":
    main()
