"""Several threads at once: one reading, one import, one class."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

import regkit


def in_threads(ask):
    """What eight threads get that ask at once."""
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
    class Slow:
        @staticmethod
        def find_spec(*_):
            return None

        @staticmethod
        def find_distributions(_context):
            time.sleep(0.05)
            return []

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Slow])
    installed("healthy")
    assert len(set(in_threads(lambda: type(regkit.build(acme_healthy=0.1)[0])))) == 1


FORK = """
import os, signal, sys, threading, time
import regkit

parent, reads, go_on = os.getpid(), threading.Event(), threading.Event()


class Slow:
    @staticmethod
    def find_spec(*_):
        return None

    @staticmethod
    def find_distributions(_context):
        if os.getpid() == parent:
            reads.set()
            go_on.wait()
        return []


sys.meta_path.append(Slow)
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


@pytest.mark.subprocess
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
def test_a_child_that_was_forked_while_a_thread_reads_reads_for_itself():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")


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
