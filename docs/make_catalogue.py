"""Writes what docs/catalogue.md says of each alias from the plugins' classes, draws its picture, and trains with it.

python docs/make_catalogue.py             writes what stands behind the mark; a test fails while that is not up to date
python docs/make_catalogue.py --pictures  draws docs/cards too; needs matplotlib and a graph library
python docs/make_catalogue.py --numbers   trains for docs/cards/numbers.json too; needs regkit-torch and scikit-learn
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import textwrap
from collections import OrderedDict
from pathlib import Path
from typing import Any

import regkit
from regkit._constructor import constructor_arguments
from regkit._messages import first_sentence
from regkit.cli._equations import BLOCK, equation, readable

PAGE = Path(__file__).with_name("catalogue.md")
CARDS = Path(__file__).with_name("cards")
NUMBERS = CARDS / "numbers.json"

#: The distributions on the page, in its order, with what theirs have in common.
SECTIONS = {
    "regkit-hidden-l1": "Sparse activations",
    "regkit-activations": "Other penalties of activations",
    "regkit-weights": "Penalties of parameters",
    "regkit-noise": "Noise and dropout",
    "regkit-recurrent": "Changes over time",
    "regkit-contractive": "Derivatives",
}


#: What is in front of it on the page is written by hand.
MARK = "<!-- From here on written by docs/make_catalogue.py from the classes: change their docstrings, and run it. -->"


def page(by_hand: str) -> str:
    """Return the page, of which the part in front of the mark stays."""
    rows = _rows()
    lines = [by_hand.partition(MARK)[0] + MARK, ""]
    for distribution, title in SECTIONS.items():
        lines += [f"## {title}", "", f"From the distribution `{distribution}`.", ""]
        for _, cls, aliases in (row for row in rows if row[0] == distribution):
            lines += [*_entry(cls, aliases), ""]
    return "\n".join(lines).rstrip() + "\n"


def _rows() -> list[tuple[str, Any, list[str]]]:
    """Distribution, class and aliases, in the order of the page."""
    found: dict[tuple[str, str], tuple[str, Any, list[str]]] = {}
    for alias, claims in regkit.available().items():
        for claim in claims:
            if claim.distribution in SECTIONS:
                row = found.setdefault((claim.distribution, claim.target), (claim.distribution, regkit.load(alias), []))
                row[2].append(alias)
    return sorted(found.values(), key=lambda row: ([*SECTIONS].index(row[0]), row[2]))


def _entry(cls: Any, aliases: list[str]) -> list[str]:
    text = inspect.cleandoc(cls.__doc__)
    whole = next(doc for base in cls.__mro__ if (doc := inspect.cleandoc(base.__doc__ or "")) and equation(doc))
    arguments, _ = constructor_arguments(cls)
    call = ", ".join(f"{name}={default!r}" for name, default in arguments.items())
    gradient = _gradient(text)
    reduction = re.search(r"^reduction : (.*)(?:\n    .*)*", text, re.MULTILINE)
    reduced = "none" if reduction is None else _markdown(reduction[1])
    said = " ".join(line.strip() for line in reduction[0].splitlines()[1:]) if reduction else ""
    full = f"{cls.__module__.partition('.')[0]}.{cls.__name__}"
    return [
        f"### {', '.join(f'`{alias}`' for alias in aliases)}",
        "",
        f"![{aliases[0]} of two numbers, or what it makes of one](cards/{PICTURES.get(aliases[0], aliases[0])}.png)",
        "",
        *_wrapped(f"{first_sentence(text)}."),
        "",
        "$$",
        *textwrap.dedent(BLOCK.search(whole)[2]).strip().splitlines(),
        "$$",
        "",
        *([*_wrapped(_explanation(text)), ""] if equation(text) else []),
        *_wrapped(f"- *class*: [{full}](reference/regularizers.rst#{full}), `{cls.__name__}({call})`.", indent="  "),
        *_item("of", cls.default_selection),
        *_item("reduction", f"{reduced}{f'. {_markdown(said)}' if said else ''}".rstrip(".")),
        *(_wrapped(f"- {gradient}", indent="  ") if gradient else []),
        *_item("references", "; ".join(_references(text)).rstrip(".")),
        "",
        *_written(cls, aliases),
        "",
        *_tried(aliases),
    ]


#: Cards that share a picture.
PICTURES = {
    **dict.fromkeys(("input_noise", "output_noise", "noise"), "hidden_noise"),
    **dict.fromkeys(("input_dropout", "output_dropout", "dropout"), "hidden_dropout"),
}


def _tried_of(aliases: list[str]) -> tuple[str, dict[str, Any]]:
    """The alias of a card that the fixed network is trained with, and its options."""
    return next((alias, TRIED[alias]) for alias in aliases if alias in TRIED)


def _written(cls: Any, aliases: list[str]) -> list[str]:
    """A table of how it is written on each library."""
    alias, options = _tried_of(aliases)
    regs = regkit.build({alias: {name: {"w": 0.0} if value == START else value for name, value in options.items()}})
    watch = "with regkit_{}.watch(model, regs) as run:` … `loss = error + run.loss()"
    graph, jax, torch = "cost = error + regs.regularize(layers).loss", "", watch.format("torch")
    tensorflow = watch.format("tensorflow")
    if alias == "contractive":
        jax = "run = regkit_jax.Run(regs, again=forward)`, `loss = error + run.loss()"
        tensorflow = tensorflow.replace("regs)", "regs, tape=tape)")
    elif regs.changes_params:
        graph = "updates = regs.after_step(updates, rate, layers)"
        jax = "params = regkit_jax.after_step(regs, params, rate)"
        torch = torch.replace("regs)", "regs, optimizer=optimizer)")
        tensorflow = "regkit_tensorflow.after_step(regs, variables, rate)"
    elif regs.changes_graph:
        graph = "(error,) = regs.regularize(layers, also=[error]).also"
        key = "" if cls.in_predictions else ", key=key"
        jax = f'run = regkit_jax.Run(regs{key})`, `h = run.tap("hid", h)'
    elif cls.selects == "params":
        jax = "loss = error + regkit_jax.Run(regs, layers=regkit_jax.layers_of(params)).loss()"
    else:
        jax = 'run = regkit_jax.Run(regs, layers=layers)`, `h = run.tap("hid", h)`, `loss = error + run.loss()'
    return [
        f"| library | with `regs = regkit.build({_call(alias, options)})` |",
        "| --- | --- |",
        f"| PyTensor, Aesara, theano-pymc | `{graph}` |",
        f"| JAX | `{jax}` |",
        f"| PyTorch | `{torch}` |",
        "| Keras | `model = regkit_keras.Model(network, regs)` |",
        f"| TensorFlow | `{tensorflow}` |",
    ]


def _call(alias: str, options: dict[str, Any]) -> str:
    """Keyword and options as they are written."""
    shown = ", ".join(f"{name}={value if value == START else _quoted(value)}" for name, value in options.items())
    return f"{alias}=dict({shown})"


def _quoted(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (str, list)) else repr(value)


def _tried(aliases: list[str]) -> list[str]:
    """A table of what it did to the fixed network."""
    alias, options = _tried_of(aliases)
    numbers = json.loads(NUMBERS.read_text(encoding="utf-8"))
    rows = {"without": numbers[_network(alias)], f"`{_call(alias, options)}`": numbers[alias]}
    return [
        "| the digits | wrong | activations near zero | mean size | norm of the weights | weights at zero |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {name} | {one['wrong']:.1%} | {one['near zero']:.0%} | {one['size']:.2f} | {one['norm']:.1f} "
            f"| {one['at zero']:.0%} |"
            for name, one in rows.items()
        ),
    ]


def _explanation(text: str) -> str:
    """The paragraph behind the equation."""
    parts = readable(text.partition(".. math::")[2]).split("\n\n")
    return _markdown(parts[1])


def _gradient(text: str) -> str:
    """What a docstring says of the gradient, to the end of the paragraph."""
    found = re.search(r"The gradient.*?(?=\n\n|\Z)", text, re.DOTALL)
    return _markdown(found[0]) if found else ""


def _references(text: str) -> list[str]:
    found = re.search(r"^References\n-+\n(.*?)(?:\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    entries = re.split(r"^\.\. ", found[1], flags=re.MULTILINE)[1:] if found else []
    return [_markdown(" ".join(entry.split())).rstrip(".") for entry in entries]


def _markdown(text: str) -> str:
    """Restructured text as Markdown, as far as our docstrings go."""
    text = readable(" ".join(text.split())).replace("``", "`")
    return re.sub(r"(\[\d+\])_", r"\1", text)


def _item(name: str, text: str) -> list[str]:
    return _wrapped(f"- *{name}*: {text}.", indent="  ")


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


# The pictures


def draw() -> None:
    """Draw every class once, in a file of its own: its penalty of two numbers, or what it makes of an output."""
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams.update({"axes.titlesize": 9, "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8})
    import matplotlib.pyplot as plt
    import numpy as np

    class Param(np.ndarray):
        name = "w"

    def outputs(make: Any) -> Any:
        return lambda cls, a, b, **options: cls("h", **options).loss([], {"h": np.array(make(a, b), "float64")})

    def params(make: Any) -> Any:
        def penalty(cls: Any, a: float, b: float, **options: Any) -> Any:
            return cls("w", **options).loss([regkit.Layer("h", [np.array(make(a, b), "float64").view(Param)])])

        return penalty

    column, row = params(lambda a, b: [[a], [b]]), params(lambda a, b: [[a, b]])
    pair = outputs(lambda a, b: [[a, b]])
    sequence = outputs(lambda a, b: [[[1, 0], [a, b]]])
    panels: dict[str, tuple[str, Any, dict[str, Any]]] = {
        "hidden_l1": ("activations (a, b)", pair, {}),
        "hidden_l2": ("activations (a, b)", pair, {}),
        "hidden_hoyer": ("activations (a, b)", pair, {}),
        "hidden_variation": ("activations (a, b)", pair, {}),
        "hidden_kl": ("means (a, b), rho=0.3", pair, {"rho": 0.3}),
        "hidden_decorrelation": ("examples (a, b), (0, 0)", outputs(lambda a, b: [[a, b], [0, 0]]), {}),
        "weight_l1": ("weights (a, b)", row, {}),
        "weight_l2": ("weights (a, b)", row, {}),
        "elastic_net": ("weights (a, b)", row, {}),
        "group_lasso": ("a group (a, b)", row, {"axis": 0}),
        "weight_orthogonal": ("a column (a, b)", column, {}),
        "weight_spectral": ("diag(a, b)", params(lambda a, b: [[a, 0], [0, b]]), {}),
        "weight_max_norm": ("a column (a, b), c=1", column, {}),
        "recurrent_norm": ("(1, 0), then (a, b)", sequence, {}),
        "recurrent_state": ("(1, 0), then (a, b)", sequence, {}),
        "contractive": ("tanh(ax + b) at x = 1", _contractive(), {}),
    }
    panels["weight_distance"] = ("weights (a, b)", row, {"reference": {"w": np.array([[0.5, -0.5]])}})
    panels["weight_decay"] = panels.pop("weight_l2")
    for alias, (of, penalty, options) in panels.items():
        figure, panel = plt.subplots(figsize=SIZE, layout="constrained")
        low, high = (0.02, 0.98) if alias == "hidden_kl" else (-1.5, 1.5)
        grid = np.linspace(low, high, 60)
        values = np.array([[float(penalty(regkit.load(alias), a, b, **options)) for a in grid] for b in grid])
        top = np.quantile(values, 0.85)
        panel.contourf(grid, grid, np.minimum(values, top), 40, cmap="viridis")
        panel.contour(grid, grid, values, np.linspace(values.min(), top, 9)[1:-1], colors="white", linewidths=0.6)
        panel.set(title=of, aspect="equal", xlabel="a", ylabel="b")
        _save(figure, alias)
    z = np.linspace(-2, 2, 600)
    changes = {"hidden_noise": 0.3, "hidden_dropout": 0.5, "hidden_threshold": 0.5, "hidden_topk": 0.25}
    for alias, weight in changes.items():
        changed = {"h": z}
        regkit.build({alias: dict(weight=weight, pattern="h")}).modify_graph(changed)
        _draw_change(alias, z, changed["h"], f"what z becomes, {weight}")
    examples = np.stack([z] * 2)
    outputs = {"h": examples}
    regkit.build(drop_path=dict(weight=0.5, pattern="h", seed=0)).modify_graph(outputs)
    _draw_change("drop_path", examples, outputs["h"], "two examples, 0.5")
    for alias in ("weight_l0", "weight_nonnegative", "decoupled_decay"):
        stepped = regkit.build({alias: dict(weight=0.5)}).after_step({"w": z[None]}, rate=1.0)["w"][0]
        _draw_change(alias, z, stepped, "after a step of rate 1, 0.5")
    figure, panel = plt.subplots(figsize=SIZE, layout="constrained")
    columns = np.stack([np.repeat([0.4, 0.8, 1.6, 2.2], 12), np.tile(np.arange(12) * np.pi / 6 + 0.2, 4)])
    columns = np.stack([columns[0] * np.cos(columns[1]), columns[0] * np.sin(columns[1])])
    scaled = regkit.build(weight_unit_norm=1).after_step({"w": columns}, rate=1.0)["w"]
    panel.plot([columns[0], scaled[0]], [columns[1], scaled[1]], color="0.8", linewidth=1)
    panel.plot(*columns, ".", markersize=3, color="0.6")
    panel.plot(*scaled, ".", markersize=5, color="#31688e")
    panel.set(title="columns (a, b) after a step", aspect="equal", xlabel="a", ylabel="b")
    _save(figure, "weight_unit_norm")


SIZE = (2.6, 2.6)


def _draw_change(alias: str, before: Any, after: Any, title: str) -> None:
    """Draw what becomes of numbers."""
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=SIZE, layout="constrained")
    panel.plot(before.T, after.T, ".", markersize=2, color="#31688e")
    panel.plot(before.T, before.T, color="0.6", linewidth=1)
    panel.set(title=title, ylim=(-4.2, 4.2) if "drop" in alias else (-2.2, 2.2))
    _save(figure, alias)


def _save(figure: Any, alias: str) -> None:
    CARDS.mkdir(exist_ok=True)
    figure.savefig(CARDS / f"{alias}.png", dpi=110)


def _contractive() -> Any:
    """Return the penalty of one unit as a function of its weight and bias, compiled once."""
    import numpy as np

    from regkit.testing import installed_libraries
    from regkit.testing._laboratory import GraphLibrary

    lib = GraphLibrary(installed_libraries()[0])
    x, w, b = lib.tensor("x"), lib.tensor("w"), lib.tensor("b")
    z = lib.tensor_module.tanh(x.dot(w) + b)
    penalty = lib.function([x, w, b], regkit.load("contractive")("h", wrt="x").loss([], {"x": x, "h": z}))
    one = np.ones((1, 1))
    return lambda cls, weight, bias: penalty(one, weight * one, bias * one)


# The numbers: one network, trained with each of them

START = "start"  # stands for the weights that the network begins with
TRIED: dict[str, dict[str, Any]] = {
    "hidden_l1": {"weight": 0.03, "reduction": "batch"},
    "hidden_decorrelation": {"weight": 0.1},
    "hidden_hoyer": {"weight": 0.02, "reduction": "mean"},
    "hidden_kl": {"weight": 0.1, "rho": 0.1},
    "hidden_l2": {"weight": 0.01, "reduction": "batch"},
    "hidden_threshold": {"threshold": 0.5},
    "hidden_topk": {"k": 8},
    "hidden_variation": {"weight": 0.01, "reduction": "batch"},
    "decoupled_decay": {"weight": 0.003},
    "elastic_net": {"weight": 0.002, "by": "proximal"},
    "group_lasso": {"weight": 0.002, "axis": 1, "by": "proximal"},
    "weight_l2": {"weight": 0.01},
    "weight_distance": {"weight": 0.01, "pattern": "hid.weight", "reference": START},
    "weight_l0": {"weight": 1e-4},
    "weight_l1": {"weight": 0.002, "by": "proximal"},
    "weight_max_norm": {"weight": 0.1, "c": 1.0, "axis": 0},
    "weight_nonnegative": {"weight": 1.0},
    "weight_orthogonal": {"weight": 0.01, "pattern": "hid.weight"},
    "weight_spectral": {"weight": 0.1},
    "weight_unit_norm": {"weight": 1.0, "axis": 0},
    "drop_path": {"weight": 0.2, "pattern": "act"},
    "dropout": {"weight": 0.2, "pattern": ["in", "act"]},
    "hidden_dropout": {"weight": 0.5},
    "hidden_noise": {"weight": 0.5},
    "input_dropout": {"weight": 0.2, "pattern": "in"},
    "input_noise": {"weight": 0.3, "pattern": "in"},
    "noise": {"weight": 0.3, "pattern": ["in", "act"]},
    "output_dropout": {"weight": 0.2, "pattern": "out"},
    "output_noise": {"weight": 0.5, "pattern": "out"},
    "recurrent_norm": {"weight": 0.002, "pattern": "rnn:0", "reduction": "mean"},
    "recurrent_state": {"weight": 0.001, "pattern": "rnn:0", "reduction": "batch"},
    "contractive": {"weight": 0.0005, "wrt": "in", "pattern": "act", "reduction": "batch"},
}


def _network(alias: str) -> str:
    """The network that an alias is tried with."""
    return "rnn" if alias.startswith("recurrent_") else "sigmoid" if alias == "hidden_kl" else "relu"


def numbers(alias: str) -> dict[str, float]:
    """Train the network of an alias with it, or a network of this name without; return what came of it."""
    import numpy as np
    import regkit_torch
    import torch
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    torch.set_num_threads(1)  # more of them wait for each other where processors are shared
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    x, y = torch.tensor(images[order] / 16), torch.tensor(labels[order])
    x.requires_grad_()  # for contractive
    kind = alias if alias in ("relu", "sigmoid", "rnn") else _network(alias)
    if kind == "rnn":

        class Last(torch.nn.Module):  # time step
            def forward(self, both: Any) -> Any:
                return both[0][:, -1]

        parts = {"rnn": torch.nn.RNN(8, 32, batch_first=True), "last": Last(), "out": torch.nn.Linear(32, 10)}
    else:
        act = torch.nn.ReLU() if kind == "relu" else torch.nn.Sigmoid()
        parts = {"in": torch.nn.Identity(), "hid": torch.nn.Linear(64, 32), "act": act, "out": torch.nn.Linear(32, 10)}
    model = torch.nn.Sequential(OrderedDict(parts)).double()
    x = x.reshape(-1, 8, 8) if kind == "rnn" else x
    options = dict(TRIED.get(alias, {}))
    if options.get("reference") == START:
        options["reference"] = {"hid.weight": model.hid.weight.detach().clone()}
    regs = regkit.build({alias: options} if options else {})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with regkit_torch.watch(model, regs, optimizer=optimizer) as run:
        for _ in range(300):
            optimizer.zero_grad()
            (torch.nn.functional.cross_entropy(model(x[:1200]), y[:1200]) + run.loss()).backward()
            optimizer.step()
        model.eval()
        seen: list[Any] = []
        looked_at = model.rnn if kind == "rnn" else model.act
        looked_at.register_forward_hook(lambda module, inputs, output: seen.append(output))
        with torch.no_grad():
            wrong = (model(x[1200:]).argmax(1) != y[1200:]).double().mean()
    z = seen[0][0] if kind == "rnn" else seen[0]
    w = (model.rnn.weight_hh_l0 if kind == "rnn" else model.hid.weight).detach()
    found = {"wrong": wrong, "near zero": (abs(z) < 0.01).double().mean(), "size": abs(z).mean()}
    found |= {"norm": w.norm(), "at zero": (w == 0).double().mean()}
    return {name: round(float(number), 4) for name, number in found.items()}


def main() -> None:
    """Write the page, and draw or train if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", action="store_true", help="draw the pictures too")
    parser.add_argument("--numbers", action="store_true", help="train the network with each of them too")
    options = parser.parse_args()
    if options.pictures:
        draw()
    if options.numbers:
        found = {name: numbers(name) for name in ("relu", "sigmoid", "rnn", *TRIED)}
        NUMBERS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
