"""What our distributions say of each other, and pages of the checkout: its lanes, its commands, its files."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager
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
ADDRESS = CORE["urls"]["Homepage"]
#: What is released: the core and each plugin.
OURS = [path for path in PROJECTS if path == "pyproject.toml" or path.startswith("plugins/regkit-")]
#: What is installed, up to the end of the line, of the code on a page or of the sentence.
COMMAND = re.compile(r"pip install ((?:[^\n\\`,;]|,(?=\S)|;(?= ?python))*)")
CHANGELOG = re.compile(r"^## \[(?P<version>.+)\](?: - (?P<date>.+))?$", re.MULTILINE)


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


def test_the_file_of_the_standard_plugins_has_those_of_the_extra():
    lines = (HERE / "plugins" / "standard.txt").read_text(encoding="utf-8").splitlines()[1:]
    assert sorted(lines) == [f"./plugins/{name}" for name in names(CORE["optional-dependencies"]["plugins"])]


@pytest.mark.parametrize("name", ["PyTorch", "JAX", "Keras", "TensorFlow", "PyMC", "pytensor-ml", "theanets"])
def test_the_page_to_install_from_has_the_pythons_and_versions_of_the_metadata(name):
    page = (HERE / "docs" / "install.md").read_text(encoding="utf-8")
    library, python = re.search(rf"^\| (\[{name}\].*?) \| (\S+) \|", page, re.M).groups()
    plugin = "torch" if name == "PyTorch" else name.lower()
    text = (HERE / "plugins" / f"regkit-{plugin}" / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nrequires-python = ">={python}"\n' in text
    for version in re.findall(r"\d+\.\d+(?= or later)", library):
        assert re.search(rf">={re.escape(version)}\b", text), version


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_readme_and_make_agree_on_what_a_target_takes(target):
    makefile, readme = ((HERE / name).read_text(encoding="utf-8") for name in ("Makefile", "README.md"))
    said = re.search(rf"^{target}:.*?About (\d+ minutes).*?([\d.]+ GB)", makefile, re.M | re.S).groups()
    assert re.search(rf"^make {target} .*; (\d+ minutes), ([\d.]+ GB)$", readme, re.M).groups() == said


@pytest.mark.parametrize("page", ["README.md", *sorted(f"docs/{path.name}" for path in HERE.glob("docs/*.md"))])
def test_names_of_our_plugins_on_a_page_are_public_there(page):
    missing = []
    for package, name in re.findall(r"\b(regkit_\w+)\.(\w+)", (HERE / page).read_text(encoding="utf-8")):
        (folder,) = HERE.glob(f"plugins/*/src/{package}")
        public = re.search(r"^__all__ = \[(.*?)\]", (folder / "__init__.py").read_text(encoding="utf-8"), re.M | re.S)[
            1
        ]
        if f'"{name}"' not in public and not (folder / f"{name}.py").exists():
            missing.append(f"{package}.{name}")
    assert missing == []


def texts(path):
    """The texts of a file: a page, or each string of a program, with {} for what is put in."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return [source]
    strings = [node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.Constant, ast.JoinedStr))]
    return [
        "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in getattr(node, "values", [node]))
        for node in strings
    ]


#: What pip is told to install by programs in which the name is put in, and is none of ours.
PUT_IN = {"_scaffold.py", "_storage.py", "_messages.py"}


def test_no_page_or_message_tells_to_install_what_the_index_does_not_have():
    """Of ours it has none, and `regkit` is somebody else's: installed are folders of a checkout, or files of dist/."""
    files = [
        *HERE.glob("*.md"),
        *HERE.glob("docs/*.md"),
        *HERE.glob("plugins/*/*.md"),
        *HERE.glob("regkit/**/*.py"),
        *HERE.glob("plugins/*/src/**/*.py"),
        *HERE.glob("examples/*.py"),
    ]
    told = [(path, found[1]) for path in files for text in texts(path) for found in COMMAND.finditer(text)]
    wrong = [
        f"{path.relative_to(HERE)}: pip install {arguments}"
        for path, arguments in told
        if not arguments.startswith("--find-links dist")
        for argument in re.split(r"[\s\"']+", arguments)
        if re.fullmatch(r"regkit[\w-]*(\[.*\])?", argument) or (argument == "{}" and path.name not in PUT_IN)
    ]
    assert len(told) > 30
    assert wrong == []


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
    ["docs/install.md", "plugins/regkit-theanets/README.md", "plugins/regkit-theanets/src/regkit_theanets/_names.py"],
)
def test_where_theanets_is_told_to_be_installed_it_is_as_in_its_lane(page):
    lane = next(lane for lane in LANES if lane["name"] == "theanets")
    told = re.findall(r"pip install --no-deps\s+((?:[\w-]+==[\w.]+\s*)+)", (HERE / page).read_text(encoding="utf-8"))
    assert [pins.split() for pins in told] == [lane["alone"]]


def test_the_table_of_lanes_names_lanes_with_how_many_tests_passed():
    table = (HERE / "docs" / "lanes.md").read_text(encoding="utf-8").partition("| ran on |")[2].partition("\n\n")[0]
    cells = [[cell.strip().split(", ") for cell in row.split("|")[1:-1]] for row in table.splitlines()[2:]]
    named = [name for row in cells for name in row[3]]
    assert set(named) <= {lane["name"] for lane in LANES}, "run make test-all, then make table"
    counts = [int(count) for row in cells for count in row[2]]
    assert len(counts) == len(named)
    assert min(counts) > 0


