"""Distributions for a path, and programs that run regkit on it, for the tests of the command line."""

from __future__ import annotations

from pathlib import Path

INSTALLED = Path(__file__).parent / "installed"


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


#: Cases of tests/installed: healthy, broken and conflicting ones.
MIXED = ("healthy", "import_fails", "conflict", "not_utf8")


def remedies(done):
    """Return the remedies that the doctor prints."""
    return [line for line in done.stdout.splitlines() if line.startswith("- ")]
