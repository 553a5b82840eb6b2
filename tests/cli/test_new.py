"""``regkit new``: distributions that it makes."""

from __future__ import annotations

import json

import pytest
from console import distribute

pytestmark = pytest.mark.subprocess


def test_new_makes_a_distribution_whose_names_are_all_its_own(run, tmp_path):
    done = run("new", "acme-total-variation", "--author", "Ada Lovelace")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "acme-total-variation is ready. Next:\n"
        "  pip install './acme-total-variation[test]'   # with pytest\n"
        "  pytest acme-total-variation\n"
        "  regkit check acme_total_variation\n"
        "Then change acme-total-variation/src/acme_total_variation/__init__.py, and acme-total-variation/tests, which "
        "prove it.\n"
    )
    made = tmp_path / "acme-total-variation"
    files = {str(path.relative_to(made)): path.read_text() for path in made.rglob("*") if path.is_file()}
    assert sorted(files) == [
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "src/acme_total_variation/__init__.py",
        "src/acme_total_variation/py.typed",
        "tests/test_acme_total_variation.py",
    ]
    everything = "".join(files.values()).lower()
    assert "my_regularizer" not in everything
    assert "my-regularizer" not in everything
    assert "myregularizer" not in everything
    assert 'acme_total_variation = "acme_total_variation:AcmeTotalVariation"' in files["pyproject.toml"]
    assert "Copyright (c) 2026 Ada Lovelace" in files["LICENSE"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "hook"),
    [("penalty", "loss"), ("weights", "loss"), ("graph", "modify_graph"), ("step", "after_step")],
)
def test_new_makes_a_distribution_of_each_kind_that_passes_its_tests_and_every_check(run, tmp_path, kind, hook):
    assert run("new", "acme-new", "--kind", kind).returncode == 0
    made = tmp_path / "acme-new"
    assert f"    def {hook}(self" in (made / "src" / "acme_new" / "__init__.py").read_text()
    everything = "".join(path.read_text() for path in made.rglob("*") if path.is_file()).lower()
    assert not any(name in everything for name in ("my_regularizer", "my-regularizer", "myregularizer"))
    distribute(made / "src", "acme_new", "[regkit.regularizers]\nacme_new = acme_new:AcmeNew\n", version="0.1.0")
    path = [str(made / "src")]
    tested = run("-q", "acme-new", program=("-m", "pytest"), path=path)
    assert tested.returncode == 0, tested.stdout
    assert " passed" in tested.stdout
    checked = run("check", "acme_new", "--library", "numpy", path=path)
    assert checked.returncode == 0, checked.stdout
    assert {"hooks": [hook, "log"]}.items() <= json.loads(run("list", "new", "--json", path=path).stdout)[0][
        "capabilities"
    ].items()


def test_new_replaces_each_name_once_and_writes_any_author(run, tmp_path):
    author = 'Ada "the\\first" Løvelace'
    done = run("new", "x-my-regularizer2", "--author", author)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "x-my-regularizer2" / "pyproject.toml").read_text(encoding="utf-8")
    assert '\nname = "x-my-regularizer2"\n' in text
    assert 'authors = [{ name = "Ada \\"the\\\\first\\" Løvelace" }]' in text
    assert author in (tmp_path / "x-my-regularizer2" / "LICENSE").read_text(encoding="utf-8")


def test_new_where_nothing_can_be_written_exits_with_2_and_the_reason(run, tmp_path):
    (tmp_path / "file").write_text("")
    done = run("new", "acme-tv", "--into", "file")
    assert done.returncode == 2
    assert "cannot be written: " in done.stderr
    assert "Traceback" not in done.stderr


def test_new_that_cannot_write_all_of_it_leaves_nothing(run, tmp_path):
    pytest.importorskip("resource", reason="limits of a process are for POSIX systems")
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))\n"  # less than the license has
        "from regkit.__main__ import main; main()"
    )
    done = run("new", "acme-tv", "--into", "made", program=("-c", program), PYTHONDONTWRITEBYTECODE="1")
    assert done.returncode == 2
    assert "acme-tv cannot be written: [Errno 27] File too large" in done.stderr
    assert list((tmp_path / "made").iterdir()) == []


def test_new_refuses_an_author_that_cannot_be_written_and_leaves_nothing(run, tmp_path):
    done = run("new", "acme-tv", "--author", "Ada\udcff")
    assert done.returncode == 2
    assert r"--author 'Ada\udcff' has signs that cannot be printed; accepted: text in one line" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_new_over_what_exists_changes_nothing(run, tmp_path):
    (tmp_path / "acme-tv").mkdir()
    (tmp_path / "acme-tv" / "mine").write_text("precious")
    done = run("new", "acme-tv")
    assert done.returncode == 2
    assert "acme-tv is there already. Nothing was changed" in done.stderr
    assert [path.name for path in (tmp_path / "acme-tv").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("3acme", "'3acme' makes no name for a module"),
        ("acme tv", "'acme tv' makes no name for a module"),
        ("../acme", "'../acme' makes no name for a module"),
        ("class", "'class' makes no name for a module"),
        ("acme-é", "'acme-é' makes no name for a module"),
        ("hidden-l1", "the alias 'hidden_l1' is taken by regkit-hidden-l1"),
        ("json", "there is a module 'json' already"),
        ("true", "'true' makes no name for a module"),
        ("none", "'none' makes no name for a module"),
        ("a" * 300, "'aaaaaaaaaaaaaaaaaaaa'... has 300 letters; accepted: up to 100"),
    ],
)
def test_new_refuses_a_name_that_is_none_or_is_taken(run, tmp_path, name, message):
    done = run("new", name)
    assert done.returncode == 2
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []
