"""regkit in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from console import INSTALLED


@pytest.fixture
def run(tmp_path):
    """Run regkit with cases of tests/installed on the path."""

    def run(*arguments, cases=(), program=("-m", "regkit"), stdout=subprocess.PIPE, **environment):
        path = os.pathsep.join([*(str(INSTALLED / case) for case in cases), *environment.pop("path", ())])
        return subprocess.run(
            [sys.executable, *program, *arguments],
            stdout=stdout,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            timeout=120,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", **environment},
        )

    return run
