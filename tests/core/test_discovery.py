"""Reading what is installed: one broken distribution never harms another, and no order changes the result."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import importlib.util
import os
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import regkit
from regkit import _discovery as discovery
from regkit._discovery.claims import Claim

INSTALLED = Path(__file__).parents[1] / "installed"


@pytest.fixture
def site(installed, monkeypatch, tmp_path):
    """A folder on the path, before all others, into which `distribute` installs."""
    folder = tmp_path / "site"
    folder.mkdir()
    installed()
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    return folder


def distribute(site, name, entry_points, *, version="1.0", source=None, refresh=True):
    """Install a distribution with entry points of our group, and its module if there is a source."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    header = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (info / "METADATA").write_bytes(header.encode("utf-8", "surrogateescape"))
    (info / "entry_points.txt").write_text(f"[regkit.regularizers]\n{entry_points}\n", encoding="utf-8")
    if source is not None:
        (site / f"{name}.py").write_text(source)
    if refresh:
        regkit.refresh()
    return info


SOURCE = "import regkit\n\n\nclass Mine(regkit.Regularizer):\n    def loss(self):\n        return 1.0\n"


class Counting:
    """A finder without distributions that counts the readings."""

    def __init__(self):
        self.readings = 0

    def find_spec(self, *_):
        return None

    def find_distributions(self, _context):
        self.readings += 1
        return []


@pytest.fixture
def counting(site, monkeypatch):
    """A finder that counts the readings from now on."""
    finder = Counting()
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, finder])
    regkit.refresh()
    regkit.available()
    finder.readings = 0
    return finder


def test_the_plugins_of_the_environment_are_those_that_importlib_metadata_reports():
    expected = {
        (entry_point.name, distribution.metadata["Name"], distribution.version, entry_point.value)
        for distribution in importlib.metadata.distributions()
        for entry_point in distribution.entry_points
        if entry_point.group == "regkit.regularizers"
    }
    found = {(alias, *claim) for alias, claims in regkit.available().items() for claim in claims}
    assert found == expected
    version = importlib.metadata.version("regkit-hidden-l1")
    assert ("hidden_l1", "regkit-hidden-l1", version, "regkit_hidden_l1:HiddenL1") in found


def test_a_distribution_installed_later_is_seen_after_refresh(monkeypatch):
    assert "acme_healthy" not in regkit.available()
    monkeypatch.setattr(sys, "path", [str(INSTALLED / "healthy"), *sys.path])
    assert "acme_healthy" not in regkit.available()
    regkit.refresh()
    assert "acme_healthy" in regkit.available()
    monkeypatch.undo()
    regkit.refresh()
    assert "acme_healthy" not in regkit.available()


def test_the_same_folder_twice_on_the_path_is_one_claim(installed):
    installed("healthy", "healthy")
    assert len(regkit.available()["acme_healthy"]) == 1
    regkit.build(acme_healthy=0.1)


def test_a_relative_entry_and_a_symbolic_link_are_the_same_distribution(installed, monkeypatch, tmp_path):
    (tmp_path / "link").symlink_to(INSTALLED / "healthy")
    monkeypatch.chdir(INSTALLED)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "link"), "healthy", *sys.path])
    installed("healthy")
    assert len(regkit.available()["acme_healthy"]) == 1


def test_of_one_distribution_found_twice_the_first_on_the_path_counts(installed):
    installed("older", "healthy")
    assert "acme_old_alias" in regkit.available()
    assert "acme_healthy" not in regkit.available()


def test_two_distributions_with_the_same_target_are_no_conflict(installed):
    installed("healthy", "same_target")
    assert [str(claim) for claim in regkit.available()["acme_healthy"]] == [
        "acme-healthy 1.0 (acme_healthy:Healthy)",
        "acme-rename 3.0 (acme_healthy:Healthy)",
    ]
    assert type(regkit.build(acme_healthy=0.1)[0]).__name__ == "Healthy"


