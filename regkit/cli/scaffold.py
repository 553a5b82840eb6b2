"""``regkit new``: a distribution with a regularizer, from the template, which is one itself."""

from __future__ import annotations

import json
import keyword
import re
from importlib.util import find_spec
from pathlib import Path

import click

from ..registry import available
from .terminal import Failure, console

#: The names that the template has, from which those of a new distribution are made.
DISTRIBUTION, MODULE, CLASS = "my-regularizer", "my_regularizer", "MyRegularizer"

AUTHOR = f"The {DISTRIBUTION} developers"

#: What no module and no class can be called.
NO_NAMES = frozenset(keyword.kwlist)

#: What running the template leaves behind.
LEFTOVERS = {"__pycache__", ".pytest_cache", "dist", "build"}


@click.command()
@click.argument("name")
@click.option("--into", type=click.Path(path_type=Path), default=Path(), help="The folder to make it in.")
@click.option("--author", help="For the license and the metadata.")
def new(name: str, into: Path, author: str | None) -> None:
    """Make a distribution NAME with a regularizer, tests and an entry point, ready to be installed.

    NAME is the distribution's, such as acme-tv; the module and the alias are acme_tv, the class AcmeTv.
    """
    module = re.sub(r"[-_.]+", "_", name).lower()
    class_name = "".join(part.capitalize() for part in module.split("_"))
    folder = into / name
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*([-_.][A-Za-z0-9]+)*", name) or {module, class_name} & NO_NAMES:
        raise Failure(
            f"{name!r} makes no name for a module: letters, digits and dashes, first a letter, such as acme-tv"
        )
    if folder.exists() or folder.is_symlink():
        raise Failure(f"{folder} is there already. Nothing was changed")
    if module in available():
        raise Failure(
            f"the alias {module!r} is taken by {', '.join(map(str, available()[module]))}. Choose another name"
        )
    if find_spec(module) is not None:
        raise Failure(f"there is a module {module!r} already. Choose another name")
    template = _template()
    names = {DISTRIBUTION: name, MODULE: module, CLASS: class_name}
    author = author or f"The {name} developers"
    for source in sorted(template.rglob("*")):
        relative = source.relative_to(template)
        if source.is_file() and not LEFTOVERS & set(relative.parts):
            # in TOML strings are written as in JSON
            written = json.dumps(author, ensure_ascii=False)[1:-1] if source.suffix == ".toml" else author
            text = _renamed(source.read_text(encoding="utf-8"), {AUTHOR: written, **names})
            target = folder / _renamed(str(relative), names)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
            except OSError as error:
                raise Failure(f"{target} cannot be written: {error}") from error
    out = console()
    out.print(f"{folder} is ready. Next:")
    out.print(f"  pip install {_as_path(folder)}\n  pytest {folder}\n  regkit check {module}")


def _template() -> Path:
    """The template as it is installed with regkit, or as it stands in a checkout."""
    package = Path(__file__).parent.parent
    places = (package / "_template", package.parent / "plugins" / "_template")
    return next(place for place in places if place.is_dir())


def _renamed(text: str, names: dict[str, str]) -> str:
    """Replace names in one pass, so that what was put in is not replaced again."""
    return re.sub("|".join(map(re.escape, names)), lambda found: names[found[0]], text)


def _as_path(folder: Path) -> str:
    """A folder as pip takes it for one, and not for the name of a distribution."""
    return str(folder) if folder.is_absolute() else f"./{folder}"
