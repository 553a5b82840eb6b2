"""sdist and wheel of each distribution: `python distributions.py dist`, which needs hatchling.

`python distributions.py --core 0.2 folder` builds the wheel of an earlier core from its tag, and prints where it is.

They are built from copies. Pages of a checkout link to each other; on the package index such links would lead nowhere.
In a copy they are absolute, and the metadata has the project's URLs: `[tool.regkit]` in pyproject.toml has the address
that all of these begin with, and nothing else does.

Each is built twice, the wheel the second time from the sdist, and has to be the same byte for byte.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from lanes import HERE, PLUGINS, STANDARD, tomllib

HOSTS = "hosts"  # the folder for plugins that bring frameworks along, so that what is beside it installs anywhere
#: A link of Markdown, in a line or below the text, or of HTML, up to its target; and the target, if it has no scheme.
LINK = re.compile(
    r"""(\]\(|^\[[^]]+\]:\s+|\b(?:src|srcset|href)=")(?![a-z][a-z0-9+.-]*:|#|//)([^\s)"]+)""", re.MULTILINE
)
FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
PICTURES = {".png", ".svg", ".jpg", ".gif"}
LEFTOVERS = shutil.ignore_patterns("__pycache__", "_build", ".*", "*.egg-info")


def settings(folder: Path) -> dict:
    """What a distribution's pyproject.toml says."""
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def tag(folder: Path) -> str:
    """What the commit is called from which a distribution's present version is released: regkit-core-0.2.0."""
    config = settings(folder)
    source = (folder / config["tool"]["hatch"]["version"]["path"]).read_text(encoding="utf-8")
    version = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    return f"{config['project']['name']}-{version[1]}"


def released(folder: Path) -> int:
    """The day of the newest version in a distribution's changelog, in seconds: what its files are dated."""
    day = re.search(r"^## \[.+\] - (\S+)$", (folder / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    return int(datetime.strptime(day[1], "%Y-%m-%d").replace(tzinfo=timezone.utc).timestamp())


def absolute(text: str, folder: Path) -> str:
    """A page of a distribution's folder with links that lead somewhere from anywhere."""
    address = settings(HERE)["tool"]["regkit"]

    def link(found: re.Match) -> str:
        target, mark, fragment = found[2].partition("#")
        path = (folder / target).resolve()
        if not path.exists():
            raise FileNotFoundError(f"{folder / 'README.md'} links to {target}, which is not there")
        form = address["picture"] if path.suffix in PICTURES else address["page"]
        there = form.format(url=address["url"], tag=tag(folder), path=path.relative_to(HERE).as_posix())
        return f"{found[1]}{there}{mark}{fragment}"

    parts = FENCED.split(text)
    return "".join(part if fenced % 2 else LINK.sub(link, part) for fenced, part in enumerate(parts))


def urls(folder: Path) -> dict[str, str]:
    """The project's URLs, as they stand on a distribution's page of the index."""
    address = settings(HERE)["tool"]["regkit"]

    def page(path: Path) -> str:
        return address["page"].format(url=address["url"], tag=tag(folder), path=path.relative_to(HERE).as_posix())

    return {
        "Homepage": address["url"],
        "Documentation": page(HERE / "docs"),
        "Source": page(folder / "pyproject.toml").rpartition("/")[0],
        "Changelog": page(folder / "CHANGELOG.md"),
        "Issues": address["issues"].format(url=address["url"]),
    }


def copy(folder: Path, into: Path) -> Path:
    """A distribution as it is built: what its sdist holds, with absolute links and the project's URLs."""
    config = settings(folder)
    wanted = config["tool"]["hatch"].get("build", {}).get("targets", {}).get("sdist", {}).get("include", ["/*"])
    paths = [path for pattern in wanted for path in folder.glob(pattern.lstrip("/"))]
    for path in [*paths, *(folder / name for name in ("pyproject.toml", "README.md", "LICENSE"))]:
        target = into / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() and not LEFTOVERS("", [path.name]):
            shutil.copytree(path, target, ignore=LEFTOVERS)
        elif path.is_file():
            shutil.copyfile(path, target)
    shutil.copyfile(HERE / "conftest.py", into / "conftest.py")  # the fixtures of its tests
    page = into / "README.md"
    page.write_text(absolute(page.read_text(encoding="utf-8"), folder), encoding="utf-8")
    with (into / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("\n[project.urls]\n" + "".join(f'{name} = "{url}"\n' for name, url in urls(folder).items()))
    return into


def build(source: Path, into: Path, *kinds: str, date: int) -> None:
    """Build an sdist, a wheel or both."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(into)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(date)}
    for kind in kinds:
        done = subprocess.run([*command, "-t", kind], cwd=source, env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"the {kind} of {source} cannot be built:\n{done.stderr}")


def twice(folder: Path, into: Path) -> Iterator[Path]:
    """Build a distribution, and again from another copy and from its sdist; give the files, or exit if they differ."""
    date = released(folder)
    with tempfile.TemporaryDirectory() as scratch:
        first, again = Path(scratch, "first"), Path(scratch, "again")
        build(copy(folder, Path(scratch, "copy")), first, "sdist", "wheel", date=date)
        build(copy(folder, Path(scratch, "another", "copy")), again, "sdist", date=date)
        (sdist,) = again.glob("*.tar.gz")
        with tarfile.open(sdist) as archive:
            archive.extractall(scratch)  # which we have just written
        build(Path(scratch, sdist.name[: -len(".tar.gz")]), again, "wheel", date=date)
        for file in sorted(first.iterdir()):
            if file.read_bytes() != (again / file.name).read_bytes():
                sys.exit(
                    f"{file.name} is another when it is built again. Compare with diffoscope: {into} has the first"
                )
            yield Path(shutil.copy(file, into))


def lowest_core(folder: Path) -> str:
    """The lowest version of the core that a plugin names."""
    needed = settings(folder)["project"]["dependencies"][0]
    return re.fullmatch(r"regkit-core>=([\d.]+)", needed)[1]


def released_core(version: str, into: Path, repository: Path = HERE) -> Path | None:
    """Build the wheel of a released core from its tag; None if a repository has no such tag."""
    from packaging.version import Version  # which only this needs

    git = ("git", "-C", str(repository))
    listed = subprocess.run([*git, "tag", "--list", "regkit-core-*"], capture_output=True, text=True, check=False)
    tags = {Version(name.rpartition("-")[2]): name for name in listed.stdout.split()}
    if Version(version) not in tags:
        return None
    archive = [*git, "archive", "--format=zip", tags[Version(version)]]
    with tempfile.TemporaryDirectory() as scratch:
        with zipfile.ZipFile(io.BytesIO(subprocess.run(archive, capture_output=True, check=True).stdout)) as files:
            files.extractall(scratch)
        built = Path(scratch, "built")
        build(Path(scratch), built, "wheel", date=released(Path(scratch)))
        (wheel,) = built.glob("*.whl")
        into.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(wheel, into))


def main(into: Path) -> None:
    """Build all distributions into a folder, those of hosts into one within."""
    shutil.rmtree(into, ignore_errors=True)
    (into / HOSTS).mkdir(parents=True)
    for folder in (HERE, *PLUGINS):
        for file in twice(folder, into if folder in (HERE, *STANDARD) else into / HOSTS):
            print(f"{file.relative_to(into)}: the same when it was built again")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("into", type=Path, help="folder of what is built")
    parser.add_argument("--core", metavar="VERSION", help="build this version of the core alone, from its tag")
    options = parser.parse_args()
    if options.core:
        print(released_core(options.core, options.into) or "")
    else:
        main(options.into)
