"""Converts the LaTeX equations of docstrings to lines of Unicode.

The table has the commands that equations of penalties use. Another command, and an equation whose braces do not match,
stay as they are.
"""

# ruff: noqa: RUF001 - mathematical signs are meant

from __future__ import annotations

import re

_SIGNS = """
alpha α beta β gamma γ delta δ epsilon ε zeta ζ eta η theta θ iota ι kappa κ lambda λ mu μ nu ν xi ξ pi π rho ρ sigma σ
tau τ upsilon υ phi φ chi χ psi ψ omega ω varepsilon ε varphi φ Gamma Γ Delta Δ Theta Θ Lambda Λ Xi Ξ Pi Π Sigma Σ Phi Φ
Psi Ψ Omega Ω ell ℓ infty ∞ nabla ∇ partial ∂ top ⊤ emptyset ∅ sum Σ prod Π int ∫ cdot · times × circ ∘ odot ⊙ otimes ⊗
pm ± in ∈ notin ∉ subset ⊂ cup ∪ cap ∩ mid | to → rightarrow → leftarrow ← mapsto ↦ le ≤ leq ≤ ge ≥ geq ≥ ne ≠ neq ≠
approx ≈ sim ~ equiv ≡ propto ∝ ll ≪ gg ≫ ldots … dots … cdots ⋯ Vert ‖ lVert ‖ rVert ‖ lvert | rvert | langle ⟨
rangle ⟩ lfloor ⌊ rfloor ⌋ lceil ⌈ rceil ⌉ log log exp exp max max min min sup sup inf inf det det tanh tanh sin sin
cos cos arg arg lim lim | ‖ { { } } % % _ _ & &
"""
_COMMANDS, _WRITTEN = _SIGNS.split()[::2], _SIGNS.split()[1::2]

SIGNS = dict(zip(_COMMANDS, _WRITTEN), quad=" ", qquad=" ", **dict.fromkeys(",;: ", " "), **{"!": ""})

#: Signs after which the space that ends a command is dropped.
PREFIXES = {"partial", "nabla"}

ACCENTS = dict(hat="\u0302", widehat="\u0302", bar="\u0304", overline="\u0304", tilde="\u0303", dot="\u0307")

FRACTIONS = {"frac", "tfrac", "dfrac"}

#: A function whose argument may be the fraction that follows.
FUNCTION = re.compile(r"(log|exp|max|min|tanh|sin|cos) *$")

#: Commands whose argument is left as it is.
PLAIN = {"operatorname", "mathrm", "text", "mathit", "mathbf", "boldsymbol", "textrm", "mathsf", "mathtt", "vec"}

LETTERS = {
    "mathbb": dict(zip("CEHNPQRZ", "ℂ𝔼ℍℕℙℚℝℤ")),
    "mathcal": dict(zip("BDEFHILMNOR", "ℬ𝒟ℰℱℋℐℒℳ𝒩𝒪ℛ")),
}