def test_metadata_that_pip_left_of_an_upgrade_is_ignored(site):
    distribute(site, "acme_kept", "acme_kept = acme_kept:Mine", source=SOURCE)
    left = distribute(site, "acme_left", "acme_kept = acme_left:Other\nacme_ghost = acme_left:Ghost")
    left.rename(site / "~cme_kept-0.9.dist-info")
    regkit.refresh()
    assert [str(claim) for claim in regkit.available()["acme_kept"]] == ["acme_kept 1.0 (acme_kept:Mine)"]
    assert type(regkit.build(acme_kept=0.1)[0]).__name__ == "Mine"
    with pytest.raises(regkit.UnknownAliasError):
        regkit.build(acme_ghost=0.1)


def test_metadata_that_pip_left_is_ignored_also_if_another_finder_has_it(installed, monkeypatch, tmp_path):
    distribute(tmp_path, "acme_left", "acme_ghost = acme_left:Ghost").rename(tmp_path / "~cme_left-1.0.dist-info")
    context = importlib.metadata.DistributionFinder.Context(path=[str(tmp_path)])

    class Elsewhere(Counting):
        def find_distributions(self, _context):
            return importlib.metadata.MetadataPathFinder.find_distributions(context)

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Elsewhere()])
    installed()
    assert "acme_ghost" not in regkit.available()


def test_an_alias_of_a_hidden_copy_is_unknown_and_the_error_names_both_folders(site, monkeypatch, tmp_path):
    early = tmp_path / "early"
    bare = distribute(early, "Acme.L1", "", version="0.9")
    (bare / "entry_points.txt").unlink()
    late = distribute(site, "acme_l1", "acme_hidden = acme_l1:L1")
    monkeypatch.setattr(sys, "path", [str(early), *sys.path])
    regkit.refresh()
    assert "acme_hidden" not in regkit.available()
    with pytest.raises(regkit.UnknownAliasError) as error:
        regkit.build(acme_hidden=0.1)
    assert str(error.value).startswith(
        f"no installed plugin provides 'acme_hidden'. acme_l1 1.0 (acme_l1:L1) claims it in {late}, and is hidden by "
        f"{bare}, earlier on the path. Uninstall the copy that is not meant. Installed aliases: "
    )
    monkeypatch.setattr(sys, "path", [*sys.path[1:], str(early)])
    regkit.refresh()
    assert "acme_hidden" in regkit.available()


def test_the_claims_of_an_alias_of_one_distribution_are_those_of_that_one(installed):
    installed("conflict")
    every = {claim.distribution for claim in discovery.installed().claims("hidden_l1")}
    assert every == {"acme-l1", "regkit-hidden-l1"}
    (claim,) = discovery.installed().claims("acme-l1:hidden_l1")
    assert (claim.distribution, claim.target) == ("acme-l1", "acme_l1:L1")
    (folder,) = discovery.installed().folders(claim, "acme-l1:hidden_l1")
    assert folder.endswith("acme_l1-2.1.dist-info")


def test_a_blocked_copy_that_another_hides_is_not_named_as_hidden(site, monkeypatch):
    distribute(site / "early", "acme_twice", "")
    distribute(site / "late", "acme_twice", "acme_late = acme_twice:Late")
    monkeypatch.setattr(sys, "path", [str(site / "early"), str(site / "late"), *sys.path])
    regkit.refresh()
    assert len(discovery.installed().hidden_claims("acme_late")) == 1
    monkeypatch.setenv("REGKIT_BLOCK", "acme-twice")
    regkit.refresh()
    assert discovery.installed().hidden_claims("acme_late") == []


def test_a_description_below_the_header_has_no_fields(site):
    info = distribute(site, "acme_body", "acme_body = acme_body:Mine")
    (info / "METADATA").write_text("Name: acme_body\n\nVersion: 9\n")
    regkit.refresh()
    (claim,) = regkit.available()["acme_body"]
    assert claim.version == "1.0"  # of the folder's name


def test_two_versions_in_one_folder_conflict_only_where_they_differ(installed):
    installed("two_versions", "healthy")
    regkit.build(acme_new=0.1)
    with pytest.raises(regkit.AliasConflictError, match="acme-twice 1.0.*acme-twice 2.0"):
        regkit.build(acme_twice=0.1)


def test_a_distribution_whose_metadata_has_no_name_goes_by_its_folder(installed):
    installed("no_name", "empty_metadata", "healthy")
    assert [str(claim) for claim in regkit.available()["acme_nameless"]] == ["acme_nameless 1.0 (acme_healthy:Healthy)"]
    assert [str(claim) for claim in regkit.available()["acme_hollow"]] == ["acme_hollow 1.0 (acme_healthy:Healthy)"]
    regkit.build(acme_nameless=0.1)


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        ("bad_syntax", "acme_syntax-1.0.dist-info: entry_points.txt, line 2 is not alias = target"),
        ("bad_syntax", "acme_syntax-1.0.dist-info: entry_points.txt, line 3 is not alias = target"),
        ("not_utf8", "acme_latin-1.0.dist-info: entry_points.txt is not UTF-8"),
    ],
)
def test_metadata_that_cannot_be_read_is_named_by_the_error_of_an_unknown_alias_alone(installed, case, problem):
    installed(case, "healthy")
    regkit.build(acme_healthy=0.1, hidden_l1=0.1)
    with pytest.raises(regkit.UnknownAliasError) as error:
        regkit.build(acme_absent=0.1)
    assert problem in str(error.value)


def test_the_good_lines_of_a_file_with_bad_ones_count(installed):
    installed("bad_syntax", "healthy")
    assert type(regkit.build(acme_syntax_good=0.1)[0]).__name__ == "Healthy"


def test_an_empty_file_is_a_distribution_without_plugins(installed):
    installed("empty_entry_points", "healthy")
    assert not [claims for claims in regkit.available().values() if "acme-empty" in str(claims)]
    regkit.build(acme_healthy=0.1)


def test_a_zip_file_on_the_path_is_read(monkeypatch, tmp_path):
    archive = tmp_path / "plugins.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((INSTALLED / "healthy").rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                file.write(path, path.relative_to(INSTALLED / "healthy"))
    monkeypatch.setattr(sys, "path", [str(archive), *sys.path])
    regkit.refresh()
    assert [str(claim) for claim in regkit.available()["acme_healthy"]] == ["acme-healthy 1.0 (acme_healthy:Healthy)"]
    monkeypatch.undo()
    regkit.refresh()


def test_egg_info_of_a_development_install_is_read(installed, monkeypatch, tmp_path):
    source = INSTALLED / "healthy" / "acme_healthy-1.0.dist-info"
    target = tmp_path / "acme_healthy.egg-info"
    target.mkdir()
    shutil.copy(source / "METADATA", target / "PKG-INFO")
    shutil.copy(source / "entry_points.txt", target)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    installed()
    assert [str(claim) for claim in regkit.available()["acme_healthy"]] == ["acme-healthy 1.0 (acme_healthy:Healthy)"]


def test_path_entries_that_cannot_be_read_are_passed_over(installed, monkeypatch, tmp_path):
    (tmp_path / "text").write_text("no archive")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "absent"), str(tmp_path / "text"), None, *sys.path])
    installed("healthy")
    assert "acme_healthy" in regkit.available()


def test_a_finder_that_fails_harms_nobody(installed, monkeypatch):
    class Failing:
        @staticmethod
        def find_spec(*_):
            return None

        @staticmethod
        def find_distributions(_context):
            raise OSError("the network is down")

    monkeypatch.setattr(sys, "meta_path", [Failing(), *sys.meta_path])
    installed("healthy")
    assert "acme_healthy" in regkit.available()


def test_the_order_of_the_path_changes_nothing_but_which_copy_comes_first(installed):
    cases = ["healthy", "conflict", "import_fails", "not_utf8", "bad_syntax", "same_target", "two_versions"]
    found = []
    for seed in range(6):
        random.Random(seed).shuffle(cases)
        installed(*cases)
        found.append(regkit.available())
    assert all(claims == found[0] for claims in found[1:])


