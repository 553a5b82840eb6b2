"""Equations of docstrings in Unicode. Expected lines are written by hand, as one would read them out."""

# ruff: noqa: RUF001 - mathematical signs are meant

from __future__ import annotations

import pytest

import regkit

equations = pytest.importorskip("regkit.cli._equations", reason="the command line is not installed")


@pytest.mark.parametrize(
    ("latex", "read"),
    [
        (r"\frac{1}{|\Omega|} \sum_{i \in \Omega} \frac{\|Z_i\|_1}{n_i}", "1/|Ω| Σ_{i∈Ω} ‖Zᵢ‖₁/nᵢ"),
        (r"\left\| \frac{\partial Z_i^e}{\partial x^e} \right\|_F^2", "‖∂Zᵢᵉ/∂xᵉ‖_F²"),
        (r"\|A - B\|_2 - \| C \|_1", "‖A − B‖₂ − ‖C‖₁"),
        (r"\frac{1 - \alpha}{2}", "(1 − α)/2"),
        (r"\frac{1}{T n}", "1/(T n)"),
        (r"\frac{a}{\frac{b}{c}}", "a/(b/c)"),
        (r"\frac12", "1/2"),
        (r"\log \frac{\rho}{\hat\rho_{ij}}", "log (ρ/ρ̂ᵢⱼ)"),
        (r"\sqrt{p_g} \, \sqrt{a + b}", "√p_g √(a + b)"),
        (r"W^\top W \in \mathbb{R}^{n \times n}", "Wᵀ W ∈ ℝ^{n × n}"),
        (r"\operatorname{sign}(x), \qquad m \sim \mathrm{Bernoulli}(1 - p)", "sign(x), m ~ Bernoulli(1 − p)"),
        (r"\sum_{t=1}^{T} x_{t-1}", "Σₜ₌₁^T xₜ₋₁"),
        (r"(z - \bar z) \cdot 2^{-20}", "(z − z̄) · 2⁻²⁰"),
    ],
)
def test_an_equation_reads_as_one_would_write_it_in_a_line(latex, read):
    assert equations.in_unicode(latex) == read


@pytest.mark.parametrize("latex", [r"\frac{1}{2", r"\frac{1}", r"x_", r"\unheard{of}"])
def test_what_is_not_understood_stays_as_it_is_written(latex):
    assert latex.partition("{")[0] in equations.in_unicode(latex)


def test_an_equation_of_several_lines_is_one_line_in_its_place():
    text = "It is\n\n.. math:: a_1\n    + b^2\n\nwhere :math:`a \\in\nA`."
    assert equations.readable(text) == "It is\n\n    a₁ + b²\n\nwhere a ∈ A."


@pytest.mark.parametrize("alias", sorted(regkit.available()))
def test_no_latex_is_left_of_what_a_plugin_says(alias):
    text = equations.readable(regkit.load(alias).__doc__)
    assert not any(sign in text for sign in ("\\", ":math:", ".. math::"))
