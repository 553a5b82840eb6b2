"""Tests with frameworks are collected where these are installed, which is a lane of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

collect_ignore = [] if find_spec("lightning") else ["frameworks"]


@pytest.fixture(scope="session")
def two_processes():
    """Run a program in two processes at once, with the number of each before its arguments, until both have ended."""

    def run(program, *arguments, environments=({}, {})):
        every = [
            subprocess.Popen(
                [sys.executable, str(program), str(rank), *map(str, arguments)],
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, **more},
            )
            for rank, more in enumerate(environments)
        ]
        try:
            for process in every:
                _, errors = process.communicate(timeout=300)
                assert process.returncode == 0, errors
        finally:
            for process in every:
                process.kill()

    return run
