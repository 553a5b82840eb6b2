"""Several threads at once: one reading, one import, one class."""

from __future__ import annotations

import sys
import threading
import time

import regkit
from regkit import discovery


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


def test_threads_that_ask_at_once_read_once_and_get_one_class(installed, monkeypatch):
    readings, read = [], discovery.read
    monkeypatch.setattr(discovery, "read", lambda: readings.append(time.sleep(0.05)) or read())
    installed("healthy")
    assert len(set(in_threads(lambda: type(regkit.build(acme_healthy=0.1)[0])))) == 1
    assert len(readings) == 1


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
    installed("healthy")
    load = discovery._import

    def load_slowly(alias, target):
        monkeypatch.setattr(discovery, "_import", load)
        regkit.refresh()  # as another thread might do now
        return load(alias, target)

    monkeypatch.setattr(discovery, "_import", load_slowly)
    regkit.build(acme_healthy=0.1)
    assert "acme_healthy" not in discovery._loaded
