"""Compile folders: one for each process, below the user's own, and taken up again by the next process."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

PROGRAM = """
import os, sys
from regkit_search.folders import take_own_folders
print(*take_own_folders(), "/", os.environ["PYTENSOR_FLAGS"], flush=True)
sys.stdin.readline()
"""


@contextmanager
def worker(flags, before=""):
    """What a process has taken, while it lives: the libraries for which it was too late, and PyTensor's flags."""
    environment = {**os.environ, "PYTENSOR_FLAGS": flags}
    command = [sys.executable, "-c", before + PROGRAM]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        late, _, taken = process.stdout.readline().strip().partition("/ ")
        yield late.split(), dict(flag.split("=") for flag in taken.split(","))
        process.stdin.close()


@pytest.fixture
def flags(tmp_path):
    return f"floatX=float32,base_compiledir={tmp_path}"


def test_two_processes_compile_in_folders_of_their_own_and_keep_the_other_flags(flags, tmp_path):
    with worker(flags) as (late, one), worker(flags) as (_, other):
        assert late == []
        assert one["floatX"] == other["floatX"] == "float32"
        folders = {one["base_compiledir"], other["base_compiledir"]}
    assert len(folders) == 2
    assert all(folder.startswith(f"{tmp_path / 'workers'}{os.sep}") for folder in folders)


def test_the_next_process_takes_up_the_folder_of_one_that_ended(flags):
    with worker(flags) as (_, first):
        pass
    with worker(flags) as (_, second):
        assert second == first


def test_a_library_that_is_imported_already_is_told(flags):
    with worker(flags, "import sys, types; sys.modules['aesara'] = types.ModuleType('aesara')\n") as (late, _):
        assert late == ["aesara"]
