"""The command line, run as users run it: in a process of its own, its output piped or on a terminal of any kind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from console import INSTALLED, MIXED, distribute, only, regularizer, regularizers, remedies

import regkit

pytestmark = pytest.mark.subprocess


HIDDEN_L1 = "regkit-hidden-l1"


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


@pytest.mark.parametrize("where", ["module", "hook"])
def test_a_plugin_that_exits_does_not_pass_the_check(run, tmp_path, where):
    body = "import sys\nimport regkit\n" + ("sys.exit(0)\n" if where == "module" else "")
    body += "\n\nclass Exits(regkit.Regularizer):\n    def loss(self):\n        sys.exit(0)\n"
    (tmp_path / "acme_leaves.py").write_text(body)
    done = run("check", "acme_leaves:Exits", "--library", "numpy")
    assert done.returncode == (2 if where == "module" else 1)
    assert "SystemExit" in done.stderr + done.stdout


@pytest.mark.parametrize("command", [["list"], ["list", "--check"], ["doctor"]])
def test_a_file_that_shadows_a_plugin_is_named_with_the_file_of_the_plugin(run, tmp_path, command):
    distribute(tmp_path / "site", "acme_mine", regularizers("mine"), source="")
    (tmp_path / "site" / "acme_mine.py").write_text(regularizer("Mine"))
    (tmp_path / "acme_mine.py").write_text("import json\n")
    done = run(*command, program=only(), path=map(str, [tmp_path, tmp_path / "site"]))
    assert done.returncode == 1
    shadowed = f"acme_mine is imported from {tmp_path}/acme_mine.py, which shadows {tmp_path}/site/acme_mine.py"
    assert f"{shadowed}. Rename or remove one of them" in done.stdout


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
