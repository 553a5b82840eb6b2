"""The command line, run as users run it: in a process of its own, its output piped or on a terminal of any kind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import regkit

pytestmark = pytest.mark.subprocess

INSTALLED = Path(__file__).parents[1] / "installed"


@pytest.fixture
def run(tmp_path):
    """Run regkit with cases of tests/installed on the path."""

    def run(*arguments, cases=(), program=("-m", "regkit"), stdout=subprocess.PIPE, **environment):
        path = os.pathsep.join([*(str(INSTALLED / case) for case in cases), *environment.pop("path", ())])
        return subprocess.run(
            [sys.executable, *program, *arguments],
            stdout=stdout,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            timeout=120,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", **environment},
        )

    return run


def distribute(site, name, entry_points="", *, source=None, version="1.0", files=()):
    """Install a distribution: its metadata, and its module where there is a source."""
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    if entry_points:
        (info / "entry_points.txt").write_text(entry_points)
    if source is not None:
        (site / f"{name}.py").write_text(source)
    return info


def regularizers(*names):
    """Return an entry_points.txt with aliases of classes with their names."""
    return "\n".join(["[regkit.regularizers]", *(f"{name} = acme_{name}:{name.capitalize()}" for name in names)]) + "\n"


def regularizer(name, before=""):
    """Return the source of a module with a regularizer."""
    return f"import regkit\n{before}\n\n\nclass {name}(regkit.Regularizer):\n    def loss(self):\n        return 1.0\n"


def only(*libraries):
    """Return a program that runs regkit without the other graph libraries, whose imports take seconds."""
    hidden = sorted({"theano", "aesara", "pytensor"} - {*libraries})
    return ("-c", f"import sys; sys.modules.update(dict.fromkeys({hidden})); from regkit.__main__ import main; main()")


HIDDEN_L1 = "regkit-hidden-l1"
MIXED = ("healthy", "import_fails", "conflict", "not_utf8")


@pytest.mark.parametrize("importing", [(), ("--check",)])
def test_list_distinguishes_a_healthy_a_broken_and_two_conflicting_plugins(run, importing):
    done = run("list", "--json", *importing, cases=MIXED)
    rows = json.loads(done.stdout)
    assert done.returncode == 1
    rows = [row for row in rows if row["distribution"] in (None, "acme-broken", "acme-healthy", "acme-l1", HIDDEN_L1)]
    assert [(row["alias"], row["distribution"], row["state"]) for row in rows] == [
        ("acme_broken", "acme-broken", "broken"),
        ("acme_healthy", "acme-healthy", "ok"),
        ("hidden_l1", "acme-l1", "conflict"),
        ("hidden_l1", "regkit-hidden-l1", "conflict"),
        ("hidden_sparsity", "regkit-hidden-l1", "ok"),
        (None, None, "broken"),
    ]
    assert "a_module_that_nobody_has" in rows[0]["why"]
    assert rows[2]["why"].startswith("alias 'hidden_l1' is claimed by 2 distributions: acme-l1 2.1 (acme_l1:L1)")
    assert rows[1]["from"] == [str(INSTALLED / "healthy" / "acme_healthy-1.0.dist-info")]


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("import_fails", "acme_broken imports 'a_module_that_nobody_has', which is not installed"),
        ("names_missing", "acme_missing defines no"),
    ],
)
def test_list_names_the_reason_that_the_source_shows(run, case, why):
    broken = [line for line in run("list", cases=[case]).stdout.splitlines() if line.startswith("broken: ")]
    assert any(why in line for line in broken), broken


def test_list_prints_the_aliases_that_have_a_word_in_their_name(run):
    done = run("list", "KL", "topk")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["alias", "hidden_kl", "hidden_topk"]
    rows = json.loads(run("list", "decay", "--json").stdout)
    assert [row["alias"] for row in rows] == ["decoupled_decay", "weight_decay"]


def test_list_of_a_word_that_no_alias_has_exits_with_2_and_the_aliases(run):
    done = run("list", "lstm")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"Error: no alias has 'lstm' in its name. Aliases: {', '.join(regkit.available())}\n"


def test_list_for_programs_has_options_and_capabilities(run):
    rows = {row["alias"]: row for row in json.loads(run("list", "--json", cases=["healthy", "import_fails"]).stdout)}
    assert list(rows["hidden_l1"]["options"]["properties"]) == ["pattern", "weight", "reduction"]
    found = {alias: rows[alias]["capabilities"] for alias in ("acme_healthy", "hidden_topk", "weight_l2")}
    none = dict(selects="outputs", changes_graph=False, changes_params=False, in_predictions=False)
    assert found == {
        "acme_healthy": {**none, "hooks": ["loss", "log"]},
        "hidden_topk": {
            **none,
            "changes_graph": True,
            "in_predictions": True,
            "hooks": ["modify_graph", "metrics", "log"],
        },
        "weight_l2": {
            **none,
            "selects": "params",
            "changes_params": True,
            "hooks": ["loss", "after_step", "metrics", "log"],
        },
    }
    assert (rows["acme_broken"]["options"], rows["acme_broken"]["capabilities"]) == (None, None)


def test_list_imports_no_plugin_unless_asked_to(run):
    program = (
        "import sys, regkit.cli\n"
        "try:\n    regkit.cli.regkit(sys.argv[1:])\n"
        "except SystemExit:\n    print('regkit_hidden_l1' in sys.modules)"
    )
    assert run("list", program=("-c", program)).stdout.splitlines()[-1] == "False"
    assert run("list", "--check", program=("-c", program)).stdout.splitlines()[-1] == "True"


def test_list_prints_the_first_sentence_of_a_class_wherever_its_module_imports_it_from(run, tmp_path):
    package = tmp_path / "acme_lazy"
    distribute(tmp_path, "acme_elsewhere", "[regkit.regularizers]\nlazy = acme_lazy:Public\n")
    (package / "rooms").mkdir(parents=True)
    (package / "__init__.py").write_text("if False:\n    from .rooms import Private as Public\n")
    (package / "rooms" / "__init__.py").write_text("from ..found import Private\n")
    (package / "found.py").write_text('class Private:\n    """Penalize a\n    thing. And more.\n    """\n')
    (row,) = run("list", "lazy", path=[str(tmp_path)]).stdout.splitlines()[1:]
    assert row.split(maxsplit=2) == ["lazy", "ok", "Penalize a thing"]


def test_list_prints_class_distribution_and_folder_only_when_asked(run):
    place = str(INSTALLED / "healthy" / "acme_healthy-1.0.dist-info")
    short, long = (run("list", *option, cases=["healthy"]).stdout for option in ((), ("--long",)))
    assert not any(word in short for word in ("acme_healthy:", "acme-healthy", place))
    assert all(word in long for word in ("acme_healthy:", "acme-healthy 1.0", place))


@pytest.mark.parametrize("command", ["show", "check"])
def test_the_shell_completes_aliases(run, command):
    program = ("-c", "import sys; sys.argv[0] = 'regkit'; from regkit.__main__ import main; main()")
    typed = f"regkit {command} acme_"
    done = run(program=program, cases=["healthy"], _REGKIT_COMPLETE="bash_complete", COMP_WORDS=typed, COMP_CWORD="2")
    assert done.stdout == "plain,acme_healthy\n"


def test_list_of_what_is_sound_exits_with_0_and_fits_one_line_each_when_piped(run):
    done = run("list", cases=["healthy"])
    assert done.returncode == 0, done.stdout
    header, *aliases = [line.split()[0] for line in done.stdout.splitlines()]
    assert header == "alias"
    assert aliases == sorted({*regkit.available(), "acme_healthy"})
    assert "\x1b" not in done.stdout
    assert not any(line.endswith(" ") for line in done.stdout.splitlines())


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudoterminals")
@pytest.mark.parametrize(("environment", "coloured"), [({"TERM": "dumb"}, False), ({"TERM": "xterm"}, True)])
def test_list_fits_a_narrow_terminal_with_and_without_colour(tmp_path, environment, coloured):
    import pty

    try:
        pid, terminal = pty.fork()
    except OSError as error:
        pytest.skip(f"not here: a pseudoterminal ({error})")
    if pid == 0:
        os.environ.update(environment, COLUMNS="60")
        os.execv(sys.executable, [sys.executable, "-m", "regkit", "list"])
    printed = b""
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # the other side is closed
            break
        if not chunk:
            break
        printed += chunk
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (b"\x1b[" in printed) == coloured
    plain = printed.decode()
    for code in ("\x1b[1m", "\x1b[32m", "\x1b[0m"):
        plain = plain.replace(code, "")
    assert "hidden_l1" in plain
    assert max(len(line) for line in plain.splitlines()) <= 60
    assert [line.split()[0] for line in plain.splitlines()] == ["alias", *sorted(regkit.available())]


def test_show_gives_signature_equation_distribution_and_docstring(run):
    done = run("show", "hidden_l1")
    assert done.returncode == 0
    assert done.stdout.startswith("HiddenL1(pattern=None, weight=0.0, reduction='sum')\n")
    assert f"from         regkit-hidden-l1 {version('regkit-hidden-l1')} (regkit_hidden_l1:HiddenL1)\n" in done.stdout
    assert "aliases      hidden_l1, hidden_sparsity\n" in done.stdout
    assert done.stdout.count("1/|Ω| Σ_{i∈Ω} ‖Zᵢ‖₁/nᵢ\n") == 1
    assert "\\" not in done.stdout
    assert "Penalize the activation of hidden layers under an L1 norm." in done.stdout


def test_show_shows_several_aliases_one_after_the_other(run):
    one, two, both = (run("show", *aliases).stdout for aliases in (["noise"], ["dropout"], ["noise", "dropout"]))
    assert both == f"{one}\n{two}"


def test_show_and_check_take_an_alias_of_one_of_two_distributions(run):
    shown = run("show", "acme-l1:hidden_l1", cases=["conflict"])
    assert shown.stdout.startswith("L1(pattern=None, weight=0.0)\nfrom         acme-l1 2.1 (acme_l1:L1)\n")
    checked = run("check", "regkit-hidden-l1:hidden_l1", "--library", "numpy", cases=["conflict"])
    assert "regkit-hidden-l1:hidden_l1" in checked.stdout, checked.stderr


def test_schema_prints_json_schema_of_the_options(run):
    done = run("schema", "hidden_l1")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert made["title"] == "hidden_l1"
    assert made["properties"]["reduction"]["enum"] == ["sum", "mean", "batch"]


def test_why_names_distribution_folder_and_file_and_imports_nothing(run, tmp_path):
    source = regularizer("Mine", "print('imported')")
    info = distribute(tmp_path, "acme_mine", regularizers("mine"), source=source)
    done = run("why", "mine", path=[str(tmp_path)])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"claimed by   acme_mine 1.0 (acme_mine:Mine)\nin           {info}\nfile         {tmp_path}/acme_mine.py\n"
        "aliases      mine\n"
    )


def test_why_names_every_claim_of_a_conflict(run):
    done = run("why", "hidden_l1", cases=["conflict"])
    assert done.returncode == 1
    assert (
        f"in           {INSTALLED}/conflict/acme_l1-2.1.dist-info\nfile         {INSTALLED}/conflict/acme_l1.py\n"
        in (done.stdout)
    )
    assert "claimed by   regkit-hidden-l1" in done.stdout
    assert "problem      alias 'hidden_l1' is claimed by 2 distributions: " in done.stdout


def test_why_names_the_copy_that_hides_a_claim(run, tmp_path):
    early = distribute(tmp_path / "early", "acme_hides", version="0.9")
    late = distribute(tmp_path / "late", "acme_hides", "[regkit.regularizers]\nhid = acme_hides:Hid\n")
    done = run("why", "hid", path=map(str, [tmp_path / "early", tmp_path / "late"]))
    assert done.returncode == 1
    assert done.stdout.startswith(
        f"hidden       acme_hides 1.0 (acme_hides:Hid) claims it in {late}, and is hidden by {early}, earlier on "
    )


def test_why_names_the_file_that_shadows_a_plugin(run, tmp_path):
    distribute(tmp_path / "site", "acme_mine", regularizers("mine"), source=regularizer("Mine"))
    (tmp_path / "acme_mine.py").write_text(regularizer("Mine"))
    done = run("why", "mine", path=map(str, [tmp_path, tmp_path / "site"]))
    assert done.returncode == 1
    assert f"file         {tmp_path}/acme_mine.py\n" in done.stdout
    assert f"which shadows {tmp_path}/site/acme_mine.py" in done.stdout


def test_a_blocked_distribution_is_named_by_why_and_by_doctor(run):
    place = INSTALLED / "healthy" / "acme_healthy-1.0.dist-info"
    asked = run("why", "acme_healthy", cases=["healthy"], REGKIT_BLOCK="acme-healthy")
    assert asked.returncode == 1
    assert asked.stdout.startswith(
        f"blocked      acme-healthy 1.0 (acme_healthy:Healthy) in {place}: REGKIT_BLOCK leaves it out\n"
    )
    done = run("doctor", program=only(), cases=["healthy"], REGKIT_BLOCK="acme-healthy,acme-helthy")
    assert done.returncode == 1
    assert "\nREGKIT_BLOCK leaves out: acme-healthy 1.0\n" in done.stdout
    assert remedies(done) == ["- REGKIT_BLOCK names 'acme-helthy', which is not installed"]


@pytest.mark.parametrize("command", ["show", "check", "why", "schema"])
def test_an_alias_that_is_not_installed_exits_with_2_and_a_suggestion(run, command):
    done = run(command, "hiden_l1")
    assert done.returncode == 2
    assert "no installed plugin provides 'hiden_l1'. Did you mean 'hidden_l1'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_exits_with_0_for_what_keeps_its_promises(run):
    done = run("check", "hidden_l1", "--options", '{"reduction": "mean"}', "--library", "numpy")
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("hidden_l1 (regkit_hidden_l1:HiddenL1): keeps every promise\n  class     13 passed\n")


def test_check_exits_with_1_for_what_does_not(run):
    done = run("check", "acme_wrong:LogsTwice", "--library", "numpy", cases=["wrong_regularizers"])
    assert done.returncode == 1
    assert "failed: class-log_is_one_record: log made 2 records of 2 lines" in done.stdout


def test_check_takes_an_expected_failure(run):
    expect = "log_is_one_record=it is talkative"
    done = run("check", "acme_wrong:LogsTwice", "--expect", expect, cases=["wrong_regularizers"])
    assert "expected failure: class-log_is_one_record: it is talkative" in done.stdout
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["json:JSONDecoder"], "<class 'json.decoder.JSONDecoder'> is not a regularizer"),
        (["json:nothing"], "json:nothing cannot be imported: AttributeError"),
        (["no_such_module:Class"], "no_such_module:Class cannot be imported: ModuleNotFoundError"),
        (["hidden_l1", "--options", "{"], "--options '{' is not JSON"),
        (["hidden_l1", "--options", "1"], "--options '1' is not a JSON object"),
        (["hidden_l1", "--expect", "pickles"], "--expect 'pickles' is not a CHECK=REASON"),
        (["hidden_l1", "--expect", "nothing=why"], "expected_failures names 'nothing', which is not a check"),
    ],
)
def test_check_of_what_cannot_be_checked_exits_with_2_and_the_reason(run, arguments, message):
    done = run("check", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_check_of_a_large_object_does_not_print_it(run):
    done = run("check", "os:environ", SECRET="of the environment")
    accepted = "Accepted: an alias, or a class with hooks"
    assert done.stderr == f"Error: an object of type _Environ is not a regularizer. {accepted}\n"


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


def test_a_terminal_that_lacks_a_sign_gets_another(run):
    done = run("show", "hidden_l1", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr


def test_output_of_a_plugin_is_no_part_of_the_list(run, tmp_path):
    source = regularizer("Talks", "print('hello')")
    distribute(tmp_path, "acme_talks", regularizers("talks") + "misspelt = acme_talks:Tolks\n", source=source)
    done = run("list", "--check", "--json", path=[str(tmp_path)])
    states = {row["alias"]: row["state"] for row in json.loads(done.stdout)}
    assert (states["talks"], states["misspelt"]) == ("ok", "broken")
    checked = run("check", "talks", "--library", "numpy", path=[str(tmp_path)])
    assert "failed: class-aliases_resolve_to_the_class: PluginLoadError: alias 'misspelt'" in checked.stdout


def test_output_of_a_plugin_to_the_descriptor_is_no_part_of_the_list(run, tmp_path):
    talk = "import os, sys\nos.write(1, b'one ')\nos.system('echo two')\nprint('three', file=sys.__stdout__)"
    distribute(tmp_path, "acme_talks", regularizers("talks"), source=regularizer("Talks", talk))
    done = run("list", "--check", "--json", path=[str(tmp_path)])
    assert {row["state"] for row in json.loads(done.stdout)} == {"ok"}
    assert all(word in done.stderr for word in ("one", "two", "three"))


def test_a_plugin_that_panics_is_broken_and_the_others_are_listed(run, tmp_path):
    source = "import regkit\n\n\nclass Panics(BaseException):\n    pass\n\n\nraise Panics('called unwrap')\n"
    distribute(tmp_path, "acme_panics", regularizers("panics"), source=source)
    done = run("list", "--check", "--json", path=[str(tmp_path)])
    rows = {row["alias"]: row for row in json.loads(done.stdout)}
    assert "could not be loaded: Panics: called unwrap" in rows["panics"]["why"]
    assert (rows["panics"]["state"], rows["hidden_l1"]["state"]) == ("broken", "ok")


def test_a_plugin_that_is_in_a_zip_file_is_sound(run, tmp_path):
    distribute(
        tmp_path / "flat", "acme_zipped", regularizers("zipped"), source=regularizer("Zipped", "import acme_other")
    )
    (tmp_path / "flat" / "acme_other.py").write_text("")
    archive = shutil.make_archive(str(tmp_path / "plugins"), "zip", tmp_path / "flat")
    done = run("list", "--json", path=[archive])
    assert {row["alias"]: row["state"] for row in json.loads(done.stdout)}["zipped"] == "ok"


def test_a_plugin_that_imports_main_is_listed_by_the_console_script(run, tmp_path):
    distribute(tmp_path, "acme_asks", regularizers("asks"), source=regularizer("Asks", "import __main__"))
    script = tmp_path / "script"
    script.write_text("from regkit.__main__ import main\nmain()\n")
    done = run("list", "--json", program=[str(script)], path=[str(tmp_path)])
    assert done.stderr == ""
    assert {row["alias"]: row["state"] for row in json.loads(done.stdout)}["asks"] == "ok"


def test_a_class_that_is_registered_settles_a_conflict(run):
    program = (
        "import sys, regkit, regkit.cli\n\n\n"
        "class Mine(regkit.Regularizer):\n    def loss(self):\n        return 1.0\n\n\n"
        "regkit.register(Mine, 'hidden_l1', replace=True)\nregkit.cli.regkit(sys.argv[1:])"
    )
    done = run("list", "--json", cases=["conflict"], program=("-c", program))
    states = [(row["distribution"], row["state"]) for row in json.loads(done.stdout) if row["alias"] == "hidden_l1"]
    assert states == [(None, "registered here"), ("acme-l1", "hidden"), ("regkit-hidden-l1", "hidden")]
    assert done.returncode == 0


EVIL, HARMLESS = "\x1b[2J\x1b]0;owned\x07\u202e", r"\x1b[2J\x1b]0;owned\x07\u202e"


@pytest.mark.parametrize("command", [["list", "--long"], ["show", "öké"], ["doctor"]])
def test_text_of_metadata_is_shown_so_that_no_terminal_obeys_it(run, tmp_path, command):
    lines = f"[regkit.regularizers]\nöké = acme_evil:Evil\nevil{EVIL} = acme_evil:Evil\nno entry\n"
    source = regularizer("Evil") + f'    __doc__ = "Looks harmless{EVIL.encode("unicode_escape").decode()}"\n'
    info = distribute(tmp_path, "acme_evil", lines, source=source)
    (info / "METADATA").write_text(f"Name: acme-evil\nVersion: 1{EVIL}\n")
    info.rename(tmp_path / f"acme{EVIL}-1.0.dist-info")
    done = run(*command, program=only(), path=[str(tmp_path)])
    assert all(line.isprintable() for line in (done.stdout + done.stderr).splitlines()), done
    assert f"acme-evil 1{HARMLESS}" in done.stdout
    assert f"evil{HARMLESS}" in done.stdout
    assert "öké" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_list_into_a_full_output_exits_with_2_and_the_reason(run):
    with Path("/dev/full").open("w") as full:
        done = run("list", stdout=full)
    assert (done.returncode, done.stderr) == (2, "regkit: standard output cannot be written: No space left on device\n")


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are not closed like that")
def test_a_list_into_a_closed_output_exits_with_2_and_the_reason(run):
    program = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, '-m', 'regkit', 'list'])"
    done = run(program=("-c", program))
    assert (done.returncode, done.stderr) == (2, "regkit: standard output is closed\n")


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="there are no signals of pipes")
def test_a_list_whose_reader_stops_ends_without_a_message(run):
    reader, writer = os.pipe()
    os.close(reader)
    done = run("list", stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, "")


def test_the_summaries_of_the_commands_are_shown_in_full(run):
    done = run("--help", COLUMNS="80")
    lines = [line.partition("  ")[2].strip() for line in done.stdout.partition("Commands:\n")[2].splitlines()]
    assert [line for line in lines if not line.startswith("search")] == [  # which another distribution brings
        "check   Check that a regularizer keeps every promise.",
        "doctor  List the problems of this installation, and how to fix them.",
        "list    List the aliases, and whether they work.",
        "new     Make a distribution NAME with a regularizer and its tests.",
        "schema  Print the JSON Schema of a regularizer's options.",
        "show    Show aliases: constructor, what each computes, origin.",
        "why     Print who claims an alias, what hides it, and which file it is.",
    ]


COMMAND = """import click


