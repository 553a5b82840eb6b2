"""Several threads at once, and finders that use regkit: nothing waits for good, and the newest reading counts."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest
from samples import finder

import regkit


def in_threads(ask):
    """Return the results of eight threads that ask at once."""
    barrier = threading.Barrier(8)
    found = []

    def wait_and_ask():
        barrier.wait()
        found.append(ask())

    threads = [threading.Thread(target=wait_and_ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    return found


def test_threads_that_ask_at_once_get_one_class(installed, monkeypatch):
    def slow(_context):
        time.sleep(0.05)
        return []

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, finder(slow)])
    installed("healthy")
    assert len(set(in_threads(lambda: type(regkit.build(acme_healthy=0.1)[0])))) == 1


FORK = """
import os, signal, sys, threading, time
import regkit

parent, reads, go_on = os.getpid(), threading.Event(), threading.Event()


def find_distributions(_context):
    if os.getpid() == parent:
        reads.set()
        go_on.wait()
    return []


sys.meta_path.append(finder(find_distributions))
thread = threading.Thread(target=regkit.available)
thread.start()
reads.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)
    regkit.build(hidden_l1=0.1)
    os._exit(0)
status = os.waitpid(child, 0)[1]
go_on.set()
thread.join()
print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
"""


def output_of(program, *path):
    """Return the output of a program in a fresh process, which is ended if it waits for good."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"from samples import finder\n{program}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, path), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.subprocess
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
def test_a_child_that_was_forked_while_a_thread_reads_reads_for_itself():
    assert output_of(FORK) == "0\n"


ASKING = """
import sys, regkit
readings = 0


def find_distributions(_context):
    global readings
    readings += 1
    if readings < 10:
        {asks}
    return []


sys.meta_path.append(finder(find_distributions))
"""


@pytest.mark.parametrize(
    "asks",
    [
        "regkit.available()",
        "regkit.split({'hidden_l1': 1})",
        "regkit.refresh()",
        "try: regkit.build(hidden_l1=1)\n        except regkit.UnknownAliasError: pass",
    ],
)
def test_a_finder_that_uses_regkit_does_not_wait_for_itself_and_is_asked_once(asks):
    program = ASKING.format(asks=asks) + "print('hidden_l1' in regkit.available(), regkit.build(hidden_l1=1), readings)"
    assert output_of(program) == "True build(hidden_l1=1) 1\n"


def test_a_reading_begun_within_a_reading_is_the_last_that_was_published(tmp_path):
    info = tmp_path / "later" / "acme_later-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text("[regkit.regularizers]\nlater = acme_later:Later\n")
    program = ASKING.format(asks="print([name in regkit.available() for name in ('hidden_l1', 'later')])") + (
        "regkit.available()\n"
        f"sys.path.append({str(info.parent)!r})\nregkit.refresh()\n"
        "print([name in regkit.available() for name in ('hidden_l1', 'later')])\n"
    )
    nothing_yet, before, after = "[False, False]\n", "[True, False]\n", "[True, True]\n"
    assert output_of(program) == nothing_yet + before + after


IMPORTING = """
import sys, threading
import regkit

importing, reading = threading.Event(), threading.Event()
sys.modules["events"] = sys.modules["__main__"]


def find_distributions(_context):
    reading.set()
    importing.wait()
    import acme_needed
    return []


sys.meta_path.append(finder(find_distributions))
threads = [threading.Thread(target=regkit.available), threading.Thread(target=__import__, args=("acme_needed",))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("hidden_l1" in regkit.available(), sys.modules["acme_needed"].aliases == list(regkit.available()))
"""


def test_two_threads_of_which_one_imports_the_module_that_a_finder_imports_both_go_on(tmp_path):
    (tmp_path / "acme_needed.py").write_text(
        "import regkit, events\nevents.importing.set()\nevents.reading.wait()\naliases = list(regkit.available())\n"
    )
    assert output_of(IMPORTING, tmp_path) == "True True\n"


REFRESHED = """
import sys, threading
import regkit

reading, go_on = threading.Event(), threading.Event()
found = []


def find_distributions(_context):
    if threading.current_thread() is thread:
        reading.set()
        go_on.wait()
    return []


sys.meta_path.append(finder(find_distributions))
thread = threading.Thread(target=lambda: found.append("later" in regkit.available()))
thread.start()
reading.wait()
sys.path.append({later!r})
regkit.refresh()
{meanwhile}
go_on.set()
thread.join()
print(found, "later" in regkit.available())
"""


@pytest.mark.parametrize(
    ("meanwhile", "first"), [("", "[False]"), ("print('later' in regkit.available())", "[True]")], ids=["none", "one"]
)
def test_a_reading_that_began_before_a_refresh_does_not_take_the_place_of_a_newer_one(tmp_path, meanwhile, first):
    info = tmp_path / "acme_later-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text("[regkit.regularizers]\nlater = acme_later:Later\n")
    printed = output_of(REFRESHED.format(later=str(tmp_path), meanwhile=meanwhile))
    assert printed.splitlines()[-1] == f"{first} True"
    assert printed.splitlines()[:-1] == (["True"] if meanwhile else [])


def test_of_1000_advertisers_only_the_one_that_is_asked_for_is_imported(installed, monkeypatch, tmp_path):
    for number in range(1000):
        folder = tmp_path / f"acme_of_many_{number}-1.0.dist-info"
        folder.mkdir()
        (folder / "entry_points.txt").write_text(f"[regkit.regularizers]\nmany_{number} = acme_of_many_{number}:One\n")
        (tmp_path / f"acme_of_many_{number}.py").write_text(
            "import time\nimport regkit\ntime.sleep(0.05)\n\n\n"
            "class One(regkit.Regularizer):\n    def loss(self):\n        return 1.0\n"
        )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    installed()
    classes = in_threads(lambda: type(regkit.build(many_77=0.1)[0]))
    assert len(set(classes)) == 1
    assert [name for name in sys.modules if name.startswith("acme_of_many_")] == ["acme_of_many_77"]
    assert len(regkit.available()) >= 1000
    assert [name for name in sys.modules if name.startswith("acme_of_many_")] == ["acme_of_many_77"]


def test_a_refresh_while_a_plugin_is_imported_is_not_undone(installed, monkeypatch, tmp_path):
    for place, module in (("before", "acme_before"), ("after", "acme_after")):
        info = tmp_path / place / "acme_moving-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "entry_points.txt").write_text(f"[regkit.regularizers]\nmoving = {module}:Moving\n")
        (tmp_path / place / f"{module}.py").write_text(
            "import sys\nimport regkit\n\n\n"
            "class Moving(regkit.Regularizer):\n    def loss(self):\n        return 1.0\n\n\n"
            # as another thread might do now
            f"sys.path.insert(0, {str(tmp_path / 'after')!r})\nregkit.refresh()\n"
        )
    monkeypatch.setattr(sys, "path", [str(tmp_path / "before"), *sys.path])
    installed()
    assert type(regkit.build(moving=0.1)[0]).__module__ == "acme_before"
    assert type(regkit.build(moving=0.1)[0]).__module__ == "acme_after"
