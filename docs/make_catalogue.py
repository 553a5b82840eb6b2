"""Writes what docs/catalogue.md says of each alias from the plugins' classes, and draws its picture.

python docs/make_catalogue.py             writes what stands behind the mark; a test fails while that is not up to date
python docs/make_catalogue.py --picture   draws docs/catalogue.png too; needs matplotlib and a graph library
"""

from __future__ import annotations

import argparse
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import regkit
from regkit._constructor import constructor_arguments
from regkit._messages import first_sentence
from regkit.cli._equations import equation, readable

PAGE = Path(__file__).with_name("catalogue.md")
PICTURE = Path(__file__).with_name("catalogue.png")

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
    return [
        f"### {', '.join(f'`{alias}`' for alias in aliases)}",
        "",
        *_wrapped(f"{first_sentence(text)}."),
        "",
        "```text",
        f"{cls.__name__}({call})",
        equation(whole),
        "```",
        "",
        *([*_wrapped(_explanation(text)), ""] if equation(text) else []),
        *_item("of", cls.default_selection),
        *_item("reduction", f"{reduced}{f'. {_markdown(said)}' if said else ''}".rstrip(".")),
        *(_wrapped(f"- {gradient}", indent="  ") if gradient else []),
        *_item("references", "; ".join(_references(text)).rstrip(".")),
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


# The picture


def draw() -> None:
    """Draw every class once: its penalty of two numbers, or what it makes of an output."""
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams["axes.titlesize"] = 10
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
    figure, axes = plt.subplots(4, 6, figsize=(15, 11.2), layout="constrained")
    for panel, (alias, (of, penalty, options)) in zip(axes.flat, panels.items()):
        low, high = (0.02, 0.98) if alias == "hidden_kl" else (-1.5, 1.5)
        grid = np.linspace(low, high, 60)
        values = np.array([[float(penalty(regkit.load(alias), a, b, **options)) for a in grid] for b in grid])
        top = np.quantile(values, 0.85)
        panel.contourf(grid, grid, np.minimum(values, top), 40, cmap="viridis")
        panel.contour(grid, grid, values, np.linspace(values.min(), top, 9)[1:-1], colors="white", linewidths=0.6)
        panel.set(title=f"{alias}\n{of}", aspect="equal", xlabel="a", ylabel="b")
    z = np.linspace(-2, 2, 600)
    changes = {"hidden_noise": 0.3, "hidden_dropout": 0.5, "hidden_threshold": 0.5, "hidden_topk": 0.25}
    steps = {"weight_l1": {"by": "proximal"}, "weight_l0": {}, "weight_nonnegative": {}}
    others = iter(axes.flat[len(panels) :])
    for alias, weight in changes.items():
        changed = {"h": z}
        regkit.build({alias: dict(weight=weight, pattern="h")}).modify_graph(changed)
        _draw_change(next(others), z, changed["h"], f"{alias}={weight}\nwhat z becomes")
    for alias, options in steps.items():
        regs = regkit.build({alias: dict(weight=0.5, **options)})
        stepped = regs.after_step({"w": z[None]}, rate=1.0)["w"][0]
        written = "".join(f", {name}={value}" for name, value in options.items())
        _draw_change(next(others), z, stepped, f"{alias}=0.5{written}\nafter a step of rate 1")
    figure.savefig(PICTURE, dpi=70)


def _draw_change(panel: Any, before: Any, after: Any, title: str) -> None:
    """Draw what becomes of numbers."""
    panel.plot(before, after, ".", markersize=3, color="#31688e")
    panel.plot(before, before, color="0.6", linewidth=1)
    panel.set(title=title, ylim=(-4.2, 4.2) if "noise" in title or "dropout" in title else (-2.2, 2.2))


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


def main() -> None:
    """Write the page, and draw if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--picture", action="store_true", help="draw the picture too")
    if parser.parse_args().picture:
        draw()
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
