"""Storages that fail, that others use, and that are on a server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest
import regkit_search as search
from optuna.distributions import FloatDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import event

import regkit

SPACE = {"hidden_l1": FloatDistribution(0.1, 1)}


def prepared(during=lambda trial: None):
    def prepare(regs):
        def evaluate(trial):
            during(trial)
            return {"weight": regs[0].weight.value, "size": 1.0}

        return evaluate

    return prepare


def run(storage, during=lambda trial: None, trials=4, **more):
    arguments = dict(minimize="weight", trials=trials, storage=storage, **more)
    result = search.run(prepared(during), SPACE, **arguments)
    frame = result.frame()
    if result.study._storage.is_remote:
        result.study._storage._engine.dispose()
    return frame


def test_a_second_process_on_a_study_gets_an_error_and_the_first_goes_on(tmp_path):
    program = f"""
import regkit_search as search
from optuna.distributions import FloatDistribution
from optuna.exceptions import StorageInternalError
search.run(lambda regs: None, {{"hidden_l1": FloatDistribution(0.1, 1)}}, minimize="weight", trials=4,
           storage={str(tmp_path / "study.db")!r})
"""
    errors = []

    def during(trial):
        if trial.number == 1:
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
            errors.append(done.stderr)

    frame = run(tmp_path / "study.db", during)
    told = "OptionError: another process runs the search 'regkit-search' in storage "
    assert told in errors[0]
    assert "Wait until it has ended, or give this one another name" in errors[0]
    pd.testing.assert_frame_equal(frame, run(None))
    assert len(run(tmp_path / "study.db", trials=5)) == 5


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_trial_that_another_process_has_finished_is_an_error_in_words(tmp_path):
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "journal")))

    def during(trial):
        optuna.load_study(study_name="regkit-search", storage=storage).tell(trial.number, 1.0)

    with pytest.raises(search.SearchError, match="another process has finished a trial of the study 'regkit-search'"):
        run(storage, during)


def test_a_study_that_is_deleted_meanwhile_is_an_error_in_words(tmp_path):
    def during(trial):
        optuna.delete_study(study_name="regkit-search", storage=f"sqlite:///{tmp_path / 'study.db'}")

    with pytest.raises(search.SearchError, match="'regkit-search' was deleted from storage '.*study.db'"):
        run(tmp_path / "study.db", during)


def test_a_full_disk_ends_a_search_that_the_same_call_goes_on_with(tmp_path):
    storage = RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")

    @event.listens_for(storage.engine, "connect")
    def limit(connection, record):
        connection.execute(f"PRAGMA max_page_count={pages}")

    pages = 1  # SQLite takes the present size if that is larger
    storage.engine.dispose()
    large = {"note": "x" * 20000}

    def during(trial):
        trial.set_user_attr(*next(iter(large.items())))

    with pytest.raises(
        search.SearchError, match="database or disk is full. Finished trials are stored: the same call g"
    ):
        run(storage, during, trials=8)
    resumed = run(tmp_path / "study.db", during, trials=8)
    pd.testing.assert_frame_equal(resumed, run(None, during, trials=8))


def test_an_interrupt_within_a_call_of_the_storage_stays_an_interrupt(tmp_path):
    class Busy(RDBStorage):
        def set_trial_state_values(self, trial_id, state, values=None):
            raise StorageInternalError("database is locked")

    class Interrupted(optuna.samplers.RandomSampler):
        def after_trial(self, study, trial, state, values):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Busy(f"sqlite:///{tmp_path / 'study.db'}"), sampler=Interrupted())
    pd.testing.assert_frame_equal(run(tmp_path / "study.db"), run(None))


def test_a_folder_that_takes_no_lock_is_an_error_in_words(tmp_path):
    run(tmp_path / "study.db")
    (tmp_path / "study.db.lock").unlink(missing_ok=True)
    (tmp_path / "study.db.lock").mkdir()  # as where the folder is read-only, which does not stop root
    with pytest.raises(regkit.OptionError, match="storage '.*study.db' cannot be opened: .*study.db.lock"):
        run(tmp_path / "study.db")


def test_a_password_is_not_printed_and_a_missing_driver_is_named():
    url = "postgresql+psycopg2://me:secret@localhost/study"
    if "psycopg2" in sys.modules or any(Path(one, "psycopg2").is_dir() for one in sys.path):
        pytest.skip("psycopg2 is here")
    with pytest.raises(regkit.OptionError) as caught:
        run(url)
    assert "secret" not in str(caught.value)
    assert str(caught.value) == (
        "storage 'postgresql+psycopg2://me:***@localhost/study' cannot be opened: the module psycopg2 is missing. "
        'Install it: pip install "psycopg[binary]"'
    )


def test_a_password_in_what_is_no_url_of_a_database_is_not_printed():
    with pytest.raises(regkit.OptionError) as caught:
        run("what://me:secret@nowhere")
    assert "secret" not in str(caught.value)


# PostgreSQL


def programs_of_postgresql():
    """The folder of a server's programs, if there is one."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    on_path = shutil.which("pg_ctl")
    return next(
        (one for one in [*([Path(on_path).parent] if on_path else []), *folders] if (one / "initdb").exists()), None
    )


class Server:
    """A server of PostgreSQL that listens on a socket of a folder alone."""

    def __init__(self, programs, folder):
        self._programs, self._folder = programs, folder
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        self._as = dict(user="nobody") if root else {}  # the server refuses to run as root
        if root:
            shutil.chown(folder, "nobody")
        self._run("initdb", "-D", folder / "data", "-U", "me", "-A", "trust", "-N")
        self.url = f"postgresql+psycopg://me:secret@/postgres?host={folder}"

    def _run(self, program, *arguments):
        command = [str(self._programs / program), *map(str, arguments)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self._folder, timeout=120, **self._as)

    def do(self, what, *options):
        log = self._folder / "log"
        self._run("pg_ctl", "-D", self._folder / "data", "-w", "-l", log, *options, what)

    def start(self):
        self.do("start", "-o", f"-k {self._folder} -c listen_addresses=''")


@pytest.fixture(scope="module")
def server():
    programs = programs_of_postgresql()
    if programs is None:
        pytest.skip("PostgreSQL is not here")
    pytest.importorskip("psycopg", reason="psycopg is not here")
    import tempfile

    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        made = Server(programs, Path(folder))
        made.start()
        yield made
        made.do("stop", "-m", "immediate")


def test_postgresql_may_restart_during_a_search(server):
    def during(trial):
        if trial.number in (1, 3):
            server.do("stop", "-m", "fast")
            server.start()

    frame = run(server.url, during, trials=6, name="restarted")
    pd.testing.assert_frame_equal(frame, run(None, trials=6))


def test_a_second_process_on_a_study_of_postgresql_gets_an_error_without_the_password(server):
    told = []

    def during(trial):
        if trial.number == 1:
            with pytest.raises(regkit.OptionError) as caught:
                run(server.url, name="twice")
            told.append(str(caught.value))

    frame = run(server.url, during, name="twice")
    assert told[0].startswith(
        "another process runs the search 'twice' in storage 'postgresql+psycopg://me:***@/postgres?"
    )
    pd.testing.assert_frame_equal(frame, run(None))
    assert len(run(server.url, trials=5, name="twice")) == 5