def test_the_order_of_the_file_system_changes_nothing(installed, monkeypatch):
    listdir, found = os.listdir, []
    for reverse in (False, True):
        monkeypatch.setattr(os, "listdir", lambda path, reverse=reverse: sorted(listdir(path), reverse=reverse))
        installed("two_versions", "conflict", "healthy")
        found.append(list(regkit.available().items()))
        with pytest.raises(regkit.AliasConflictError) as error:
            regkit.build(acme_twice=1)
        found[-1].append(str(error.value))
    assert found[0] == found[1]


def test_files_of_one_folder_that_cannot_be_read_are_named_in_order(site, monkeypatch):
    for name in ("acme_b", "acme_a", "acme_c"):
        distribute(site, name, "no entry")
    listdir = os.listdir
    for reverse in (False, True):
        monkeypatch.setattr(os, "listdir", lambda path, reverse=reverse: sorted(listdir(path), reverse=reverse))
        regkit.refresh()
        with pytest.raises(regkit.UnknownAliasError) as error:
            regkit.build(acme_absent=1)
        named = [line.partition("acme_")[2][0] for line in str(error.value).splitlines() if "is not alias" in line]
        assert named == ["a", "b", "c"]


def test_names_that_differ_only_by_normalization_are_one_distribution(installed, monkeypatch, tmp_path):
    shutil.copytree(INSTALLED / "older" / "acme_healthy-0.9.dist-info", tmp_path / "Acme.Healthy-0.9.dist-info")
    installed("healthy")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    regkit.refresh()
    assert "acme_old_alias" in regkit.available()
    assert "acme_healthy" not in regkit.available()


def test_path_entries_that_are_no_paths_harm_nobody(installed, monkeypatch):
    monkeypatch.setattr(sys, "path", ["a\0b", "\ud800", b"bytes", *sys.path])
    installed("healthy")
    assert "acme_healthy" in regkit.available()


def test_distributions_without_a_name_do_not_hide_each_other(installed, monkeypatch, tmp_path):
    for alias in ("acme_first", "acme_second"):
        with zipfile.ZipFile(tmp_path / f"{alias}.zip", "w") as file:
            file.writestr("-1.0.dist-info/METADATA", "Version: 1.0\n")
            file.writestr("-1.0.dist-info/entry_points.txt", f"[regkit.regularizers]\n{alias} = acme_healthy:Healthy\n")
    monkeypatch.setattr(sys, "path", [*map(str, sorted(tmp_path.glob("*.zip"))), *sys.path])
    installed("healthy")
    assert {"acme_first", "acme_second"} <= set(regkit.available())


def test_a_byte_order_mark_does_not_hide_the_group(installed, monkeypatch, tmp_path):
    shutil.copytree(INSTALLED / "healthy" / "acme_healthy-1.0.dist-info", tmp_path / "acme_healthy-1.0.dist-info")
    entry_points = tmp_path / "acme_healthy-1.0.dist-info" / "entry_points.txt"
    entry_points.write_text(entry_points.read_text(), encoding="utf-8-sig")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    installed()
    assert "acme_healthy" in regkit.available()


