"""What the lanes leave behind: reports of their tests, which code of our pages ran, and the table made of them."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

import blocks

from . import CACHE, HERE, LANES, Lane

REPORTS = CACHE / "reports"  # a folder for each lane: what pytest says of its tests, and what is installed there
PAGE = HERE / "docs" / "lanes.md"
#: What is between them on the page is generated.
TABLE = re.compile(
    r"(?<=<!-- From here on written by `make table`, from lanes that ran. -->\n).*?(?=<!-- Up to here. -->)", re.DOTALL
)


def metadata_version(wheel: Path) -> str:
    """The version of the metadata in a wheel."""
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        return opened.read(name).decode().partition("\n")[0].removeprefix("Metadata-Version: ")


def forget(lane: Lane) -> None:
    """Remove what an earlier run left of a lane."""
    shutil.rmtree(REPORTS / lane.name, ignore_errors=True)
    (REPORTS / lane.name).mkdir(parents=True)


def next_file(lane: Lane) -> Path:
    """Where the next report of a lane goes."""
    folder = REPORTS / lane.name
    return folder / f"{len(list(folder.glob('*.xml')))}.xml"


def keep(lane: Lane, listed: str) -> None:
    """Keep that a lane has passed, how many of its tests did, and what `pip list --format=json` says it has."""
    suites = [suite for path in (REPORTS / lane.name).glob("*.xml") for suite in ET.parse(path).iter("testsuite")]
    tests = sum(int(suite.get("tests")) - int(suite.get("skipped")) for suite in suites)
    versions = {
        re.sub(r"[-_.]+", "-", one["name"]).lower(): one["version"].partition("+")[0] for one in json.loads(listed)
    }
    _passed(lane).write_text(json.dumps({"tests": tests, "versions": versions}, indent=1))


def _passed(lane: Lane) -> Path:
    """What is kept of a lane that has passed, and there only then."""
    return REPORTS / lane.name / "passed.json"


def blocks_file(lane: Lane) -> Path:
    """Where is kept which code of our pages a lane ran."""
    return REPORTS / lane.name / "blocks.txt"


def blocks_that_no_lane_ran() -> list[str]:
    """The code of our pages that no lane ran when it last did."""
    files = [path for path in map(blocks_file, LANES) if path.exists()]
    ran = {line for path in files for line in path.read_text(encoding="utf-8").splitlines()}
    return [str(block) for block in blocks.all_blocks() if str(block) not in ran]


def lanes_that_did_not_pass() -> list[str]:
    """The names of lanes that failed or could not run here when they were last tried, or never were."""
    return sorted(lane.name for lane in LANES if not _passed(lane).exists())


def write_table() -> None:
    """Write the table of what each lane had when it last passed, those that show the same together."""
    run = {lane.name: json.loads(_passed(lane).read_text()) for lane in LANES}
    alike: dict[tuple[str, ...], list[Lane]] = {}
    for lane in LANES:
        alike.setdefault(tuple(lane.shows) or ("NumPy",), []).append(lane)
    lines = ["| ran on | Python | tests | lanes |", "| --- | --- | --- | --- |"]
    for names, lanes in alike.items():
        shown = []
        for name in names:
            distribution = lanes[0].shows.get(name, name.lower())
            versions = dict.fromkeys(run[lane.name]["versions"][distribution] for lane in lanes)
            shown.append(f"{name} {', '.join(versions)}")
        cells = (
            "; ".join(shown),
            ", ".join(dict.fromkeys(lane.python for lane in lanes)),
            ", ".join(str(run[lane.name]["tests"]) for lane in lanes),
            ", ".join(lane.name for lane in lanes),
        )
        lines.append(f"| {' | '.join(cells)} |")
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(TABLE.sub(lambda _: "\n".join(("", *lines, "", "")), page), encoding="utf-8")