BELOW = dict(zip("0123456789+-−=()aehijklmnoprstuvxβγρφχ", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓᵦᵧᵨᵩᵪ"))
ABOVE = dict(zip("0123456789+-−=()*abcdefghijklmnoprstuvwxyz⊤", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾*ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᵀ"))

#: A displayed equation: all lines indented further than the first.
BLOCK = re.compile(r"^([ ]*)\.\. math::[ ]*(.*(?:\n+\1[ ]+\S.*)*)", re.MULTILINE)

TOKEN = re.compile(r"\\([A-Za-z]+)\s*|\\(.)|(\s+)|(.)", re.DOTALL)


def readable(docstring: str) -> str:
    r"""Return a docstring with its equations, ``.. math::`` and ``:math:``, in Unicode.

    Examples
    --------
    >>> print(readable(r"The penalty is :math:`\frac{\|Z_i\|_1}{n_i}`."))
    The penalty is ‖Zᵢ‖₁/nᵢ.
    """
    text = BLOCK.sub(lambda found: f"{found[1]}    {in_unicode(found[2])}", docstring)
    return re.sub(r":math:`([^`]*)`", lambda found: in_unicode(found[1]), text)


def equation(docstring: str) -> str:
    """Return the first displayed equation in Unicode; an empty string if there is none."""
    found = BLOCK.search(docstring)
    return "" if found is None else in_unicode(found[2])


def in_unicode(latex: str) -> str:
    r"""Return an equation as one line of Unicode.

    Examples
    --------
    >>> print(in_unicode(r"\sum_{i \in \Omega} \left\| \frac{\partial Z_i^e}{\partial x^e} \right\|_F^2"))
    Σ_{i∈Ω} ‖∂Zᵢᵉ/∂xᵉ‖_F²
    """
    reader = _Reader(latex)
    try:
        text = reader.row(until=None)
    except IndexError:  # a brace that is not closed, a command without its argument
        return " ".join(latex.split())
    return " ".join(text.split())


class _Reader:
    """Reads an equation once, from left to right."""

    def __init__(self, latex: str) -> None:
        self._tokens = [
            ("command", found[1] or found[2]) if found[1] or found[2] else ("sign", " " if found[3] else found[4])
            for found in TOKEN.finditer(latex)
        ]
        self._tokens.reverse()  # the next is the last
        self._spaced = [bool(re.search(r"\s$", found[0])) for found in TOKEN.finditer(latex)][::-1]

    def row(self, until: str | None) -> str:
        """Return the text up to a closing brace, or to the end."""
        written = ""
        bars = 0
        while self._tokens or until is not None:
            kind, name = self._tokens[-1]
            if (kind, name) == ("sign", until):
                self._next()
                break
            if kind == "sign" and name in "_^":
                self._next()
                written = written.rstrip() + self._script(name)
                continue
            fraction = kind == "command" and name in FRACTIONS
            piece = self._piece()
            if fraction and FUNCTION.search(written):
                piece = f"({piece})"
            if piece == "‖":
                bars += 1
                opening = bars % 2 == 1
                written = f"{written}‖\0" if opening else f"{written.rstrip()}‖"
            else:
                written += piece
        # no space after an opening delimiter, or before a closing one
        return re.sub(r"\s+([)\]}])", r"\1", re.sub(r"([(\[{\0])\s+", r"\1", written)).replace("\0", "")

    def _piece(self) -> str:
        """Return the next sign, command or group, with the space that ended a command."""
        spaced = self._spaced[-1]
        kind, name = self._next()
        if kind == "sign":
            return self.row(until="}") if name == "{" else name.replace("-", "−")
        if name in ("left", "right"):
            self._skip_space()
            delimiter = self._piece()
            return "" if delimiter == "." else delimiter
        space = " " if spaced else ""
        if name in FRACTIONS:
            above, below = self._argument(), self._argument()
            return f"{_bracketed(above)}/{_bracketed(below, divisor=True)}"
        if name == "sqrt":
            return f"√{_bracketed(self._argument(), divisor=True)}"
        if name in ACCENTS:
            under = self._argument()
            return f"{under[:1]}{ACCENTS[name]}{under[1:]}"
        if name in PLAIN:
            return self._argument()
        if name in LETTERS:
            return "".join(LETTERS[name].get(letter, letter) for letter in self._argument())
        if name in PREFIXES:
            return SIGNS[name]
        return SIGNS.get(name, f"\\{name}") + space

    def _argument(self) -> str:
        """Return a group, or a single sign or command."""
        self._skip_space()
        return self._piece().strip()

    def _script(self, where: str) -> str:
        """Return a subscript or superscript, in small signs if Unicode has all of them."""
        inside = re.sub(r"\s*([∈=+−,<>≠≤≥])\s*", r"\1", self._argument())
        small = BELOW if where == "_" else ABOVE
        if inside and all(sign in small for sign in inside):
            return "".join(small[sign] for sign in inside) + self._space()
        return (f"{where}{inside}" if len(inside) == 1 else f"{where}{{{inside}}}") + self._space()

    def _space(self) -> str:
        return " " if self._took_space else ""

    def _skip_space(self) -> None:
        while self._tokens and self._tokens[-1] == ("sign", " "):
            self._next()

    def _next(self) -> tuple[str, str]:
        self._took_space = self._spaced.pop()
        return self._tokens.pop()


def _bracketed(text: str, divisor: bool = False) -> str:
    """Return the text in brackets if it would be misread without."""
    outside = text
    while True:
        inner = re.sub(r"\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}|‖[^‖]*‖|\|[^|]*\|", "x", outside)
        if inner == outside:
            break
        outside = inner
    return f"({text})" if re.search(r"[\s+−=,·/]" if divisor else r"[\s+−=,]", outside) else text