def test_two_entry_points_of_one_distribution_do_not_count_as_two_distributions(installed, monkeypatch, tmp_path):
    folder = tmp_path / "acme_dup-1.0.dist-info"
    folder.mkdir()
    (folder / "entry_points.txt").write_text("[regkit.regularizers]\ndup = m:A\ndup = m:B\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    installed()
    with pytest.raises(regkit.AliasConflictError, match="claimed by 2 entry points of one distribution: acme_dup 1.0"):
        regkit.build(dup=1)


def test_a_relative_entry_is_read_from_where_the_process_was(installed, monkeypatch, tmp_path):
    monkeypatch.chdir(INSTALLED)
    monkeypatch.setattr(sys, "path", ["healthy", *sys.path])
    installed()
    regkit.build(acme_healthy=0.1)
    monkeypatch.chdir(tmp_path)
    assert str(regkit.available()["acme_healthy"][0]) == "acme-healthy 1.0 (acme_healthy:Healthy)"


def test_the_backport_of_importlib_metadata_changes_nothing(installed, monkeypatch):
    """When it is imported, it takes the standard finder's method away and adds a finder of its own for the path."""

    class Backport:
        @staticmethod
        def find_distributions(context):
            return importlib.metadata.MetadataPathFinder.find_distributions(context)

    monkeypatch.delattr(importlib.machinery.PathFinder, "find_distributions", raising=False)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Backport])
    installed("older", "healthy")
    assert "acme_old_alias" in regkit.available()
    assert "acme_healthy" not in regkit.available()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import pytest\npytest.importorskip('a_module_that_nobody_has')\n", "Skipped: could not import"),
        (
            "class PanicException(BaseException):\n    pass\nraise PanicException('called unwrap')\n",
            "PanicException: called",
        ),
        ("class Mute(Exception):\n    def __str__(self):\n        return 1 / 0\nraise Mute\n", "Mute: (its message"),
    ],
)
def test_whatever_an_import_raises_is_an_error_of_that_plugin_alone(site, source, reason):
    distribute(site, "acme_panics", "panics = acme_panics:Panics", source=source)
    with pytest.raises(regkit.PluginLoadError) as error:
        regkit.build(panics=0.1, hidden_l1=0.1)
    assert f"alias 'panics' of acme_panics 1.0 (acme_panics:Panics) could not be loaded: {reason}" in str(error.value)
    assert str(error.value).endswith(". Fix or uninstall it; other plugins are unaffected")


