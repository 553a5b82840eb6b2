"""What our distributions say of each other, and pages of the checkout: its lanes, its commands, its files."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from blocks import all_blocks, blocks, ran

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # which pytest brings

HERE = Path(__file__).parents[2]
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
#: What is released: the core and each plugin.
OURS = [path for path in PROJECTS if path == "pyproject.toml" or path.startswith("plugins/regkit-")]
CHANGELOG = re.compile(r"^## \[(?P<version>.+)\](?: - (?P<date>.+))?$", re.MULTILINE)


@pytest.fixture(scope="module")
def distributions():
    """The program that builds them."""
    spec = importlib.util.spec_from_file_location("distributions", HERE / "distributions.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)  # where it finds lanes.py
        spec.loader.exec_module(module)
    return module


def package(path):
    """The folder of a distribution's only package."""
    if path == "pyproject.toml":
        return HERE / "regkit"
    (source,) = (HERE / path).parent.glob("src/*/__init__.py")
    return source.parent


def version(path):
    return re.search(r'^__version__ = "(.+)"$', (package(path) / "__init__.py").read_text(encoding="utf-8"), re.M)[1]


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


@pytest.mark.parametrize("page", ["docs/reference/regularizers.rst", "docs/distributions.md"])
def test_every_plugin_of_the_extra_plugins_is_in_the_reference_and_in_the_table_of_distributions(page):
    told = {
        "docs/reference/regularizers.rst": r"^\.\. currentmodule:: (regkit_\w+)$",
        "docs/distributions.md": r"^\| \[(regkit-[\w-]+)\]",
    }
    found = re.findall(told[page], (HERE / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(name.replace("_", "-") for name in found) == names(CORE["optional-dependencies"]["plugins"])


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


def test_the_page_of_lanes_names_the_lanes_that_there_are():
    page = (HERE / "docs" / "lanes.md").read_text(encoding="utf-8")
    table = page.partition("| ran on |")[2].partition("\n\n")[0]
    told = [name for row in table.splitlines()[2:] for name in row.split("|")[-2].strip().split(", ")]
    there = [lane for lane in LANES if "plugin" not in lane or (HERE / "plugins" / lane["plugin"]).is_dir()]
    wanted = [lane["name"] for lane in there if not lane.get("stand_in")]
    assert sorted(told) == sorted(wanted), "run make test, then make table"
    counts = [int(one) for row in table.splitlines()[2:] for one in row.split("|")[-3].split(", ")]
    assert len(counts) == len(told)
    assert min(counts) > 0


@pytest.mark.parametrize("path", OURS)
def test_every_distribution_has_its_readme_license_changelog_and_marker_of_types(path):
    folder = (HERE / path).parent
    wanted = [folder / name for name in ("README.md", "LICENSE", "CHANGELOG.md")] + [package(path) / "py.typed"]
    assert [str(file.relative_to(HERE)) for file in wanted if not file.is_file()] == []
    project = PROJECTS[path]
    assert (project["readme"], project["license"], project["license-files"]) == ("README.md", "MIT", ["LICENSE"])
    assert project["dynamic"] == ["version"], "the version stands in __init__.py alone"
    assert project["name"] == ("regkit-core" if path == "pyproject.toml" else folder.name)


@pytest.mark.parametrize("path", OURS)
def test_every_distribution_says_its_status_audience_topic_pythons_and_types(path):
    project = PROJECTS[path]
    assert project["description"]
    assert project["keywords"]
    told = project["classifiers"]
    wanted = (
        r"Development Status :: \d - .+",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        r"Programming Language :: Python :: 3\.\d+",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    )
    assert [pattern for pattern in wanted if not any(re.fullmatch(pattern, one) for one in told)] == []
    pythons = [one.rpartition(" :: ")[2] for one in told if re.fullmatch(r".*Python :: 3\.\d+", one)]
    lowest = min(pythons, key=Version)
    assert project["requires-python"] == f">={lowest}", f"{path}: the lowest Python of the classifiers is {lowest}"


@pytest.mark.parametrize("path", OURS)
def test_every_changelog_ends_in_the_present_version_with_its_day(path):
    text = (HERE / path).parent.joinpath("CHANGELOG.md").read_text(encoding="utf-8")
    sections = [found.groups() for found in CHANGELOG.finditer(text)]
    released = [(number, day) for number, day in sections if number != "Unreleased"]
    assert released, f"{path}: no section such as ## [{version(path)}] - 2026-11-24"
    assert sections[-len(released) :] == released, "what is unreleased comes first"
    assert released[0][0] == version(path), f"the changelog's newest version is not __version__ of {package(path)}"
    assert released == sorted(released, key=lambda one: Version(one[0]), reverse=True)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", day or "") for _, day in released), released


@pytest.mark.parametrize("path", [path for path in OURS if path != "pyproject.toml"])
def test_every_plugin_names_the_lowest_core_it_works_with(path):
    (needed,) = (one for one in map(Requirement, PROJECTS[path]["dependencies"]) if one.name == "regkit-core")
    assert re.fullmatch(r">=\d+\.\d+(\.\d+)?", str(needed.specifier)), "written as regkit-core>=0.2"
    assert version("pyproject.toml") in needed.specifier, "there is no such core"


def test_a_released_core_is_built_from_its_tag(distributions, tmp_path):
    repository, into = tmp_path / "repository", tmp_path / "into"
    git = ("git", "-C", str(repository))
    subprocess.run(["git", "clone", "--quiet", str(HERE), str(repository)], check=True)
    assert distributions.released_core("0.1", into, repository) is None
    source = repository / "regkit" / "__init__.py"
    now = source.read_text(encoding="utf-8")
    source.write_text(now.replace(f'"{version("pyproject.toml")}"', '"0.1.0"'), encoding="utf-8")
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
    subprocess.run([*git, *who, "commit", "--quiet", "--all", "--message", "an earlier version"], check=True)
    subprocess.run([*git, "tag", "regkit-core-0.1.0"], check=True)
    subprocess.run([*git, "checkout", "--quiet", "HEAD~1"], check=True)
    subprocess.run([*git, "tag", f"regkit-core-{version('pyproject.toml')}"], check=True)
    for asked, found in (("0.1", "0.1.0"), (version("pyproject.toml"), version("pyproject.toml"))):  # into one folder
        wheel = distributions.released_core(asked, into, repository)
        assert wheel.name == f"regkit_core-{found}-py3-none-any.whl"


def test_the_extra_plugins_takes_plugins_that_there_are():
    for needed in map(Requirement, CORE["optional-dependencies"]["plugins"]):
        assert version(f"plugins/{needed.name}/pyproject.toml") in SpecifierSet(str(needed.specifier))


@pytest.mark.parametrize("path", OURS)
def test_what_is_built_has_links_that_lead_somewhere_from_the_index(path, distributions, tmp_path):
    copy = distributions.copy((HERE / path).parent, tmp_path)
    page = (copy / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page, flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)]+)\)|^\[[^]]+\]: (\S+)|(?:src|srcset|href)=\"([^\"]+)\"", text, re.MULTILINE)
    targets = [next(filter(None, found)) for found in links]
    assert targets, "no link at all to the project"
    assert [target for target in targets if not re.match(r"https://|#", target)] == []
    address = distributions.settings(HERE)["tool"]["regkit"]["url"]
    urls = distributions.settings(copy)["project"]["urls"]
    assert set(urls) == {"Homepage", "Documentation", "Source", "Changelog", "Issues"}
    assert all(url.startswith(address) for url in urls.values())


