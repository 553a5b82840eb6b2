"""What our distributions say of each other, and pages of what lanes are pinned to."""

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
LANES = tomllib.loads((HERE / "lanes.toml").read_text(encoding="utf-8"))["lane"]


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


def test_every_library_of_a_lane_has_an_extra_which_brings_it():
    libraries = {lane["library"] for lane in LANES if "library" in lane}
    assert libraries == {"theano", "aesara", "pytensor"}
    assert {library: names(CORE["optional-dependencies"][library])[0] for library in libraries} == {
        "theano": "theano-pymc",
        "aesara": "aesara",
        "pytensor": "pytensor",
    }


@pytest.mark.parametrize(
    "page",
    ["docs/theanets.md", "plugins/regkit-theanets/README.md", "plugins/regkit-theanets/src/regkit_theanets/names.py"],
)
def test_where_theanets_is_told_to_be_installed_it_is_as_in_its_lane(page):
    lane = next(lane for lane in LANES if lane["name"] == "theanets")
    told = re.findall(r"pip install --no-deps\s+((?:[\w-]+==[\w.]+\s*)+)", (HERE / page).read_text(encoding="utf-8"))
    assert [pins.split() for pins in told] == [lane["alone"]]


def test_the_readme_names_the_lanes_that_there_are():
    page = (HERE / "README.md").read_text(encoding="utf-8")
    table = page.partition("lanes that `make test` runs |\n")[2].partition("\n\n")[0]
    told = [name for row in table.splitlines()[1:] for name in row.split("|")[-2].strip().split(", ")]
    there = [lane for lane in LANES if "plugin" not in lane or (HERE / "plugins" / lane["plugin"]).is_dir()]
    assert sorted(told) == sorted(lane["name"] for lane in there if not lane.get("stand_in"))