def test_an_interrupted_import_is_interrupted(site):
    distribute(site, "acme_slow", "slow = acme_slow:Slow", source="raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        regkit.build(slow=0.1)


@pytest.mark.subprocess
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_pipes_and_links_to_themselves_keep_nobody_waiting(site, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("acme_pipe", "acme_loop", "acme_header"):
        distribute(site, name, f"{name} = acme_healthy:Healthy")
    for file in ("acme_pipe-1.0.dist-info/entry_points.txt", "acme_header-1.0.dist-info/METADATA"):
        (site / file).unlink()
        os.mkfifo(site / file)
    (site / "acme_loop-1.0.dist-info" / "entry_points.txt").unlink()
    (site / "acme_loop-1.0.dist-info" / "entry_points.txt").symlink_to("entry_points.txt")
    (site / "self.dist-info").symlink_to("self.dist-info")
    program = "import regkit; print(regkit.available()['acme_header'][0]); regkit.build(hidden_l1=0.1)"
    path = os.pathsep.join(map(str, [tmp_path / "pipe", tmp_path / "loop", site]))
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("acme_header 1.0 (acme_healthy:Healthy)\n", "")


def test_an_entry_points_txt_that_cannot_be_read_is_named_by_the_error_of_an_unknown_alias(site):
    for name in ("acme_folder", "acme_nowhere"):
        (distribute(site, name, "mine = acme:Mine") / "entry_points.txt").unlink()
    (site / "acme_folder-1.0.dist-info" / "entry_points.txt").mkdir()
    (site / "acme_nowhere-1.0.dist-info" / "entry_points.txt").symlink_to("nowhere")
    with pytest.raises(regkit.UnknownAliasError) as error:
        regkit.build(mine=0.1)
    assert f"{site}/acme_folder-1.0.dist-info: entry_points.txt cannot be read: it is not a file" in str(error.value)
    assert "acme_nowhere-1.0.dist-info: entry_points.txt cannot be read: No such file" in str(error.value)


# Installing while the process runs


@pytest.mark.parametrize(
    "ask", [lambda: regkit.build(mine=0.1)[0], lambda: regkit.load("mine")()], ids=["build", "load"]
)
def test_a_plugin_that_is_installed_in_a_running_process_is_found(site, ask):
    assert "mine" not in regkit.available()
    with pytest.raises(ModuleNotFoundError):  # now Python's finder has listed the folder
        __import__("acme_mine")
    before = site.stat()
    distribute(site, "acme_mine", "mine = acme_mine:Mine", source=SOURCE, refresh=False)
    os.utime(site, ns=(before.st_atime_ns, before.st_mtime_ns))  # as if all of this were within one tick of its clock
    assert type(ask()).__module__ == "acme_mine"


def test_an_alias_that_is_not_used_may_be_installed_in_a_running_process(site):
    assert "mine" not in regkit.available()
    distribute(site, "acme_mine", "mine = acme_mine:Mine", source=SOURCE, refresh=False)
    assert len(regkit.build(mine=None)) == 0


@pytest.mark.parametrize("value", [0.1, None])
def test_an_unknown_alias_costs_one_more_reading_and_a_known_one_none(counting, value):
    regkit.build(hidden_l1=value)
    assert counting.readings == 0
    with pytest.raises(regkit.UnknownAliasError):
        regkit.build(no_such_alias=value)
    assert counting.readings == 1


def test_split_reads_again_only_if_a_folder_of_the_path_has_changed(site, counting):
    os.utime(site, ns=(0, 0))
    assert regkit.split({"mine": 1, "rate": 2}) == ({}, {"mine": 1, "rate": 2})
    assert counting.readings == 1
    regkit.split({"mine": 1, "rate": 2})
    assert counting.readings == 1
    distribute(site, "acme_mine", "mine = acme_mine:Mine", source=SOURCE, refresh=False)
    assert regkit.split({"mine": 1, "rate": 2}) == ({"mine": 1}, {"rate": 2})
    assert counting.readings == 2


def test_split_reads_again_if_the_path_has_another_folder(site, monkeypatch, tmp_path):
    distribute(tmp_path / "other", "acme_mine", "mine = acme_mine:Mine", source=SOURCE)
    assert regkit.split({"mine": 1})[0] == {}
    monkeypatch.setattr(sys, "path", [str(tmp_path / "other"), *sys.path])
    assert regkit.split({"mine": 1})[0] == {"mine": 1}


# Files that shadow a plugin


@pytest.mark.parametrize("kind", ["a file", "a package"])
@pytest.mark.parametrize(
    ("source", "error_class", "message"),
    [
        ("", regkit.PluginLoadError, "AttributeError: module 'acme_mine' has no attribute 'Mine'"),
        ("Mine = 3", regkit.PluginLoadError, "ImportError: Mine is of type int, not a class"),
        ("raise OSError('no data')", regkit.PluginLoadError, "OSError: no data"),
        ("class Mine: ...", regkit.HookSignatureError, "acme_mine.Mine has no hook"),
    ],
)
def test_a_file_that_shadows_a_plugin_is_named_with_the_file_of_the_plugin(
    site, monkeypatch, tmp_path, kind, source, error_class, message
):
    distribute(site, "acme_mine", "mine = acme_mine:Mine", source=SOURCE)
    shadow = tmp_path / "project" / ("acme_mine.py" if kind == "a file" else "acme_mine/__init__.py")
    shadow.parent.mkdir(parents=True)
    shadow.write_text(source)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "project"), *sys.path])
    with pytest.raises(error_class) as error:
        regkit.build(mine=0.1)
    assert message in str(error.value)
    assert (
        f"acme_mine is imported from {shadow}, which shadows {site}/acme_mine.py. Rename or remove one of them"
        in str(error.value)
    )
    assert "Fix or uninstall it" not in str(error.value)