def test_links_get_the_address_the_tag_and_the_place_of_what_they_lead_to(distributions, tmp_path):
    noise = HERE / "plugins" / "regkit-noise"
    page = """[a](../../README.md#install) ![b](../../docs/ratios.png) [c](https://d.org/e) [f](#g) <img src="LICENSE">
[h]: CHANGELOG.md

```python
[i](j.md)
```
"""
    forms = distributions.settings(HERE)["tool"]["regkit"]
    tag = f"regkit-noise-{version('plugins/regkit-noise/pyproject.toml')}"
    blob, raw = (
        lambda path, form=forms[form]: form.format(url=forms["url"], tag=tag, path=path) for form in ("page", "picture")
    )
    assert distributions.absolute(page, noise) == (
        f"""[a]({blob("README.md")}#install) ![b]({raw("docs/ratios.png")}) [c](https://d.org/e) [f](#g) """
        f"""<img src="{blob("plugins/regkit-noise/LICENSE")}">
[h]: {blob("plugins/regkit-noise/CHANGELOG.md")}

```python
[i](j.md)
```
"""
    )
    with pytest.raises(FileNotFoundError, match=r"links to nowhere\.md, which is not there"):
        distributions.absolute("[a](nowhere.md)", noise)


def test_the_projects_address_stands_in_one_place():
    address = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["regkit"]["url"]
    files = [*HERE.glob("*.toml"), *HERE.glob("*.py"), *HERE.glob("plugins/**/*.toml"), *HERE.glob("plugins/**/*.md")]
    assert [file.name for file in files if address in file.read_text(encoding="utf-8")] == ["pyproject.toml"]


def test_every_target_of_make_that_a_page_names_is_there():
    makes = [block for block in all_blocks() if block.kind == "sh" and re.match(r"(make .*\n)+\Z", block.text)]
    for block in makes:
        for line in block.text.splitlines():
            done = subprocess.run(
                ["make", "-n", line.split()[1]], cwd=HERE, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
    assert [block.page for block in makes] == ["README.md"]
    ran(makes)


def test_what_the_architecture_page_draws_is_there():
    (drawn,) = blocks("docs/architecture.md", "")
    folders = [(-1, HERE)]  # with how far their line is indented
    for line in drawn.text.splitlines():
        indent = len(line) - len(line.lstrip())
        named = re.match(r"((?:\S+(?:\.\w+|/) +)+|\S+…/ )", f"{line.strip()} ")
        if indent > 10 or not named or "…" in named[0]:
            continue  # the rest of what is said of the line above, or what stands for several
        while folders[-1][0] >= indent:
            folders.pop()
        missing = [name for name in named[0].split() if not (folders[-1][1] / name).exists()]
        assert not missing, line
        folders.append((indent, folders[-1][1] / named[0].split()[0]))
    ran([drawn])
