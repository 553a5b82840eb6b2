"""Commands that distributions bring."""

from __future__ import annotations

import pytest
from console import distribute, only, remedies

pytestmark = pytest.mark.subprocess


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
