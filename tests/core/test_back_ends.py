"""Distributions as the common back ends install them, as wheels and editable: regkit reads what they really leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

import regkit

pytestmark = pytest.mark.subprocess

PROJECT = """
[project]
name = "acme-made"
version = "1.5"
description = "A regularizer."
requires-python = ">=3.9"

[project.entry-points."regkit.regularizers"]
acme_made = "acme_made:Made"
"""
MODULE = """
import regkit


class Made(regkit.Regularizer):
    def loss(self):
        return 2.0
"""
BACK_ENDS = {
    "hatchling.build": '[tool.hatch.build.targets.wheel]\npackages = ["src/acme_made"]\n',
    "setuptools.build_meta": '[tool.setuptools.packages.find]\nwhere = ["src"]\n',
    "flit_core.buildapi": "",
    "poetry.core.masonry.api": '[tool.poetry]\npackages = [{include = "acme_made", from = "src"}]\n',
    "pdm.backend": "",
}
PROGRAM = """
import json, site, sys
sys.path[:0] = {path!r}
site.addsitedir({site!r})
import regkit
print(json.dumps([regkit.available()["acme_made"], regkit.build(acme_made=0.1).loss([], {{}})]))
from importlib.metadata import distributions
found = [(d, e) for d in distributions() for e in d.entry_points if e.name == "acme_made"]
print(json.dumps(sorted({{(d.metadata["Name"], d.version, e.value) for d, e in found}})))
"""


@pytest.mark.parametrize("kind", ["wheel", "editable"])
@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_a_distribution_is_found_as_each_back_end_installs_it(back_end, kind, tmp_path):
    # a lane has them all; importing setuptools here would meddle with distutils
    if "REGKIT_LANE" not in os.environ and find_spec(back_end.partition(".")[0]) is None:
        pytest.skip(f"{back_end} is not installed; the extra test brings it")
    project, made, folder = tmp_path / "project", tmp_path / "wheel", tmp_path / "site"
    package = project / "src" / "acme_made"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(MODULE)
    system = f'[build-system]\nrequires = []\nbuild-backend = "{back_end}"\n'
    (project / "pyproject.toml").write_text(f"{system}{PROJECT}\n{BACK_ENDS[back_end]}")
    made.mkdir()
    build = f"import importlib; importlib.import_module({back_end!r}).build_{kind}({str(made)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=project, check=True, capture_output=True)
    (wheel,) = made.iterdir()
    with zipfile.ZipFile(wheel) as archive:  # as an installer does
        archive.extractall(folder)

    here = [str(Path(regkit.__file__).parents[1]), *(entry for entry in sys.path if "site-packages" in entry)]
    program = PROGRAM.format(path=here, site=str(folder))
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], check=True, capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    ours, theirs = map(json.loads, done.stdout.splitlines())
    assert ours == [[["acme-made", "1.5", "acme_made:Made"]], 0.2]
    assert theirs == [["acme-made", "1.5", "acme_made:Made"]]
