"""What the distributions of this checkout say of each other, in their pyproject.toml."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # which pytest brings

HERE = Path(__file__).parent.parent
PROJECTS = {
    str(path.relative_to(HERE)): tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    for path in (
        HERE / "pyproject.toml",
        *sorted(HERE.glob("plugins/*/pyproject.toml")),
        HERE / "examples" / "third_party" / "pyproject.toml",
    )
}
CORE = PROJECTS["pyproject.toml"]


def names(requirements):
    return [re.match(r"[\w.-]+", requirement)[0] for requirement in requirements]


def test_the_core_is_regkit_core_and_its_command_regkit():
    assert CORE["name"] == "regkit-core"
    assert CORE["scripts"] == {"regkit": "regkit.__main__:main"}


@pytest.mark.parametrize("path", [path for path in PROJECTS if path != "pyproject.toml"])
def test_every_plugin_depends_on_our_core_and_not_on_somebody_elses_regkit(path):
    assert names(PROJECTS[path]["dependencies"])[0] == "regkit-core"


def test_the_extra_plugins_brings_every_plugin_of_ours_that_has_regularizers():
    ours = [project["name"] for path, project in PROJECTS.items() if re.match(r"plugins/regkit-", path)]
    with_regularizers = [
        project["name"]
        for project in PROJECTS.values()
        if project["name"] in ours and "regkit.regularizers" in project.get("entry-points", {})
    ]
    assert names(CORE["optional-dependencies"]["plugins"]) == with_regularizers


def test_no_page_tells_to_install_somebody_elses_regkit():
    pages = [
        *HERE.glob("*.md"),
        *HERE.glob("docs/*.md"),
        *HERE.glob("plugins/*/README.md"),
        *HERE.glob("regkit/**/*.py"),
    ]
    told = re.compile(r"pip install [^\n\\`]*?(?<![\w./-])regkit(?![\w/-])")
    assert [found[0] for page in pages for found in told.finditer(page.read_text(encoding="utf-8"))] == []
