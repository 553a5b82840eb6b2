"""The documentation site: it builds without a warning, names all that is public, and its links lead somewhere."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import regkit

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.framework("sphinx")

#: What a name in an address outside may look like. Nobody asks whether it is there: there may be no network.
HOST = re.compile(r"(?:[a-z0-9-]+\.)+[a-z]{2,}")

#: Modules whose names are public.
MODULES = (
    *("regkit", "regkit.graph", "regkit.hosts", "regkit.schedules", "regkit.testing"),
    *re.findall(
        r"currentmodule:: (regkit_\w+)", (ROOT / "docs/reference/regularizers.rst").read_text(encoding="utf-8")
    ),
)


@pytest.fixture(scope="module")
def pages(site):
    """The pages of the site as trees, by their paths in it."""
    from bs4 import BeautifulSoup

    found = {path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    return {name: BeautifulSoup(text, "html.parser") for name, text in found.items()}


def test_the_site_builds_without_a_warning(site, notes):
    notes.append(f"{len(list(site.rglob('*.html')))} pages, no warning: {site / 'index.html'}")
    assert (site / "docs" / "index.html").exists()


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_its_place_in_the_reference(site, module):
    import sphobjinv

    inventory = {entry.name for entry in sphobjinv.Inventory(fname_zlib=str(site / "objects.inv")).objects}
    names = {f"{module}.{name}" for name in importlib.import_module(module).__all__}
    undocumented = {"regkit.__version__"}
    assert names - undocumented - inventory == set()
    assert "regkit.RegularizerSet.regularize" in inventory


def links(tree) -> Iterator[str]:
    for tag, attribute in (("a", "href"), ("link", "href"), ("img", "src"), ("script", "src")):
        yield from (element[attribute] for element in tree.find_all(tag, **{attribute: True}))


def test_links_within_the_site_lead_to_what_is_there(site, pages):
    anchors = {name: {element["id"] for element in tree.find_all(id=True)} for name, tree in pages.items()}
    broken = []
    for page, tree in pages.items():
        for link in links(tree):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (site / page).parent / unquote(parts.path) if parts.path else site / page
            name = target.resolve().relative_to(site.resolve()).as_posix()
            known = anchors.get(name)
            if not target.exists() or (parts.fragment and known is not None and unquote(parts.fragment) not in known):
                broken.append(f"{page}: {link}")
    assert broken == []
    assert sum(len(found) for found in anchors.values()) > 500


def test_the_code_of_a_page_can_be_downloaded_and_is_a_program(site, pages):
    programs = {path.name for path in (site / "_programs").iterdir()}
    linked = {link.rpartition("/")[2] for tree in pages.values() for link in links(tree) if "_programs/" in link}
    assert programs == linked
    assert {"index.py", "tutorial.py", "torch.py", "jax.py", "keras.py"} <= programs
    for name in programs:
        text = (site / "_programs" / name).read_text(encoding="utf-8")
        compile(text, name, "exec")


def test_the_code_of_the_users_page_runs_as_a_program_through_the_errors_that_it_shows(site):
    done = subprocess.run(
        [sys.executable, str(site / "_programs" / "users.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "HiddenDropout got weight=1.5; accepted: a finite real number of at least 0 and below 1\n" in done.stdout


def test_links_to_outside_have_the_form_of_an_address(pages):
    outside = {link for tree in pages.values() for link in links(tree) if urlsplit(link).scheme not in ("", "data")}
    odd = [
        link
        for link in outside
        if urlsplit(link).scheme != "https" or not HOST.fullmatch(urlsplit(link).netloc) or re.search(r"[\s<>`]", link)
    ]
    assert odd == []
    assert any(link.startswith("https://numpy.org/doc/stable/") for link in outside)


def test_no_page_loads_anything_from_elsewhere(pages):
    loading = (("script", "src"), ("img", "src"), ("link", "href"))
    loaded = {
        element[at] for tree in pages.values() for tag, at in loading for element in tree.find_all(tag, **{at: True})
    }
    assert [link for link in loaded if urlsplit(link).netloc] == []
    assert any(urlsplit(link).path.endswith("tex-svg.js") for link in loaded)


def test_the_reference_has_keyword_import_distribution_and_use_of_each_regularizer(pages):
    tree = pages["docs/reference/regularizers.html"]
    named = {}
    for one in tree.select("dl.py.class"):
        fields = dict(zip((key.text for key in one.select("dt.field-odd, dt.field-even")), one.select("dd")))
        named.update({code.text: one for code in one.select("dl.field-list dd code")[:2]})
        assert [key.strip(": ") for key in fields][:4] == ["Keyword", "Use", "Import", "Distribution"]
    standard = {alias for alias, claims in regkit.available().items() if claims[0].target.split(":")[0] in MODULES}
    assert standard <= set(named)
    assert "from regkit_weights import WeightL1" in tree.text
    assert "regkit.build(weight_distance=dict(weight=0.1, reference=...))" in tree.text


def test_every_equation_of_a_docstring_is_set_as_one(pages):
    tree = pages["docs/reference/regularizers.html"]
    set_off = [element.text for element in tree.select("div.math")]
    written = [regkit.load(alias).__doc__ for alias in ("hidden_l1", "weight_l1", "contractive", "hidden_kl")]
    for text in written:
        found = re.search(r"^ *\.\. math::((?:.*\n)(?: {8,}.*\n)*)", text, re.MULTILINE)[1]
        assert any("".join(found.split()) in "".join(one.split()) for one in set_off), found


def test_the_initials_of_authors_do_not_begin_lists(pages):
    references = pages["docs/reference/regularizers.html"].select(".citation")
    assert len(references) > 20
    assert [reference.text for reference in references if reference.find("ol")] == []
    assert any("A. Ng (2011)" in reference.text for reference in references)


@pytest.mark.parametrize("project", ["python", "numpy", "pytensor", "jax"])
def test_the_inventory_of_another_project_says_whose_it_is_and_of_which_version(project):
    import sphobjinv

    inventory = sphobjinv.Inventory(fname_zlib=str(ROOT / "docs" / "_inventories" / f"{project}.inv"))
    assert inventory.project.lower() == project
    assert re.match(r"\d+\.\d+", inventory.version)
    assert all(entry.name.startswith(project) for entry in inventory.objects) or project == "python"