def test_a_file_that_shadows_an_editable_plugin_is_named_with_the_file_of_the_plugin(site, monkeypatch, tmp_path):
    """Some build back ends install a finder, which comes after that of the path."""
    distribute(site, "acme_mine", "mine = acme_mine:Mine")
    sources, shadow = tmp_path / "sources" / "acme_mine.py", tmp_path / "project" / "acme_mine.py"
    for file, text in ((sources, SOURCE), (shadow, "")):
        file.parent.mkdir()
        file.write_text(text)

    class Editable:
        @staticmethod
        def find_spec(name, path=None, target=None):
            return importlib.util.spec_from_file_location(name, sources) if name == "acme_mine" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Editable])
    monkeypatch.setattr(sys, "path", [str(shadow.parent), *sys.path])
    with pytest.raises(regkit.PluginLoadError) as error:
        regkit.build(mine=0.1)
    assert f"acme_mine is imported from {shadow}, which shadows {sources}. " in str(error.value)


# Normal forms of Unicode

COMPOSED, DECOMPOSED = "d\u00e9cor", "de\u0301cor"


@pytest.mark.parametrize("written", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("asked", [COMPOSED, DECOMPOSED])
def test_an_alias_is_found_in_either_normal_form_of_unicode(site, written, asked):
    distribute(site, "acme_mine", f"{written} = acme_mine:Mine", source=SOURCE)
    assert type(regkit.build({asked: 0.1})[0]).__name__ == "Mine"
    assert regkit.load(asked).__name__ == "Mine"
    assert len(regkit.build({asked: None})) == 0
    assert regkit.split({asked: 1, "rate": 2}) == ({asked: 1}, {"rate": 2})
    assert {COMPOSED, DECOMPOSED} & regkit.available().keys() == {COMPOSED}
    (claim,) = regkit.available()[COMPOSED]
    assert claim.target == "acme_mine:Mine"


@pytest.mark.parametrize("written", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("asked", [COMPOSED, DECOMPOSED])
def test_a_registered_alias_is_found_and_taken_in_either_normal_form_of_unicode(written, asked):
    class Mine(regkit.Regularizer):
        def loss(self):
            return 1.0

    class Other(Mine):
        pass

    regkit.register(Mine, written)
    assert regkit.load(asked) is Mine
    assert regkit.split({asked: 1})[0] == {asked: 1}
    assert list(regkit.available()).count(COMPOSED) == 1
    with pytest.raises(regkit.AliasConflictError, match="belongs to .*Mine .registered in this process"):
        regkit.register(Other, asked)


@pytest.mark.parametrize("asked", [COMPOSED, DECOMPOSED])
def test_an_installed_alias_is_taken_in_either_normal_form_of_unicode(site, asked):
    distribute(site, "acme_mine", f"{DECOMPOSED} = acme_mine:Mine", source=SOURCE)

    class Other(regkit.Regularizer):
        def loss(self):
            return 1.0

    with pytest.raises(regkit.AliasConflictError, match="belongs to acme_mine 1.0"):
        regkit.register(Other, asked)
    with pytest.warns(UserWarning, match="stays the host's, and is claimed as an alias by acme_mine 1.0"):
        assert regkit.split({asked: 1}, own=[COMPOSED]) == ({}, {asked: 1})


HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202e\x00"
HARMLESS = r"\x1b[2J\x1b]0;owned\x07\u202e\x00"


def test_text_of_metadata_is_escaped_so_that_no_terminal_obeys_it(site):
    entry_points = f"evil{HOSTILE} = acme:Evil\u202e\nöké = acme:Ä\nöké = acme:B\u202e\nno entry"
    info = distribute(site, "acme_evil", entry_points, version=f"1{HOSTILE}")
    info.rename(site / f"acme{HOSTILE[:-1]}-1.0.dist-info")  # no name of a file has a NUL
    regkit.refresh()
    assert str(regkit.available()[f"evil{HOSTILE}"][0]) == rf"acme_evil 1{HARMLESS} (acme:Evil\u202e)"
    messages = []
    for wanted in ("absent", f"evil{HOSTILE}", "öké"):
        with pytest.raises(regkit.RegkitError) as error:
            regkit.build({wanted: 0.1})
        messages.append(str(error.value))
    assert all(line.isprintable() for text in messages for line in text.splitlines()), messages
    assert f", evil{HARMLESS}, " in messages[0]
    assert f"acme{HARMLESS[:-4]}-1.0.dist-info: entry_points.txt, line 5 is not alias = target" in messages[0]
    assert "(acme:Ä). " in messages[2]


def test_a_stray_byte_in_metadata_is_written_as_a_repr_has_it():
    assert str(Claim("acme", "1\udcff", "acme:É")) == r"acme 1\udcff (acme:É)"


def calls(work):
    """How many Python functions some work calls, iterations of generators among them."""
    counted = [0]

    def count(_frame, event, _argument):
        counted[0] += event == "call"

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted[0]


def test_finding_many_aliases_of_one_distribution_parses_its_file_once(site):
    names = [f"many_{number}" for number in range(1000)]
    lines = "\n".join(f"{name} = acme_many:Many" for name in names)
    source = "import regkit\n\n\nclass Many(regkit.Regularizer):\n    def loss(self):\n        return 1.0\n"
    distribute(site, "acme_many", lines, source=source)
    assert calls(lambda: [discovery.class_of(name) for name in names]) < 100 * len(names)


def test_a_misspelt_alias_among_very_many_is_compared_with_few(site):
    names = [f"acme_{number * 7919 % 100_000:05}" for number in range(20_000)]
    distribute(site, "acme_many", "\n".join(f"{name} = acme_many:Many" for name in [*names, "hidden_entropy"]))
    messages = []

    def ask():
        for wanted in ("hiden_entropy", "hidden_entorpy", "acme_0791x9", "quite_another_thing"):
            try:
                discovery.class_of(wanted)
            except regkit.UnknownAliasError as error:
                messages.append(str(error).partition("?")[0].partition("Installed")[0])

    assert calls(ask) < 20 * len(names)
    assert messages[:2] == [
        "no installed plugin provides 'hiden_entropy'. Did you mean 'hidden_entropy'",
        "no installed plugin provides 'hidden_entorpy'. Did you mean 'hidden_entropy'",
    ]
    assert messages[2].endswith("Did you mean 'acme_07919'")
    assert messages[3] == "no installed plugin provides 'quite_another_thing'. "


@pytest.mark.parametrize(
    ("wanted", "suggested"),
    [
        ("l1", "'hidden_l1' or 'weight_l1' or 'acme_l1'"),
        ("entropy", "'hidden_entropy'"),
        ("entr", "'hidden_entropy'"),
        ("hiden_l1", "'hidden_l1'"),
    ],
)
def test_an_alias_that_is_part_of_others_suggests_them(site, wanted, suggested):
    lines = ["acme_l1", "weight_l1", "hidden_entropy", "acme_l10"]
    distribute(site, "acme_names", "\n".join(f"{name} = acme:A" for name in lines))
    with pytest.raises(regkit.UnknownAliasError) as error:
        regkit.build({wanted: 0.1})
    assert f"Did you mean {suggested}?" in str(error.value)


@pytest.mark.parametrize(
    ("elsewhere", "here"),
    [
        ("l1", "'hidden_l1' or 'weight_l1'"),
        ("l2", "'hidden_l2' or 'weight_l2'"),
        ("l1_l2", "'elastic_net'"),
        ("activity_l1", "'hidden_l1'"),
        ("kl", "'hidden_kl'"),
        ("k_sparse", "'hidden_topk'"),
        ("JumpReLU", "'hidden_threshold'"),
        ("stochastic-depth", "'drop_path'"),
        ("tv", "'hidden_variation'"),
        ("orthogonal", "'weight_orthogonal'"),
        ("weight_norm", "'weight_l2' or 'weight_max_norm'"),
        ("Activity-L2", "'hidden_l2'"),
    ],
)
def test_a_name_that_is_common_elsewhere_suggests_the_alias_here(elsewhere, here):
    with pytest.raises(regkit.UnknownAliasError) as error:
        regkit.build({elsewhere: 0.1})
    assert f"Did you mean {here}?" in str(error.value)


def test_every_alias_that_a_common_name_means_is_one_of_ours():
    from regkit._discovery.wording import _NAMES

    assert set(_NAMES) <= set(regkit.available())
