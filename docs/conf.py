"""How Sphinx makes the site. Its source is the whole repository, so that the pages' links work in both places.

`make docs` runs it, with the versions of lanes.toml. Nothing is fetched: the inventories of other projects are in
_inventories, and what sets equations comes from a package.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from typing import Any

import regkit

HERE = Path(__file__).parent

project = "regkit"
author = "The regkit developers"
project_copyright = "The regkit developers"
release = metadata.version("regkit-core")
extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
]

# Pages: what is named here. README.md is the page of the repository, whose beginning docs/index.md includes.
root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "docs/**.rst",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "RELEASING.md",
    "plugins/regkit-*/*.md",
    "examples/third_party/*.md",
]
exclude_patterns = [".*", "dist", "docs/_build"]

# Python: what is in single backticks is looked up, but for words in small letters, which are arguments.
default_role = "obj"
add_module_names = False
nitpicky = True
nitpick_ignore_regex = [("py:obj", "[a-z_]+")]
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say what is accepted in the field's words
python_use_unqualified_type_names = True
numpydoc_show_class_members = False  # the pages of the reference say which
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = {"NumPy", "Claim", "Outcome", "RandomStream"}
numpydoc_xref_aliases = {name: f"regkit.{name}" for name in regkit.__all__ if name[0].isupper()}
numpydoc_xref_aliases["scalar"] = "scalar"  # which numpydoc takes for NumPy's

intersphinx_mapping = {
    name: (uri, str(HERE / "_inventories" / f"{name}.inv"))
    for name, uri in {
        "python": "https://docs.python.org/3/",
        "numpy": "https://numpy.org/doc/stable/",
        "pytensor": "https://pytensor.readthedocs.io/en/latest/",
        "jax": "https://docs.jax.dev/en/latest/",
    }.items()
}

# Markdown
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4

# The look
html_theme = "furo"
pygments_style = "friendly"
pygments_dark_style = "github-dark"
html_title = f"regkit {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
templates_path = ["_templates"]
html_additional_pages = {"index": "to_first_page.html"}
html_copy_source = False
html_show_sphinx = False


def _packaged(distribution: str, name: str) -> Path:
    """A file that an installed distribution brings."""
    return next(Path(str(path.locate())) for path in metadata.files(distribution) or () if path.name == name)


# MathJax as one file, whose letters are drawings: it needs no fonts, and nothing from elsewhere.
MATHJAX = _packaged("sphinx-mathjax-offline", "tex-svg.js")
html_static_path.append(str(MATHJAX))
mathjax_path = MATHJAX.name


def _read(app: Any, docname: str, source: list[str]) -> None:
    """Links to the README are links to the page that includes it; a plugin's changelog says whose it is."""
    source[0] = re.sub(r"\]\(((?:\.\./)+)README\.md", r"](\1docs/index.md", source[0])
    plugin = re.fullmatch("plugins/(.*)/CHANGELOG", docname)
    if plugin:
        source[0] = source[0].replace("# Changelog", f"# {plugin[1]}", 1)


def _initials(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """An author's initial behind the number of a reference does not begin a list."""
    lines[:] = [re.sub(r"^(\.\. \[[^\]]+\] )(?=[A-Z]\. )", r"\1\\", line) for line in lines]


def _short_name(app: Any, env: Any, node: Any, text: Any) -> Any:
    """A class in backticks, such as `Live.set`, may stand without the module of ours that has it."""
    python = env.get_domain("py")
    for module in ("regkit", "regkit.graph", "regkit.hosts", "regkit.testing"):
        ours = node["refdomain"] == "py" and node["reftarget"][:1].isupper()
        if ours and f"{module}.{node['reftarget']}" in python.objects:
            place = (node["refdoc"], app.builder, "obj", f"{module}.{node['reftarget']}", node, text)
            return python.resolve_xref(env, *place)
    return None


def _source_of(app: Any, module: str, name: str) -> str | None:
    """Link to the source of what `regkit.hosts` defines: viewcode takes all names of a file for those of one module."""
    return module if module == "regkit.hosts" else None


def setup(app: Any) -> None:
    """Connect what happens while pages are read, and links resolved."""
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _initials, priority=600)  # after numpydoc
    app.connect("missing-reference", _short_name)
    app.connect("viewcode-follow-imported", _source_of)