@click.command()
@click.argument("word")
def {name}(word):
    \"\"\"Say a word. And more.\"\"\"
    click.echo(f"{name} says {{word}}")
"""


def commands(site, name, lines, before=""):
    """Install a distribution with commands, whose module has its name."""
    source = before + "".join(COMMAND.format(name=line.rpartition(":")[2]) for line in lines)
    distribute(site, name, "\n".join(["[regkit.commands]", *lines, ""]), source=source)


def test_a_command_of_a_distribution_is_listed_without_importing_it_and_runs(run, tmp_path):
    commands(tmp_path, "acme_says", ["say = acme_says:say"], "print('imported')\n")
    listed = run("--help", path=[str(tmp_path)])
    assert "  say     Say a word.\n" in listed.stdout
    assert "imported" not in listed.stdout + listed.stderr
    done = run("say", "hello", path=[str(tmp_path)])
    assert (done.returncode, done.stdout, done.stderr) == (0, "say says hello\n", "imported\n")
    assert run("say", path=[str(tmp_path)]).returncode == 2


def test_a_command_that_cannot_be_imported_harms_no_other(run, tmp_path):
    commands(tmp_path, "acme_raises", ["raises = acme_raises:raises"], "raise ValueError('too early')\n")
    distribute(tmp_path, "acme_none", "[regkit.commands]\nnone = json:dumps\n")
    done = run("raises", path=[str(tmp_path)])
    assert (done.returncode, done.stderr) == (
        2,
        "Error: the command 'raises' of acme_raises 1.0 (acme_raises:raises) could not be loaded: ValueError: too early"
        ". Fix or uninstall it; other commands are unaffected\n",
    )
    assert (
        "'none' of acme_none 1.0 (json:dumps) is of type function, not click's"
        in run("none", path=[str(tmp_path)]).stderr
    )
    assert run("show", "hidden_l1", path=[str(tmp_path)]).returncode == 0


def test_doctor_names_a_command_whose_source_shows_that_it_is_broken(run, tmp_path):
    commands(tmp_path, "acme_lacks", ["lacks = acme_lacks:lacks"], "import a_module_that_nobody_has\n")
    commands(tmp_path, "acme_says", ["say = acme_says:say"])
    done = run("doctor", program=only(), path=[str(tmp_path)])
    lines = {" ".join(line.split()) for line in done.stdout.splitlines()}
    assert {"lacks acme_lacks:lacks broken", "say acme_says:say ok"} <= lines
    assert remedies(done) == [
        "- the command 'lacks' of acme_lacks 1.0 (acme_lacks:lacks) is broken: acme_lacks imports "
        "'a_module_that_nobody_has', which is not installed"
    ]


def test_doctor_reports_that_a_command_named_as_one_of_regkit_never_runs(run, tmp_path):
    commands(tmp_path, "acme_lists", ["list = acme_lists:list"])
    done = run("doctor", program=only(), path=[str(tmp_path)])
    assert done.returncode == 1
    assert "list acme_lists:list hidden" in {" ".join(line.split()) for line in done.stdout.splitlines()}
    assert remedies(done) == [
        "- the command 'list' of acme_lists 1.0 (acme_lists:list) never runs, as regkit has one of that name. "
        "It needs another name"
    ]


def test_an_entry_point_that_names_a_module_alone_is_not_a_command(run, tmp_path):
    distribute(tmp_path, "acme_module", "[regkit.commands]\nsay = acme_module\n", source=COMMAND.format(name="say"))
    message = (
        "the command 'say' of acme_module 1.0 (acme_module) is broken: 'acme_module' names no command, which is "
        "written module:command"
    )
    assert remedies(run("doctor", program=only(), path=[str(tmp_path)])) == [f"- {message}"]
    done = run("say", "hello", path=[str(tmp_path)])
    assert (done.returncode, done.stderr) == (2, f"Error: {message}\n")


def test_two_distributions_with_one_command_conflict_and_none_takes_the_place_of_regkits(run, tmp_path):
    for name in ("acme_one", "acme_two"):
        commands(tmp_path, name, [f"say = {name}:say", f"list = {name}:list"])
    done = run("say", "hello", path=[str(tmp_path)])
    assert (done.returncode, done.stderr) == (
        2,
        "Error: 2 commands have the name 'say': "
        "acme_one 1.0 (acme_one:say), acme_two 1.0 (acme_two:say). Uninstall one\n",
    )
    assert "list says" not in run("list", path=[str(tmp_path)]).stdout
    assert "  say     In conflict.\n" in run("--help", path=[str(tmp_path)]).stdout


def test_a_command_of_a_distribution_that_is_not_installed_names_the_distribution(run):
    program = (
        "from regkit.cli import _commands\n_commands.PROVIDED_BY['absent'] = 'regkit-absent'\n"
        "from regkit.__main__ import main\nmain()"
    )
    done = run("absent", "an_argument", program=("-c", program))
    assert (done.returncode, done.stderr) == (
        2,
        "Error: the command 'absent' comes with the distribution regkit-absent; in a checkout of regkit: pip install "
        "./plugins/regkit-absent\n",
    )


@pytest.mark.parametrize("where", ["module", "hook"])
def test_a_plugin_that_exits_does_not_pass_the_check(run, tmp_path, where):
    body = "import sys\nimport regkit\n" + ("sys.exit(0)\n" if where == "module" else "")
    body += "\n\nclass Exits(regkit.Regularizer):\n    def loss(self):\n        sys.exit(0)\n"
    (tmp_path / "acme_leaves.py").write_text(body)
    done = run("check", "acme_leaves:Exits", "--library", "numpy")
    assert done.returncode == (2 if where == "module" else 1)
    assert "SystemExit" in done.stderr + done.stdout


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


@pytest.mark.parametrize("command", [["list"], ["list", "--check"], ["doctor"]])
def test_a_file_that_shadows_a_plugin_is_named_with_the_file_of_the_plugin(run, tmp_path, command):
    distribute(tmp_path / "site", "acme_mine", regularizers("mine"), source="")
    (tmp_path / "site" / "acme_mine.py").write_text(regularizer("Mine"))
    (tmp_path / "acme_mine.py").write_text("import json\n")
    done = run(*command, program=only(), path=map(str, [tmp_path, tmp_path / "site"]))
    assert done.returncode == 1
    shadowed = f"acme_mine is imported from {tmp_path}/acme_mine.py, which shadows {tmp_path}/site/acme_mine.py"
    assert f"{shadowed}. Rename or remove one of them" in done.stdout


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


def remedies(done):
    """Return the remedies that the doctor prints."""
    return [line for line in done.stdout.splitlines() if line.startswith("- ")]


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


#: A program that runs regkit as if no distribution had a plugin.
NOTHING_INSTALLED = (
    "-c",
    "import sys; sys.modules.update(dict.fromkeys(['theano', 'aesara', 'pytensor'])); from regkit._discovery import "
    "reader; reader.scan = lambda mention: iter(()); from regkit.__main__ import main; main()",
)


@pytest.mark.parametrize("command", ["list", "doctor"])
def test_where_no_regularizer_is_installed_a_command_names_what_to_install(run, command):
    done = run(command, program=NOTHING_INSTALLED)
    assert done.returncode == 0, done.stderr
    assert (
        "No regularizer is installed. The standard plugins, in a checkout of regkit: pip install "
        "-r plugins/standard.txt\n"
    ) in done.stdout


def test_an_alias_where_no_regularizer_is_installed_names_what_to_install(run):
    done = run("show", "hidden_l1", program=NOTHING_INSTALLED)
    assert done.returncode == 2
    assert (
        "Installed aliases: none. The standard plugins, in a checkout of regkit: pip install -r plugins/" in done.stderr
    )


@pytest.mark.parametrize("missing", ["click", "packaging", "rich"])
def test_without_the_extra_one_line_names_the_remedy(run, missing):
    program = f"import sys; sys.modules[{missing!r}] = None; import regkit.__main__ as m; m.main()"
    done = run(program=("-c", program))
    assert done.returncode == 1
    assert done.stderr == (
        f"regkit: the command line needs {missing}. Install its extra, in a checkout of regkit: pip install '.[cli]'\n"
    )
