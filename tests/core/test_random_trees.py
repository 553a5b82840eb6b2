"""Random trees of installed distributions: regkit reads of them what importlib.metadata reports.

``REGKIT_TREES=10000 pytest tests/core/test_random_trees.py`` makes 10,000 of them, beginning with the number
``REGKIT_FIRST_TREE``; a failure names the tree.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import unicodedata
import zipfile
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, DistributionFinder, MetadataPathFinder
from pathlib import Path

import pytest

import regkit
from regkit import _discovery as discovery

FIRST = int(os.environ.get("REGKIT_FIRST_TREE", "0"))
TREES = range(FIRST, FIRST + int(os.environ.get("REGKIT_TREES", "200")))
NAMES = ("acme", "acme-l1", "Acme_L1", "acme.l1", "beta", "Beta", "gamma_x", "gamma-x")
ALIASES = ("one", "two", "three", "on", "hidden_\u00e9", "hidden_e\u0301", "with space")
TARGETS = ("acme:L1", "acme_l1.core:L1", "beta:Outer.Inner", "gamma_x:X [extra]", "acme : L1")


def entry_points(rng):
    """Return the text of a file of entry points, with or without our group."""
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
    """Return the metadata folder of one distribution, and its files; some are left behind by pip."""
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
    return (f"~{folder[1:]}" if rng.random() < 0.1 else folder), files


def write(rng, place, folder, files):
    """Write one metadata folder: itself, or elsewhere with a link to it; some have a folder or nothing for a file."""
    target = place / folder
    if rng.random() < 0.1 and not target.exists():
        elsewhere = place.parent / f"of {place.name}" / folder
        elsewhere.mkdir(parents=True, exist_ok=True)
        target.symlink_to(elsewhere)
    target.mkdir(exist_ok=True)
    for file, data in files.items():
        if os.path.lexists(target / file):
            continue
        kind = rng.choice(["file"] * 9 + ["folder", "dangling link"]) if file == "entry_points.txt" else "file"
        if kind == "file":
            (target / file).write_bytes(data)
        elif kind == "folder":
            (target / file).mkdir()
        else:
            (target / file).symlink_to("nowhere")


def make_place(rng, folder, number):
    """Return one entry of a path: a folder, a zip file, an egg, or an entry that cannot be read."""
    kind = rng.choice(["folder"] * 6 + ["zip", "egg", "missing", "file", "unreadable"])
    # a new name each time, because the library remembers relative entries of other trees
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
            write(rng, place, name, files)
        if kind == "unreadable":
            place.chmod(0)  # which a superuser does not notice
    return place


def make_editable(rng, folder):
    """Return an editable installation: site-packages with metadata and a .pth file, and sources with older metadata."""
    site, sources = folder / "site", folder / "project" / "src"
    site.mkdir()
    sources.mkdir(parents=True)
    name, version = rng.choice(NAMES), "1.0"
    safe = name.replace("-", "_").replace(".", "_")
    header = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    installed = {"METADATA": header, "RECORD": b"", "entry_points.txt": entry_points(rng).encode()}
    write(rng, site, f"{safe}-{version}.dist-info", installed)
    if rng.random() < 0.7:  # as setuptools leaves it beside the sources, not always up to date
        left = entry_points(rng).encode() if rng.random() < 0.3 else installed["entry_points.txt"]
        write(rng, sources, f"{safe}.egg-info", {"PKG-INFO": header, "entry_points.txt": left})
    (site / f"__editable__.{safe}.pth").write_text(f"{sources}\n")
    return [site, sources]


def make_finder(rng):
    """Return a finder whose distributions are not files."""
    made = [files_of_a_distribution(rng)[1] for _ in range(rng.randint(1, 3))]

    class InMemory(Distribution):
        def __init__(self, files):
            self.files_by_name = files

        def read_text(self, filename):
            data = self.files_by_name.get(filename)
            return None if data is None else data.decode()

        def locate_file(self, path):
            raise NotImplementedError

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            return None

        @staticmethod
        def find_distributions(context):
            return [InMemory(files) for files in made]

    return Finder


def make_path(rng, folder):
    """Return a path with repeated and relative entries, and symbolic links."""
    places = [make_place(rng, folder, number) for number in range(rng.randint(1, 4))]
    if rng.random() < 0.2:
        places += make_editable(rng, folder)
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


def as_importlib_metadata_reports(finders, path):
    """Return the claims as the library reads each distribution, by the rules of docs/architecture.md."""
    claims, seen = {}, set()
    contexts = [(PathFinder, DistributionFinder.Context(path=[entry])) for entry in dict.fromkeys(path)]
    contexts = [pair for finder in finders for pair in (contexts if finder is PathFinder else [(finder, None)])]
    for finder, context in contexts:
        here = set()
        # the standard finder has no such method once the library's backport is imported
        reader = MetadataPathFinder if finder is PathFinder else finder
        for distribution in reader.find_distributions(context):
            if getattr(distribution, "_path", Path()).name.startswith("~"):
                continue
            name = distribution.metadata["Name"]
            here.add(normalized(name))
            if normalized(name) in seen:
                continue
            for alias, target in targets(distribution):
                claims.setdefault(alias, set()).add((name, distribution.version, target))
        seen |= here
    return claims


def targets(distribution):
    """Return the entries of our group in one distribution; none if the file cannot be read."""
    try:
        found = [entry_point for entry_point in distribution.entry_points if entry_point.group == discovery.GROUP]
    except (UnicodeDecodeError, OSError):
        return []
    return [
        (unicodedata.normalize("NFC", entry_point.name), entry_point.value.partition("[")[0].replace(" ", ""))
        for entry_point in found
    ]


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # the library's
def test_random_trees_are_read_as_importlib_metadata_reports_them(tmp_path, monkeypatch):
    with_claims = 0
    as_importlib_metadata_reports([PathFinder], sys.path)  # imports what it needs while the path is there
    for number in TREES:
        rng = random.Random(number)
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        path = make_path(rng, folder)
        finders = [PathFinder] if rng.random() < 0.8 else rng.sample([PathFinder, make_finder(rng)], 2)
        expected = as_importlib_metadata_reports(finders, path)
        monkeypatch.setattr(sys, "path", path)
        monkeypatch.setattr(sys, "meta_path", finders)
        regkit.refresh()
        targets_found = {alias: discovery.reading().targets_of(alias) for alias in ALIASES}
        claims_found = {alias: {tuple(claim) for claim in claims} for alias, claims in regkit.available().items()}
        monkeypatch.undo()
        assert claims_found == expected, f"tree {number}"
        targets_expected = {
            alias: {target for _, _, target in expected.get(unicodedata.normalize("NFC", alias), ())}
            for alias in ALIASES
        }
        assert targets_found == targets_expected, f"tree {number}"
        with_claims += bool(expected)
    regkit.refresh()
    gc.collect()  # the library leaves zip files open, and the warnings would fail a later test
    assert with_claims > len(TREES) / 3 or len(TREES) < 100  # otherwise nothing was compared
