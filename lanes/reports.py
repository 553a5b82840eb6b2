"""What the lanes leave behind: the reports of their tests, the table of a run, and the README's table made of it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import blocks

from . import CACHE, HERE, LANES, Lane

REPORTS = CACHE / "reports"  # a folder for each lane: what pytest says of each test, and what is installed there
#: What is between them on the page is generated.
TABLE = re.compile(
    r"(?<=<!-- From here on written by `make table`, from lanes that ran. -->\n).*?(?=<!-- Up to here. -->)", re.DOTALL
)


class Done(NamedTuple):
    """What came of a lane, or of another session: passed, failed or not here; what is to be said of it."""

    result: str
    minutes: str = ""
    note: str = ""


def folder(lane: Lane) -> Path:
    """A lane's reports; the first call of a run empties it."""
    found = REPORTS / lane.name
    found.mkdir(parents=True, exist_ok=True)
    return found


def forget(lane: Lane) -> None:
    """Remove what an earlier run left of a lane."""
    shutil.rmtree(REPORTS / lane.name, ignore_errors=True)


def next_file(lane: Lane) -> Path:
    """Where the next report of a lane goes."""
    return folder(lane) / f"{len(list(folder(lane).glob('*.xml')))}.xml"


def keep(lane: Lane, listed: str) -> None:
    """Keep that a lane has passed, how many of its tests did, and what `pip list --format=json` says it has."""
    tests = sum(not {child.tag for child in case} & {"skipped", "failure", "error"} for case in _cases(lane.name))
    versions = {_normalized(one["name"]): one["version"].partition("+")[0] for one in json.loads(listed)}
    _passed(lane).write_text(json.dumps({"tests": tests, "versions": versions}, indent=1))


def _passed(lane: Lane) -> Path:
    """What is kept of a lane that has passed, and there only then."""
    return REPORTS / lane.name / "passed.json"


def blocks_file(lane: Lane) -> Path:
    """Where is kept which code of our pages a lane ran."""
    return folder(lane) / "blocks.txt"


def blocks_that_no_lane_ran() -> list[str]:
    """The code of our pages that no lane ran when it last did."""
    files = [path for path in map(blocks_file, LANES) if path.exists()]
    ran = {line for path in files for line in path.read_text(encoding="utf-8").splitlines()}
    return [str(block) for block in blocks.all_blocks() if str(block) not in ran]


def _cases(lane: str) -> Iterator[ET.Element]:
    """The tests of a lane, as pytest reports them."""
    for path in (REPORTS / lane).glob("*.xml"):
        yield from ET.parse(path).iter("testcase")


def note(lane: str) -> str:
    """What is to be said of a lane: its three slowest tests, and what its tests did without on this machine."""
    seconds = sorted(((float(case.get("time", 0)), case.get("name")) for case in _cases(lane)), reverse=True)
    slowest = ", ".join(f"{name} {time:.0f}" for time, name in seconds[:3])
    skipped = {skip.get("message", "") for case in _cases(lane) for skip in case.iter("skipped")}
    return "; ".join(filter(None, (slowest, *sorted(one for one in skipped if one.startswith("not here")))))


def table(done: dict[str, Done]) -> str:
    """The table at the end of a run: lanes, then what has no lane."""
    rows = [("lane", "Python", "result", "minutes", "slowest tests, in seconds")]
    rows += [(lane.name, lane.python, *done[lane.name]) for lane in LANES]
    rows += [(name, "", *one) for name, one in done.items() if name not in {lane.name for lane in LANES}]
    return "\n".join("{:<16}{:<8}{:<10}{:<9}{}".format(*row).rstrip() for row in rows)


def readme_table(run: dict) -> str:
    """The README's table: what lanes ran on, those that show the same together."""
    alike: dict[tuple[str, ...], list[Lane]] = {}
    for lane in LANES:
        if lane.name in run:
            alike.setdefault(tuple(lane.shows) or ("NumPy",), []).append(lane)
    lines = ["| ran on | Python | tests | lanes |", "| --- | --- | --- | --- |"]
    for names, lanes in alike.items():
        cells = (
            "; ".join(f"{name} {_versions(name, lanes, run)}" for name in names),
            ", ".join(sorted({lane.python for lane in lanes}, key=lambda python: int(python.partition(".")[2]))),
            ", ".join(str(run[lane.name]["tests"]) for lane in lanes),
            ", ".join(lane.name for lane in lanes),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(("", *lines, "", ""))


def _versions(name: str, lanes: list[Lane], run: dict) -> str:
    distribution = lanes[0].shows.get(name, name.lower())
    return ", ".join(dict.fromkeys(run[lane.name]["versions"][distribution] for lane in lanes))


def _normalized(name: str) -> str:
    """A distribution's name as the index compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def write_readme() -> str:
    """Write the README's table of what each lane had when it last ran, and say so.

    Raises
    ------
    LookupError
        If a lane has not passed.
    """
    run = {lane.name: json.loads(_passed(lane).read_text()) for lane in LANES if _passed(lane).exists()}
    without = [lane.name for lane in LANES if lane.name not in run and not lane.stand_in]
    if without:
        raise LookupError(f"the table is of lanes that passed when they last ran; these did not: {', '.join(without)}")
    page = HERE / "README.md"
    page.write_text(TABLE.sub(lambda _: readme_table(run), page.read_text(encoding="utf-8")), encoding="utf-8")
    return f"{page.name} has the table of {len(run)} lanes"
