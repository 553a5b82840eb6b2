"""Random trees of installed distributions: what regkit reads of them is what importlib.metadata reports.

``REGKIT_TREES=10000 pytest tests/test_random_trees.py`` makes as many as that, and ``REGKIT_FIRST_TREE`` says from
which on; a failure names the tree.
"""

from __future__ import annotations

import os
import random
import sys
import zipfile
from importlib.machinery import PathFinder
from importlib.metadata import DistributionFinder

import pytest

from regkit import discovery

TREES = range(int(os.environ.get("REGKIT_FIRST_TREE", "0")), int(os.environ.get("REGKIT_TREES", "200")))
NAMES = ("acme", "acme-l1", "Acme_L1", "acme.l1", "beta", "Beta", "gamma_x", "gamma-x")
ALIASES = ("one", "two", "three", "hidden_é", "with space")
TARGETS = ("acme:L1", "acme_l1.core:L1", "beta:Outer.Inner", "gamma_x:X [extra]", "acme : L1")


def entry_points(rng):
    """The text of a file of entry points, with or without our group."""
    lines = []
    for group in rng.sample(
        ["console_scripts", discovery.GROUP, discovery.GROUP + ".more", "other"], rng.randint(0, 4)
    ):
        lines += [f"[{group}]", *(["# a comment"] if rng.random() < 0.3 else [])]
        for alias in rng.sample(ALIASES, rng.randint(0, 3)):
            space = rng.choice(["", " "])
            lines.append(f"{alias}{space}={space}{rng.choice(TARGETS)}")
        if rng.random() < 0.3:
            lines.append("")
    return rng.choice(["\n", "\r\n"]).join(lines) + "\n"


def files_of_a_distribution(rng):
    """The metadata folder of one distribution, and its files."""
    name, version = rng.choice(NAMES), rng.choice(["1.0", "1.1", "2"])
    header = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nText with Name: nobody\n"
    stem = name.replace("-", "_").replace(".", "_") if rng.random() < 0.5 else name
    if rng.random() < 0.7:
        folder, files = f"{stem}-{version}.dist-info", {"METADATA": header.encode(), "RECORD": b""}
    else:  # as setuptools makes them, in a source tree without a version
        safe = stem.replace("-", "_")
        folder = f"{safe}.egg-info" if rng.random() < 0.5 else f"{safe}-{version}-py3.11.egg-info"
        files = {"PKG-INFO": header.encode()}
    if rng.random() < 0.9:
        data = entry_points(rng).encode()
        if rng.random() < 0.1:
            data += b"# latin: \xe9\n"
        files["entry_points.txt"] = data
    return folder, files


def make_place(rng, folder, number):
    """One entry of a path: a folder, a zip file, an egg, or something that is none."""
    kind = rng.choice(["folder"] * 6 + ["zip", "egg", "missing", "file"])
    # a name of its own, because the library remembers what a relative entry was for another tree
    place = folder / f"place{folder.name}-{number}{'.egg' if kind == 'egg' else ''}"
    distributions = [files_of_a_distribution(rng) for _ in range(rng.randint(0, 4))]
    if kind == "missing":
        return place
    if kind == "file":
        place.write_bytes(b"no archive")
    elif kind == "zip":
        with zipfile.ZipFile(place, "w") as archive:
            for name, files in dict(distributions).items():
                for file, data in files.items():
                    archive.writestr(f"{name}/{file}", data)
    else:
        place.mkdir()
        (place / "a_module.py").write_text("")
        if kind == "egg":
            distributions = [("EGG-INFO", files) for _, files in distributions[:1] if "PKG-INFO" in files]
        for name, files in distributions:
            (place / name).mkdir(exist_ok=True)
            for file, data in files.items():
                (place / name / file).write_bytes(data)
    return place


def make_path(rng, folder):
    """A path with entries that are repeated, relative and symbolic links."""
    places = [make_place(rng, folder, number) for number in range(rng.randint(1, 4))]
    path = []
    for place in places:
        entry = str(place)
        if rng.random() < 0.2:
            link = folder / f"link to {place.name}"
            link.symlink_to(place)
            entry = str(link)
        elif rng.random() < 0.2:
            entry = os.path.relpath(place)
        path.append(entry)
        if rng.random() < 0.2:
            path.append(rng.choice([str(place), entry]))
    rng.shuffle(path)
    return path


def normalized(name):
    return "-".join(part for part in name.lower().replace("_", "-").replace(".", "-").split("-") if part)


def as_importlib_metadata_reports(path):
    """The claims by the library's own reading of each distribution, after the rules of docs/architecture.md."""
    claims, seen = {}, set()
    for entry in dict.fromkeys(path):
        here = set()
        for distribution in PathFinder.find_distributions(DistributionFinder.Context(path=[entry])):
            name = distribution.metadata["Name"]
            here.add(normalized(name))
            if normalized(name) in seen:
                continue
            try:
                found = distribution.entry_points
            except UnicodeDecodeError:
                continue
            for entry_point in found:
                if entry_point.group == discovery.GROUP:
                    target = entry_point.value.partition("[")[0].replace(" ", "")
                    claims.setdefault(entry_point.name, set()).add((name, distribution.version, target))
        seen |= here
    return claims


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # the library's
def test_random_trees_are_read_as_importlib_metadata_reports_them(tmp_path, monkeypatch):
    with_claims = 0
    as_importlib_metadata_reports(sys.path)  # imports what it needs while the path is there
    for number in TREES:
        rng = random.Random(number)
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        path = make_path(rng, folder)
        monkeypatch.setattr(sys, "path", path)
        monkeypatch.setattr(sys, "meta_path", [PathFinder])
        expected = as_importlib_metadata_reports(path)
        installed = discovery.read()
        one_by_one = {alias: {tuple(claim) for claim in installed.claims(alias)} for alias in expected}
        everything = {alias: {tuple(claim) for claim in installed.claims(alias)} for alias in installed.sources}
        monkeypatch.undo()
        assert one_by_one == expected, f"tree {number}"
        assert everything == expected, f"tree {number}"
        with_claims += bool(expected)
    assert with_claims > len(TREES) / 3  # otherwise nothing was compared
