"""docs/plugin-authors.md and docs/engines.md, followed to the letter: their files written, their commands run.

Their interactive examples run here too and not with those of the other pages: they use what the page makes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from blocks import ROOT, blocks, ran
from regkit._regularizer import HOOKS

pytestmark = [pytest.mark.slow, pytest.mark.subprocess]

PAGE = (ROOT / "docs" / "plugin-authors.md").read_text(encoding="utf-8")


@pytest.fixture
def follow(tmp_path):
    """Run a command in a folder whose packages stand beside those of this environment."""
    site, scripts = tmp_path / "site", Path(sys.executable).parent
    environment = {
        **os.environ,
        "PIP_TARGET": str(site),  # where pip installs to, without building what is there already
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip's way to say that there is to be none
        "PYTHONPATH": str(site),
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",  # two versions of one file within one second look the same to a cache
    }

    def run(command):
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize(
    "page", ["docs/plugin-authors.md", pytest.param("docs/engines.md", marks=pytest.mark.framework("autograd"))]
)
def test_every_block_of_the_page_does_what_it_says(follow, tmp_path, page):
    said, examples = "", []
    for block in blocks(page):
        if block.file:
            path = tmp_path / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.kind == "sh":
            done = follow(["bash", "-e", "-c", block.text])
            said = done.stdout + done.stderr
            assert done.returncode == 0, f"{block.text}\n{said}"
        elif block.kind == "text":
            missing = [line for line in block.text.splitlines() if line not in said]
            assert not missing, f"{missing} are not in what was printed:\n{said}"
        else:
            assert block.kind == "python", f"{block}: a kind with which nothing is done"
            assert block.is_session, f"{block} is neither a file nor interactive"
            examples.append(block.text)
    assert len(blocks(page, "sh")) >= 3
    assert examples
    (tmp_path / "page.md").write_text("\n".join(examples), encoding="utf-8")
    done = follow([sys.executable, "-m", "doctest", "page.md"])
    # the value of the first example for authors is that of the first version, with a target of 0.05, the default still
    assert done.returncode == 0, done.stdout
    ran(blocks(page))


def test_the_page_gives_the_hooks_the_arguments_that_they_have():
    told = {
        name: tuple(arguments.split(", ")[1:])
        for name, arguments in re.findall(r"^\| `(\w+)\((self.*?)\)`", PAGE, re.M)
    }
    assert told == HOOKS


def test_the_pages_plugin_is_the_one_that_the_third_party_ships():
    shipped = (Path(__file__).parents[2] / "examples/third_party/src/acme_sparsity/__init__.py").read_text()
    for promise in ("regkit.select_outputs(outputs, self.pattern, layers)", "regkit.graph.functions(z).log"):
        assert promise in shipped
        assert promise in PAGE
