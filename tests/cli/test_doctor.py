"""``regkit doctor``: what it finds, and what it advises."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from console import INSTALLED, MIXED, distribute, only, regularizer, regularizers, remedies

import regkit

pytestmark = pytest.mark.subprocess


def test_doctor_distinguishes_a_healthy_a_broken_and_two_conflicting_plugins(run):
    done = run("doctor", program=only(), cases=[*MIXED, "older"])
    assert done.returncode == 1
    lines = {" ".join(line.split()) for line in done.stdout.splitlines()}
    assert "acme_healthy acme-healthy 1.0 ok" in lines
    assert "acme_broken acme-broken 1.0 broken" in lines
    assert "hidden_l1 acme-l1 2.1 conflict" in lines
    found = remedies(done)
    assert len(found) == 4, found
    assert any("ModuleNotFoundError: No module named 'a_module_that_nobody_has'" in line for line in found)
    assert any("Uninstall one, or pass an instance" in line for line in found)
    assert any("entry_points.txt is not UTF-8" in line for line in found)
    older = INSTALLED / "older" / "acme_healthy-0.9.dist-info"
    assert any("acme-healthy is installed in 2 places" in line and line.endswith(f"remove {older}") for line in found)


@pytest.mark.parametrize(
    ("versions", "newest"),
    [
        (("9.0", "10.0"), "10.0"),
        (("10.0rc1", "9.0"), "10.0rc1"),
        (("2.0", "2.0.dev1"), "2.0"),
        (("1.0", "1.0.1"), "1.0.1"),
    ],
)
def test_doctor_advises_to_remove_the_older_of_two_versions_in_one_folder(run, tmp_path, versions, newest):
    folders = {
        version: distribute(tmp_path, "acme_twice", f"[regkit.regularizers]\nt = acme_{position}:T\n", version=version)
        for position, version in enumerate(versions)
    }
    (older,) = set(versions) - {newest}
    done = run("doctor", program=only(), path=[str(tmp_path)])
    assert done.returncode == 1
    conflict, advice = remedies(done)
    assert "alias 't' is claimed by 2 distributions" in conflict
    assert advice == (
        "- acme-twice is installed 2 times in one place. All of these count, and conflict where their targets differ. "
        f"{folders[newest]} is the newest; remove {folders[older]}"
    )


def test_doctor_does_not_choose_between_versions_that_cannot_be_compared(run, tmp_path):
    first, second = (distribute(tmp_path, "acme_twice", regularizers(name), version=name) for name in ("one", "two"))
    advice = remedies(run("doctor", program=only(), path=[str(tmp_path)]))[-1]
    assert advice.endswith(f" differ. Remove all but one of {first}, {second}")


def test_doctor_names_the_copy_that_counts_and_those_later_on_the_path(run, tmp_path):
    for name in ("one", "two", "three"):
        (tmp_path / f"acme_{name}.py").write_text(regularizer(name.capitalize()))
    places = [tmp_path / place for place in ("a", "b", "c")]
    folders = [
        distribute(place, "acme_copies", regularizers(name), version=version)
        for place, name, version in zip(places, ("one", "two", "three"), ("1.0", "3.0", "2.0"))
    ]
    done = run("doctor", program=only(), path=map(str, [tmp_path, *places]))
    assert done.returncode == 1
    assert remedies(done) == [
        f"- acme-copies is installed in 3 places. {folders[0]} counts, as the first on the path; "
        f"remove {folders[1]}, {folders[2]}"
    ]


@pytest.mark.parametrize("group", ["regkit.regularizers", "regkit.engines", "regkit.commands"])
def test_doctor_names_a_copy_without_our_group_and_the_later_one_that_it_hides(run, tmp_path, group):
    early = distribute(tmp_path / "early", "acme_hides", version="0.9")
    late = distribute(tmp_path / "late", "acme_hides", f"[{group}]\nhid = acme_hides:Hid\n")
    done = run("doctor", program=only(), path=map(str, [tmp_path / "early", tmp_path / "late"]))
    assert done.returncode == 1
    assert remedies(done) == [
        f"- acme-hides is installed in 2 places. {early} counts, as the first on the path; remove {late}"
    ]


def test_doctor_names_metadata_that_pip_left_of_an_upgrade(run, tmp_path):
    left = distribute(tmp_path, "acme_left", regularizers("ghost"), version="0.9")
    left = left.rename(tmp_path / "~cme_left-0.9.dist-info")
    distribute(tmp_path, "acme_left", regularizers("kept"))
    (tmp_path / "acme_kept.py").write_text(regularizer("Kept"))
    done = run("doctor", program=only(), path=[str(tmp_path)])
    assert done.returncode == 1
    assert remedies(done) == [f"- {left} is left over from an upgrade by pip, and is ignored; remove it"]
    assert "ghost" not in done.stdout.partition("alias")[2].partition("- ")[0]


def test_doctor_does_not_report_equal_copies_nor_leftovers_of_other_distributions(run, tmp_path):
    (tmp_path / "acme_same.py").write_text(regularizer("Same"))
    for place in ("site", "sources"):
        distribute(tmp_path / place, "acme_same", regularizers("same"))
    other = distribute(tmp_path / "site", "acme_other", "[console_scripts]\nother = acme_other:main\n")
    other.rename(tmp_path / "site" / "~cme_other-1.0.dist-info")
    done = run("doctor", program=only(), path=map(str, [tmp_path, tmp_path / "site", tmp_path / "sources"]))
    assert (done.returncode, remedies(done)) == (0, [])


@pytest.mark.graph
def test_doctor_finds_nothing_wrong_where_nothing_is(run):
    done = run("doctor")
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("\nNothing is wrong.\n")


def test_doctor_names_the_library_of_the_lane(run, lib):
    row = next(line for line in run("doctor").stdout.splitlines() if line.startswith(lib.name))
    assert row.endswith(" ok")


def test_doctor_names_the_reason_why_a_library_does_not_import_and_one_that_works(run, tmp_path):
    (tmp_path / "aesara").mkdir()
    (tmp_path / "aesara" / "__init__.py").write_text("import numpy\nnumpy.no_such_name\n")
    done = run("doctor", program=only("aesara"), path=[str(tmp_path)])
    assert done.returncode == 1
    assert "aesara" in done.stdout
    assert "cannot be imported: AttributeError: module 'numpy' has no attribute 'no_such_name'" in done.stdout
    works = (
        "in a checkout of regkit: pip install '.[aesara]'"
        if sys.version_info < (3, 12)
        else "It does not run on Python 3."
    )
    assert works in done.stdout


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_doctor_ends_with_pipes_and_looping_links_on_the_path_and_names_them(run, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    site = tmp_path / "site"
    for name in ("acme_pipe", "acme_header"):
        distribute(site, name, regularizers("one"))
    for file in ("acme_pipe-1.0.dist-info/entry_points.txt", "acme_header-1.0.dist-info/METADATA"):
        (site / file).unlink()
        os.mkfifo(site / file)
    (site / "self.dist-info").symlink_to("self.dist-info")
    (site / "around").symlink_to(".")
    done = run("doctor", program=only(), path=map(str, [tmp_path / "pipe", tmp_path / "loop", site]))
    assert done.returncode == 1, done.stderr
    found = remedies(done)
    assert any(f"{tmp_path}/pipe on the path is neither a folder nor a file" in line for line in found), found
    assert any(f"{tmp_path}/loop on the path is neither a folder nor a file" in line for line in found), found
    assert any("acme_pipe-1.0.dist-info: entry_points.txt cannot be read" in line for line in found), found


def test_doctor_reports_an_entry_points_txt_that_cannot_be_read(run, tmp_path):
    (distribute(tmp_path, "acme_folder") / "entry_points.txt").mkdir()
    done = run("doctor", program=only(), path=[str(tmp_path)])
    assert done.returncode == 1
    message = f"- {tmp_path}/acme_folder-1.0.dist-info: entry_points.txt cannot be read: it is not a file"
    assert remedies(done) == [message]


def theano_of(site, version):
    """Install a package that is imported as theano."""
    (site / "theano").mkdir(parents=True)
    (site / "theano" / "__init__.py").write_text(f"__version__ = {version!r}\n")
    (site / "theano" / "tensor.py").write_text("")


def test_doctor_reports_theano_over_theano_pymc(run, tmp_path):
    theano_of(tmp_path, "1.0.5")
    distribute(tmp_path, "Theano_PyMC", version="1.1.2", files=["theano/__init__.py"])
    distribute(tmp_path, "Theano", version="1.0.5", files=["theano/__init__.py"])
    done = run("doctor", program=only("theano"), path=[str(tmp_path)])
    assert done.returncode == 1
    assert "theano-pymc 1.0.5 conflict" in {" ".join(line.split()) for line in done.stdout.splitlines()}
    (message,) = remedies(done)
    assert message.startswith(
        f"- Theano 1.0.5 ({tmp_path}/Theano-1.0.5.dist-info) and theano-pymc 1.1.2 both have the package theano; "
        f"the module theano is 1.0.5 ({tmp_path}/theano/__init__.py). pip uninstall Theano theano-pymc. "
    )


def test_doctor_reports_a_module_that_is_not_the_version_of_its_metadata(run, tmp_path):
    theano_of(tmp_path, "1.0.5")
    distribute(tmp_path, "Theano_PyMC", version="1.1.2", files=["theano/__init__.py"])
    (message,) = remedies(run("doctor", program=only("theano"), path=[str(tmp_path)]))
    assert message.startswith("- theano-pymc is 1.1.2 by its metadata; the module theano is 1.0.5 (")


def test_doctor_reports_somebody_elses_regkit_beside_ours(run, tmp_path):
    distribute(tmp_path, "regkit", version="0.3.0", files=["regkit/__init__.py"])
    (message,) = remedies(run("doctor", program=only(), path=[str(tmp_path)]))
    assert message == (
        f"- regkit 0.3.0 ({tmp_path}/regkit-0.3.0.dist-info) is somebody else's library, imported as regkit too; "
        "both write into one package. pip uninstall regkit, then in a checkout of regkit: pip install "
        "--force-reinstall --no-deps ."
    )


def test_doctor_reports_regkit_core_under_its_old_name(run, tmp_path):
    distribute(tmp_path, "regkit", "[console_scripts]\nregkit = regkit.__main__:main\n", version="0.1.0")
    (message,) = remedies(run("doctor", program=only(), path=[str(tmp_path)]))
    assert f"- regkit 0.1.0 ({tmp_path}/regkit-0.1.0.dist-info) is regkit-core under its old name; " in message


def test_doctor_reports_somebody_elses_regkit_over_ours(run, tmp_path):
    package = Path(regkit.__file__).parent
    shutil.copytree(package, tmp_path / "regkit", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "regkit" / "__init__.py").write_text('__version__ = "0.3.0"\n')
    done = run("doctor", path=[str(tmp_path)])
    assert done.returncode == 1
    assert done.stderr == (
        f"regkit: {tmp_path}/regkit/__init__.py is not its own. Another distribution, called regkit, is installed over "
        "regkit-core. Fix it with: pip uninstall regkit regkit-core, then in a checkout of regkit-core: pip install "
        "'.[cli]'\n"
    )
