"""Compile folders: one for each process, below the user's own, and taken up again by the next process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from importlib.metadata import distributions
from pathlib import Path

import pytest
from regkit_search import _folders as folders
from regkit_search._folders import SETTLED, take_over

pytestmark = pytest.mark.subprocess

#: By the name of a graph library, which distribution it is.
DISTRIBUTIONS = {"theano": "theano-pymc", "aesara": "aesara", "pytensor": "pytensor"}

PROGRAM = """
import os, sys
from regkit_search._folders import take_own_folders
take_own_folders()
print(os.environ.get(sys.argv[1], ""), flush=True)
sys.stdin.readline()
"""


@contextmanager
def started(variable, environment, before=""):
    """One library's flags in a process, while it lives."""
    command = [sys.executable, "-c", before + PROGRAM, variable]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield dict(flag.split("=") for flag in process.stdout.readline().strip().split(","))
        process.stdin.close()


@pytest.fixture
def worker(lib, tmp_path):
    """Start a process whose flags of the lane's library name this test's folder."""
    variable = f"{lib.name.upper()}_FLAGS"
    environment = {**os.environ, variable: f"floatX=float32,base_compiledir={tmp_path}"}
    return partial(started, variable, environment)


def test_two_processes_compile_in_folders_of_their_own_and_keep_the_other_flags(worker, tmp_path):
    with worker() as one, worker() as other:
        assert one["floatX"] == other["floatX"] == "float32"
        taken = {one["base_compiledir"], other["base_compiledir"]}
    assert len(taken) == 2
    assert all(folder.startswith(f"{tmp_path / 'workers'}{os.sep}") for folder in taken)


def test_the_next_process_takes_up_the_folder_of_one_that_ended(worker):
    with worker() as first:
        pass
    with worker() as second:
        assert second == first


def test_a_library_that_is_imported_already_keeps_its_folder(worker, lib, tmp_path):
    with worker(f"import sys, types; sys.modules[{lib.name!r}] = types.ModuleType({lib.name!r})\n") as flags:
        assert flags["base_compiledir"] == str(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="libraries have another default there")
def test_a_library_that_is_not_installed_gets_no_folder(lib, tmp_path):
    settings = [f"{name.upper()}{what}" for name in DISTRIBUTIONS for what in ("_FLAGS", "RC")]
    environment = {name: value for name, value in os.environ.items() if name not in settings}
    with started(f"{lib.name.upper()}_FLAGS", {**environment, "HOME": str(tmp_path)}) as taken:
        assert Path(taken["base_compiledir"]).is_relative_to(tmp_path / f".{lib.name}")
    there = {one.metadata["Name"].lower() for one in distributions()}
    assert {one.name for one in tmp_path.iterdir()} == {
        f".{name}" for name, distribution in DISTRIBUTIONS.items() if distribution in there
    }


def made(folder, name, age=2 * SETTLED, files=("mod.cpp", "m1.so", "key.pkl")):
    """A folder of a module, as Theano leaves it, whose files are so old."""
    module = Path(folder, name)
    module.mkdir(parents=True)
    for file in files:
        (module / file).write_text(file)
        os.utime(module / file, (time.time() - age,) * 2)
    return module


def files_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_the_user_and_other_workers_compiled_is_taken_over(worker, tmp_path):
    made(tmp_path, "compiledir/tmp1")
    with worker() as first:
        made(first["base_compiledir"], "compiledir/tmp2")
        with worker() as second:
            folder = Path(second["base_compiledir"])
            files = ("key.pkl", "m1.so", "mod.cpp")
            assert files_of(folder) == [f"compiledir/{name}/{file}" for name in ("tmp1", "tmp2") for file in files]
            with (folder / "compiledir/tmp1/key.pkl").open("a") as file:  # the library adds keys to it
                file.write("one more")
    assert (tmp_path / "compiledir/tmp1/key.pkl").read_text() == "key.pkl"


def test_what_is_not_complete_is_not_taken_over_and_what_is_there_stays(tmp_path):
    source, folder = tmp_path / "source", tmp_path / "folder"
    made(source, "compiledir/tmp1", age=0)
    made(source, "compiledir/tmp2", files=("mod.cpp",))
    made(source, "compiledir/tmp3")
    made(source, "workers/machine-0/tmp4")
    made(source, "numba", files=("a.nbi", "a.1.nbc"))
    made(folder, "compiledir/tmp3", files=("m2.so",))
    (folder / "incoming").mkdir()
    take_over(source, folder)
    assert files_of(folder) == ["compiledir/tmp3/m2.so", "numba/a.1.nbc", "numba/a.nbi"]
    assert not (folder / "incoming").exists()


def test_what_a_neighbour_is_just_taking_over_is_not_looked_at(tmp_path):
    made(tmp_path, "incoming")
    made(tmp_path, "workers")
    module = made(tmp_path, "compiledir/tmp1")
    assert list(folders._compiled(tmp_path)) == [module]


def test_a_folder_into_which_nothing_can_be_written_is_left_as_it_is(tmp_path):
    source, file = tmp_path / "source", tmp_path / "file"
    made(source, "compiledir/tmp1")
    file.write_text("not a folder")
    take_over(source, file)
    assert file.read_text() == "not a folder"


COMPILING = """
import os, sys
if sys.argv[1] == "worker":
    from regkit_search._folders import take_own_folders
    take_own_folders()
import importlib
library = importlib.import_module(sys.argv[2])
x = importlib.import_module(sys.argv[2] + ".tensor").vector()
function = library.function([x], x + x, mode=library.compile.mode.Mode("c|py", None))
print(function([21.0])[0], library.config.compiledir)
"""


def test_what_was_compiled_in_one_folder_is_not_compiled_again_in_another(lib, tmp_path):
    flags = f"{lib.name.upper()}_FLAGS"
    given = os.environ.get(flags, "")
    environment = {**os.environ, flags: f"{given},gcc__cxxflags=-O0 -g0,base_compiledir={tmp_path}"}

    def modules(kind):
        command = [sys.executable, "-c", COMPILING, kind, lib.name]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        value, folder = done.stdout.split()
        assert float(value) == 42
        return Path(folder), {path.parent.name for path in Path(folder).rglob("*.so")}

    alone, compiled = modules("alone")
    for path in alone.rglob("*"):
        os.utime(path, (time.time() - 2 * SETTLED,) * 2)
    worker, used = modules("worker")
    assert worker != alone
    assert used == compiled
