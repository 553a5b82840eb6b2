"""The pages for people and the code on them: which blocks there are, and which of them this run has run.

Whatever runs a block records that with `ran`, in the file that ``REGKIT_RAN`` names. After all lanes, `make test-all`
fails if a block is left that none has run.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = ("*.md", "docs/**/*.md", "plugins/*/*.md", "examples/third_party/*.md")
FENCED = re.compile(
    r"^(?:`(?P<file>[\w.-]+/[\w./-]+)`[^\n]*:\n\n)?(?P<fence>```+)(?P<kind>[^\n`]*)\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
#: A comment of a program that states what is printed there; behind a loop, arrows stand between several lines.
STATED = re.compile(r"#.*?→ (.*)$", re.MULTILINE)
#: What doctest does not run.
LEFT_OUT = "+SKIP"


@dataclass(frozen=True)
class Block:
    """A block of code on a page.

    Attributes
    ----------
    page : str
        From the root of the repository.
    number : int
        Among the blocks of the page, from 1 on.
    kind : str
        What stands behind the fence, such as ``python``.
    file : str
        The file that it is, where the line before names one.
    section : str
        The heading that it stands under, as in a link to it.
    text : str
    """

    page: str
    number: int
    kind: str
    file: str
    section: str
    text: str

    @property
    def is_session(self) -> bool:
        """Whether it shows what is typed and what comes back; doctest runs those of a page together."""
        return self.text.startswith(">>> ")

    def run(self, scope: dict) -> None:
        """Run a program; an error if it prints anything else than its comments state."""
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile(self.text, str(self), "exec"), scope)
        stated = [line for found in STATED.findall(self.text) for line in found.split(" → ")]
        lines = printed.getvalue().splitlines()
        assert lines == stated, f"{self} prints {lines} and states {stated}"

    def __str__(self) -> str:
        return f"{self.page} block {self.number} ({self.kind or 'no kind'})"


def blocks(page: str, kind: str | None = None) -> list[Block]:
    """The blocks of a page, all or those of one kind; what tells Sphinx what to do is none."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for match in FENCED.finditer(text):
        if not match["kind"].startswith("{"):
            headings = HEADING.findall(FENCED.sub("", text[: match.start()]))
            section = re.sub(r"[^\w -]", "", headings[-1].lower()).replace(" ", "-") if headings else ""
            where = (page, len(found) + 1, match["kind"], match["file"] or "", section)
            found.append(Block(*where, match["text"]))
    return [block for block in found if kind in (None, block.kind)]


def programs(page: str) -> list[Block]:
    """The blocks of Python that are programs and not sessions."""
    return [block for block in blocks(page, "python") if not block.is_session]


def all_blocks() -> list[Block]:
    """The blocks of all pages."""
    pages = {path for pattern in PAGES for path in ROOT.glob(pattern)}
    return [block for page in sorted(pages) for block in blocks(page.relative_to(ROOT).as_posix())]


def ran(done: Iterable[Block], file: Path | None = None) -> None:
    """Say that blocks have run, in a file or in the one that ``REGKIT_RAN`` names."""
    named = os.environ.get("REGKIT_RAN")
    into = file or (Path(named) if named else None)
    if into:
        with into.open("a", encoding="utf-8") as opened:
            opened.writelines(f"{block}\n" for block in done)


def ran_sessions(page: str, file: Path | None = None) -> None:
    """Say that doctest has run a page, or a copy of it."""
    ran((block for block in blocks(page) if block.is_session and LEFT_OUT not in block.text), file)
