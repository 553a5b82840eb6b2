"""An application that PyInstaller freezes has the plugins that were installed where it was frozen."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import regkit

pytestmark = [pytest.mark.slow, pytest.mark.subprocess, pytest.mark.framework("PyInstaller")]

PROGRAM = """
import json
import numpy
import regkit

outputs = {"hid1": numpy.array([[1.0, -2.0], [0.0, 3.0]])}
regs = regkit.build({"hidden_l1": {"weight": 0.5, "pattern": "hid*"}})
found = {alias: sorted({claim.distribution for claim in claims}) for alias, claims in regkit.available().items()}
print(json.dumps([found, float(regs.loss(outputs)), [regkit.load(alias).__name__ for alias in found]]))
"""


def frozen(folder, **environment):
    """Freeze the program, and return what it prints where there is no Python."""
    (folder / "app.py").write_text(PROGRAM)
    subprocess.run(
        [sys.executable, "-m", "PyInstaller", "--log-level=WARN", "--noconfirm", "app.py"],
        cwd=folder,
        env={**os.environ, **environment},
        check=True,
    )
    return subprocess.run(
        [folder / "dist" / "app" / "app"], cwd=folder, env={}, capture_output=True, text=True, check=False
    )


def test_a_frozen_application_finds_every_plugin_and_computes(tmp_path):
    done = frozen(tmp_path)
    assert done.returncode == 0, done.stderr
    found, loss, _ = json.loads(done.stdout)
    assert loss == 0.5 * (1 + 2 + 0 + 3)
    assert found == {
        alias: sorted({claim.distribution for claim in claims}) for alias, claims in regkit.available().items()
    }


def test_a_distribution_that_is_blocked_where_it_is_frozen_is_left_out(tmp_path):
    done = frozen(tmp_path, REGKIT_BLOCK="regkit-hidden-l1")
    assert done.returncode == 1
    assert "UnknownAliasError: no installed plugin provides 'hidden_l1'" in done.stderr