@pytest.mark.parametrize("path", OURS)
def test_every_distribution_has_its_readme_license_changelog_and_marker_of_types(path):
    folder = (HERE / path).parent
    wanted = [folder / name for name in ("README.md", "LICENSE", "CHANGELOG.md")] + [package(path) / "py.typed"]
    assert [str(file.relative_to(HERE)) for file in wanted if not file.is_file()] == []
    project = PROJECTS[path]
    assert (project["license"], project["license-files"]) == ("MIT", ["LICENSE"])
    assert project["dynamic"] == ["version", "readme"], "the version stands in __init__.py alone"
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
def test_the_pythons_of_a_distribution_are_those_of_the_lanes_that_tested_it(path):
    name = PROJECTS[path]["name"]
    own = [lane for lane in LANES if name in (lane.get("plugin"), *lane.get("engines", ()))]
    shared = [lane for lane in LANES if not {"plugin", "tests", "core"} & lane.keys()]
    ran = {lane["python"] for lane in (own if any("plugin" in lane for lane in own) else shared)}
    told = {one.rpartition(" :: ")[2] for one in PROJECTS[path]["classifiers"] if re.fullmatch(r".*:: 3\.\d+", one)}
    assert told == ran


def test_every_distribution_is_built_by_one_hatchling():
    """Later ones write metadata 2.5, which the index does not take; `make dist` asks the wheels."""
    builders = {path: tomllib.loads((HERE / path).read_text(encoding="utf-8"))["build-system"] for path in OURS}
    assert {builder["requires"][0] for builder in builders.values()} == {"hatchling==1.27.0"}


@pytest.mark.parametrize(
    "path",
    ["pyproject.toml", *(f"plugins/{name}/pyproject.toml" for name in names(CORE["optional-dependencies"]["plugins"]))],
)
def test_the_core_and_the_standard_plugins_are_found_by_the_names_of_frameworks(path):
    project = PROJECTS[path]
    for framework in ("PyTorch", "JAX", "Keras"):
        assert framework in project["description"]
        assert framework in project["keywords"]


@pytest.mark.subprocess
def test_ci_runs_make_test_and_every_lane():
    workflow = (HERE / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert re.search(r"^      - run: make test$", workflow, re.MULTILINE)
    (program,) = re.findall(r"lanes=\$\(python -m (\w+)\)", workflow)
    done = subprocess.run([sys.executable, "-m", program], cwd=HERE, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [{"name": lane["name"], "python": lane["python"]} for lane in LANES]
    assert '-s "$LANE"' in workflow


def test_releasing_names_the_tag_of_every_distribution():
    page = (HERE / "RELEASING.md").read_text(encoding="utf-8")
    tags = re.findall(r"^   (regkit-[\w.-]+)$", page, re.MULTILINE)
    assert tags == [f"{PROJECTS[path]['name']}-{version(path)}" for path in OURS]


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


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("version", "tag"), [("0.1", "regkit-core-0.1.0"), ("0.2.1", "regkit-core-0.2.1"), ("0.2", "")]
)
def test_a_released_core_is_found_by_its_tag(version, tag, monkeypatch, tmp_path):
    git = ("git", "-C", str(tmp_path), "-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
    for command in (
        "init",
        "commit --allow-empty -m x",
        "tag regkit-core-0.1.0",
        "tag regkit-core-0.2.1",
        "tag regkit-noise-0.2",
    ):
        subprocess.run([*git, *command.split()], check=True, capture_output=True)
    monkeypatch.syspath_prepend(HERE)
    assert import_module("lanes").tag(version, tmp_path) == tag


def test_the_extra_plugins_takes_plugins_that_there_are():
    for needed in map(Requirement, CORE["optional-dependencies"]["plugins"]):
        assert version(f"plugins/{needed.name}/pyproject.toml") in SpecifierSet(str(needed.specifier))


@pytest.mark.parametrize("path", OURS)
def test_links_of_a_readme_lead_from_the_index_to_files_of_the_tag(path, monkeypatch):
    monkeypatch.chdir((HERE / path).parent)  # as in a build
    built = ProjectMetadata(".", PluginManager()).core
    page = re.sub(r"^```.*?^```$|`[^`\n]*`", "", built.readme, flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"(!?)\[(?:[^][]|!\[[^]]*\]\([^)]*\))*\]\(([^)]+)\)", page)
    assert links, "no link at all to the project"
    assert not re.search(r"^\[[^]]+\]: |(?:src|srcset|href)=", page, re.MULTILINE), "the pattern does not change these"
    ours = f"{ADDRESS}/{{}}/{built.name}-{version(path)}/"
    for picture, link in links:
        begin = ours.format("raw" if picture else "blob")
        if link.startswith(ADDRESS):
            assert link.startswith(begin)
            assert (HERE / link[len(begin) :].partition("#")[0]).exists()
        else:
            assert re.match("https://|#", link)


@pytest.mark.parametrize("path", OURS)
def test_every_distribution_has_the_address_of_the_project(path):
    urls = PROJECTS[path]["urls"]
    folder = (HERE / path).parent.relative_to(HERE)
    assert urls["Homepage"] == ADDRESS
    assert urls["Changelog"] == f"{ADDRESS}/blob/main/{(folder / 'CHANGELOG.md').as_posix()}"
    assert urls["Issues"] == f"{ADDRESS}/issues"


@pytest.mark.subprocess
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
    (drawn,) = blocks("docs/architecture.md", "text")
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
