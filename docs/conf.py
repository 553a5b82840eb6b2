"""How Sphinx makes the site. Its source is the whole repository, so that the pages' links work in both places.

`make docs` runs it, with the versions of lanes.toml. Nothing is fetched: the inventories of other projects are in
_inventories, and what sets equations comes from a package.
"""

from __future__ import annotations

import doctest
import inspect
import re
from collections import defaultdict
from importlib import metadata
from pathlib import Path
from typing import Any

from docutils import nodes

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
    "sphinx_copybutton",
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
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 4

# What is copied is what is typed: no prompts, and no output.
copybutton_prompt_text = r">>> |\.\.\. ?"
copybutton_prompt_is_regexp = True

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
    """Links to the README are links to the page that includes it, those into the reference to a name there.

    A plugin's changelog says whose it is.
    """
    source[0] = re.sub(r"\]\(((?:\.\./)+)README\.md", r"](\1docs/index.md", source[0])
    source[0] = re.sub(r"\[([^\]]*)\]\(reference/\w+\.rst#([\w.]+)\)", r"{py:obj}`\1 <\2>`", source[0])
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


#: The aliases of each class of a plugin, by its full name.
ALIASES = defaultdict(list)
for alias, claims in regkit.available().items():
    for claim in claims:
        ALIASES[claim.target.replace(":", ".")].append((alias, claim.distribution))


def _keyword(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Behind the summary of a regularizer stands how it is written, and where it is from."""
    found = ALIASES.get(name)
    if found:
        module, _, cls = name.rpartition(".")
        keywords = ", ".join(f"``{alias}``" for alias, _ in found)
        options = inspect.signature(thing).parameters.values()
        needed = "".join(f", {one.name}=..." for one in options if one.default is inspect.Parameter.empty)
        card = f"../catalogue.html#{'-'.join(alias for alias, _ in sorted(found)).replace('_', '-')}"
        fields = (
            f":Keyword: {keywords} (`in the catalogue <{card}>`__)",
            f":Use: ``regkit.build({found[0][0]}=dict(weight=0.1{needed}))``",
            f":Import: ``from {module} import {cls}``",
            f":Distribution: {found[0][1]}",
        )
        first = next(number for number, line in enumerate(lines) if line.strip())
        behind = lines.index("", first)
        lines[behind:behind] = ["", *fields]


#: A block of code, and its beginning: spaces behind a prompt.
CODE = re.compile(r"(?<=<pre><span></span>).*?(?=</pre>)", re.DOTALL)
INDENT = re.compile(r"(?:>>> |\.\.\. ?)? *")
#: What is not wrapped: prompt, indentation and the first word.
BEGINNING = re.compile(r'^(?:<span class="(?:gp|w)">[^<]*</span>)* *(?:<span [^>]*>[^<\s]*</span>|[^<\s]+)')


def _lines(match: Any) -> str:
    """Lines of code as elements, so that what is wrapped on a narrow screen hangs below the beginning of its line."""
    lines = []
    for line in match[0].rstrip().splitlines():
        text = re.sub("<[^>]*>", "", line).replace("&gt;", ">")
        indent = len(INDENT.match(text)[0]) + 2
        line = BEGINNING.sub(r'<span class="beginning">\g<0></span>', line, count=1)
        lines.append(f'<span class="line" style="--hang:{indent}ch">{line}\n</span>')
    return "".join(lines)


def _page(app: Any, docname: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Change what HTML a page has: lines of code, pictures that open by themselves, a link to its programs."""
    if doctree is None:
        return
    body = CODE.sub(_lines, context["body"])
    kind = "picture card" if docname == "docs/catalogue" else "picture"
    body = re.sub(r'<img [^>]*src="([^"]+)"[^>]*>', rf'<a class="{kind}" href="\1">\g<0></a>', body)
    program = "" if docname.startswith("docs/reference/") else _program(doctree)
    if program:
        name = docname.removeprefix("docs/").removesuffix("/README").rpartition("/")[2]
        into = Path(app.outdir, "_programs", f"{name}.py")
        into.parent.mkdir(exist_ok=True)
        into.write_text(program, encoding="utf-8")
        address = f"{'../' * docname.count('/')}_programs/{name}.py"
        link = f'<p class="program"><a download href="{address}">Download the code of this page</a></p>'
        body = body.replace("</h1>", f"</h1>\n{link}", 1)
    context["body"] = body


def _program(doctree: Any) -> str:
    """The Python on a page, below its headings: of sessions what is typed, with what comes back as comments."""
    lines, heading = [], ""
    for node in doctree.findall(lambda node: isinstance(node, (nodes.title, nodes.literal_block))):
        if isinstance(node, nodes.title):
            heading = node.astext()
        elif node.get("language") == "python":
            lines += [f"# {heading}", ""] if heading else []
            text, heading = node.astext(), ""
            lines += _typed(text) if text.startswith(">>> ") else text.splitlines()
            lines.append("")
    return "\n".join(lines)


def _typed(session: str) -> list[str]:
    """The lines of a session as a program, in which an error that is shown does not end it."""
    lines = []
    for example in doctest.DocTestParser().get_examples(session):
        source = example.source.strip("\n").splitlines()
        if example.exc_msg:
            source = ["try:", *(f"    {line}" for line in source), "except Exception as error:", "    print(error)"]
        lines += [*source, *(f"# {line}" for line in example.want.splitlines())]
    return lines


def setup(app: Any) -> None:
    """Connect what happens while pages are read, and links resolved."""
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _keyword, priority=550)  # after numpydoc
    app.connect("autodoc-process-docstring", _initials, priority=600)
    app.connect("missing-reference", _short_name)
    app.connect("viewcode-follow-imported", _source_of)
    app.connect("html-page-context", _page)
