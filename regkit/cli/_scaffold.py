"""``regkit new``: a distribution with a regularizer, from the template, itself such a distribution."""

from __future__ import annotations

import json
import keyword
import os
import re
import tempfile
from pathlib import Path

import click

from .._build import available
from ._sources import is_there
from ._terminal import Failure, print_text

#: The names in the template that are replaced.
DISTRIBUTION, MODULE, CLASS = "my-regularizer", "my_regularizer", "MyRegularizer"

AUTHOR = f"The {DISTRIBUTION} developers"

#: Names that a module or class cannot have.
NO_NAMES = frozenset(keyword.kwlist)

#: The limit to the length of a name: names of files are a few letters longer.
LONGEST = 100

#: The kinds of regularizers: for most, a folder of the template has the module and the test.
KINDS = ("penalty", "weights", "graph", "step")
OF_KINDS = "kinds"

#: Folders that running the tests of the template leaves behind.
LEFTOVERS = {"__pycache__", ".pytest_cache", "dist", "build"}


@click.command()
@click.argument("name")
@click.option("--into", type=click.Path(path_type=Path), default=Path(), help="The folder to make it in.")
@click.option("--author", help="For the license and the metadata.")
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    default=KINDS[0],
    help="A penalty of activations, one of weights, a change of the graph, or a change after an optimizer's step.",
)
def new(name: str, into: Path, author: str | None, kind: str) -> None:
    """Make a distribution NAME with a regularizer and its tests.

    NAME is the distribution's, such as acme-tv; the module and the alias are acme_tv, the class AcmeTv.
    """
    if len(name) > LONGEST:
        raise Failure(f"{name[:20]!r}... has {len(name)} letters; accepted: up to {LONGEST}")
    if author and not author.isprintable():
        raise Failure(f"--author {author!r} has signs that cannot be printed; accepted: text in one line")
    module = re.sub(r"[-_.]+", "_", name).lower()
    class_name = "".join(part.capitalize() for part in module.split("_"))
    folder = into / name
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*([-_.][A-Za-z0-9]+)*", name) or {module, class_name} & NO_NAMES:
        raise Failure(
            f"{name!r} makes no name for a module: letters, digits and dashes, first a letter, such as acme-tv"
        )
    if os.path.lexists(folder):
        raise Failure(f"{folder} is there already. Nothing was changed")
    if module in available():
        raise Failure(
            f"the alias {module!r} is taken by {', '.join(map(str, available()[module]))}. Choose another name"
        )
    if is_there(module):
        raise Failure(f"there is a module {module!r} already. Choose another name")
    try:
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".regkit-new-", dir=into) as scratch:
            made = Path(scratch) / name
            names = {DISTRIBUTION: name, MODULE: module, CLASS: class_name}
            for template in (_template(), _template() / OF_KINDS / kind):
                _write(made, template, names, author or f"The {name} developers")
            made.rename(folder)  # all of it, or nothing
    except OSError as error:
        raise Failure(f"{folder} cannot be written: {error}") from error
    print_text(f"{folder} is ready. Next:")
    print_text(f"  pip install '{_as_path(folder)}[test]'   # with pytest\n  pytest {folder}\n  regkit check {module}")
    print_text(f"Then change {folder / 'src' / module / '__init__.py'}, and {folder / 'tests'}, which prove it.")


def _write(folder: Path, template: Path, names: dict[str, str], author: str) -> None:
    """Write a template into a folder, with other names; existing files are replaced."""
    for source in sorted(template.rglob("*")):
        relative = source.relative_to(template)
        if source.is_file() and not {OF_KINDS, *LEFTOVERS} & set(relative.parts):
            # strings in TOML are those of JSON
            written = json.dumps(author, ensure_ascii=False)[1:-1] if source.suffix == ".toml" else author
            target = folder / _renamed(str(relative), names)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = _renamed(source.read_text(encoding="utf-8"), {AUTHOR: written, **names})
            target.write_text(text, encoding="utf-8")


def _template() -> Path:
    """Return the folder of the template, as installed with regkit or in a checkout."""
    package = Path(__file__).parent.parent
    places = (package / "_template", package.parent / "plugins" / "_template")
    return next(place for place in places if place.is_dir())


def _renamed(text: str, names: dict[str, str]) -> str:
    """Replace names in one pass, so that a replacement is not replaced again."""
    return re.sub("|".join(map(re.escape, names)), lambda found: names[found[0]], text)


def _as_path(folder: Path) -> str:
    """Return a folder in a form that pip does not read as the name of a distribution."""
    return str(folder) if folder.is_absolute() else f"./{folder}"
