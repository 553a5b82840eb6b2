"""The command ``regkit``, which needs the extra ``cli``: click and rich are imported here and nowhere else."""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import click

#: The exit status if standard output cannot be written.
FAILURE = 2


def main() -> None:
    """Run the command line, or exit with the name of the package that it needs."""
    try:
        import click  # noqa: F401 - imported to see that it is installed
        import packaging  # noqa: F401
        import rich  # noqa: F401
    except ImportError as error:
        sys.exit(
            f"regkit: the command line needs {error.name}. "
            "Install its extra, in a checkout of regkit: pip install '.[cli]'"
        )
    command = _command()
    if sys.stdout is None:
        _fail("standard output is closed")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # docstrings have characters that not every terminal can show
    if hasattr(signal, "SIGPIPE"):  # a reader that stops, such as `head`, ends the process without a traceback
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        try:
            command()
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.filename is not None:  # of another file
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes the rest when it ends
        _fail(f"standard output cannot be written: {error.strerror}")


def _command() -> click.Command:
    """Return the command line, unless another library imported as regkit was installed over this one."""
    import regkit

    try:
        if "RegularizerSet" not in getattr(regkit, "__all__", ()):
            raise ImportError(f"{regkit.__file__} is not its own", name="regkit")
        from .cli import regkit as command
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "regkit":
            raise
        sys.exit(
            f"regkit: {error}. Another distribution, called regkit, is installed over regkit-core. "
            "Fix it with: pip uninstall regkit regkit-core, then in a checkout of regkit-core: pip install '.[cli]'"
        )
    return command


def _fail(why: str) -> None:
    if sys.stderr is not None:
        print(f"regkit: {why}", file=sys.stderr)
    sys.exit(FAILURE)


if __name__ == "__main__":
    main()
