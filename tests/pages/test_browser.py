"""The documentation site as a person sees it: in Chromium, on a telephone and on wide screens, in light and dark.

It leaves pictures in docs/_build/screenshots, for a person to look at.
"""

from __future__ import annotations

import base64
import codeop
import re
import shutil

import pytest

from blocks import blocks

pytestmark = pytest.mark.framework("selenium")

WIDTHS = {"telephone": 390, "tablet": 820, "desktop": 1440, "wide": 1600}
SCHEMES = ("light", "dark")
DEVICES = ("desktop", "telephone")

#: Pages that are photographed, on these devices, each for something that others do not have.
PHOTOGRAPHED = (
    "docs/index",  # a picture, a program
    "docs/install",  # commands
    "docs/tutorial",  # long lines of code
    "docs/torch",  # a table in code
    "docs/catalogue",  # a wide table
    "docs/reference/building",  # signatures
    "docs/reference/regularizers",  # equations
    "docs/performance",  # tables of numbers
    "docs/architecture",  # a drawing in text
    "docs/changelogs",  # a list of pages
)

#: The browser may not use the network, and does not ask for what the project does not need.
FLAGS = (
    *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "hide-scrollbars"),
    *("disable-background-networking", "disable-component-update", "disable-sync"),
)

#: What sticks out at the right of what is seen, and of no box that scrolls by itself.
STICKING_OUT = """
const width = arguments[0], found = [];
if (document.documentElement.scrollWidth > width) found.push(`page of ${document.documentElement.scrollWidth}`);
const hides = e => getComputedStyle(e).overflowX !== "visible";
const scrolls = e => e && e !== document.body && (hides(e) || scrolls(e.parentElement));
const apart = "svg, .toc-drawer, mjx-assistive-mml";
for (const e of document.querySelectorAll(".main *")) {
  const box = e.getBoundingClientRect();
  if (box.width && box.right > width + 1 && !scrolls(e.parentElement) && !e.closest(apart))
    found.push(`${e.tagName}.${e.className}: ${e.textContent.slice(0, 40)}`);
}
return found.slice(0, 5);
"""

#: Waits for MathJax, if the page has any, and counts.
EQUATIONS = """
const done = arguments[0];
const counted = () => done({
  written: document.querySelectorAll(".math").length,
  drawn: document.querySelectorAll(".math > mjx-container > svg").length,
  wrong: [...document.querySelectorAll("[data-mml-node=merror]")].map(e => e.getAttribute("title")),
});
const wait = () => window.MathJax && MathJax.startup ? MathJax.startup.promise.then(counted) : setTimeout(wait, 20);
document.querySelector(".math") ? wait() : counted();
"""

#: Blocks of code of which a part is not seen without scrolling.
CUT_OFF = """
const cut = e => e.scrollWidth > e.clientWidth + 1;
const blocks = [...document.querySelectorAll("article .highlight pre")];
return blocks.filter(cut).map(e => `${e.scrollWidth} of ${e.clientWidth}: ${e.textContent.slice(0, 60)}`);
"""

#: Presses the copy button of every block, and hands over what is copied and what is shown.
COPIED = """
const found = [];
let text = "";
document.execCommand = () => { text = [...document.querySelectorAll("textarea")].pop().value; return true; };
for (const block of document.querySelectorAll("article .highlight")) {
  text = "";
  block.querySelector("button.copybtn").click();
  found.push([text, block.querySelector("pre").textContent]);
}
return found;
"""

FETCHED = "return performance.getEntriesByType('resource').map(e => e.name).filter(name => !name.startsWith('file:'))"


class Browser:
    """Chromium on the pages of a site."""

    def __init__(self, driver, site):
        self.driver = driver
        self.site = site

    def open(self, page, width=WIDTHS["desktop"]):
        """Show a page and return how many equations it has and draws."""
        assert (self.site / page).exists(), page
        self.resize(width)
        self.driver.get(f"{(self.site / page).as_uri()}")
        return self.driver.execute_async_script(EQUATIONS)

    def resize(self, width):
        metrics = dict(width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def ask_for(self, scheme):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def photograph(self, path):
        height = self.driver.execute_script("return document.documentElement.scrollHeight")
        width = self.driver.execute_script("return document.documentElement.clientWidth")
        clip = dict(x=0, y=0, width=width, height=min(height, 3000), scale=1)
        options = dict(format="png", clip=clip, captureBeyondViewport=True)
        picture = self.driver.execute_cdp_cmd("Page.captureScreenshot", options)
        path.write_bytes(base64.b64decode(picture["data"]))


@pytest.fixture(scope="module")
def browser(site, tmp_path_factory):
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and chromedriver):
        pytest.skip("not here: no Chromium with its driver (Debian: apt-get install chromium chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"user-data-dir={tmp_path_factory.mktemp('chromium')}", "host-resolver-rules=MAP * ~NOTFOUND"):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    driver.set_script_timeout(30)
    yield Browser(driver, site)
    driver.quit()


def names(site):
    """All pages but the sources of modules, which are all alike, and one of these."""
    pages = [path.relative_to(site).as_posix() for path in sorted(site.rglob("*.html"))]
    return [page for page in pages if not page.startswith("_modules")] + ["_modules/regkit/_sets.html"]


def test_no_page_scrolls_sideways_or_needs_the_network_and_every_equation_is_drawn(browser, site):
    wrong, drawn = [], 0
    for page in names(site):
        found = browser.open(page)
        drawn += found["drawn"]
        if found["drawn"] != found["written"] or found["wrong"]:
            wrong.append((page, found))
        fetched = browser.driver.execute_script(FETCHED)
        if fetched:
            wrong.append((page, fetched))
        for device, width in WIDTHS.items():
            browser.resize(width)
            sticking_out = browser.driver.execute_script(STICKING_OUT, width)
            if sticking_out:
                wrong.append((page, device, sticking_out))
    assert wrong == []
    assert drawn > 100


def test_no_code_is_cut_off_on_a_desktop_and_none_of_the_first_pages_on_a_telephone(browser, site):
    cut = {}
    for page in names(site):
        browser.open(page, WIDTHS["desktop"])
        cut[page, "desktop"] = browser.driver.execute_script(CUT_OFF)
    for page in ("docs/index.html", "docs/install.html", "docs/tutorial.html"):
        browser.open(page, WIDTHS["telephone"])
        cut[page, "telephone"] = browser.driver.execute_script(CUT_OFF)
    assert {place: blocks for place, blocks in cut.items() if blocks} == {}


def test_what_is_copied_is_what_is_typed(browser):
    browser.open("docs/tutorial.html")
    copied = browser.driver.execute_script(COPIED)
    shown = [block for block in blocks("docs/tutorial.md") if block.is_session]
    assert len(copied) == 1 + len(shown)
    for (text, _), block in zip(copied[1:], shown):
        typed = [line[4:] for line in block.text.splitlines() if re.match(r">>> |\.\.\. ", line)]
        assert [line for line in text.splitlines() if line] == typed


def test_the_tutorial_can_be_pasted_into_a_prompt(browser):
    browser.open("docs/tutorial.html")
    for text, shown in browser.driver.execute_script(COPIED):
        if shown.startswith(">>> "):
            assert text
            assert pasted(text) == [], text


def pasted(text):
    """What Python's prompt would not take, if lines are typed one after the other."""
    compiler, waiting, refused = codeop.CommandCompiler(), [], []
    for line in text.split("\n"):
        waiting.append(line)
        try:
            if compiler("\n".join(waiting)) is not None:
                waiting = []
        except SyntaxError as error:
            refused.append(f"{line}: {error}")
            waiting = []
    return refused + waiting


def test_a_prompt_does_not_take_what_follows_a_function_without_an_empty_line():
    assert pasted("def f():\n    return 1\n\nf()") == []
    assert pasted("def f():\n    return 1\nf()") != []


@pytest.mark.parametrize(
    ("words", "first"), [("install", "Install"), ("hidden_sparsity", "Catalogue"), ("pytorch", "PyTorch")]
)
def test_the_search_finds_the_page_that_is_meant_first(browser, words, first):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    browser.open("docs/index.html")
    field = browser.driver.find_element(By.CSS_SELECTOR, ".sidebar-search")
    field.send_keys(words)
    field.submit()
    WebDriverWait(browser.driver, 20).until(lambda driver: "found" in driver.find_element(By.ID, "search-results").text)
    results = browser.driver.find_elements(By.CSS_SELECTOR, "#search-results li > a")
    assert [link.text for link in results][:1] == [first]


@pytest.mark.parametrize("library", ["PyTorch", "JAX", "Keras", "TensorFlow"])
def test_each_library_is_one_click_from_the_first_page(browser, library):
    from selenium.webdriver.common.by import By

    browser.open("docs/index.html")
    links = browser.driver.find_elements(By.CSS_SELECTOR, ".sidebar-tree a, article a")
    next(link for link in links if link.text.startswith(library)).click()
    assert library.lower() in browser.driver.find_element(By.TAG_NAME, "h1").text.lower()


def test_a_picture_opens_by_itself(browser, site):
    from selenium.webdriver.common.by import By

    browser.open("docs/performance.html", WIDTHS["telephone"])
    browser.driver.find_element(By.CSS_SELECTOR, "a.picture img").click()
    assert browser.driver.current_url.endswith(".png")


def test_light_and_dark_are_what_the_reader_asked_for(browser):
    background = "return getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).slice(0, 3).map(Number)"
    shades = {}
    browser.open("docs/index.html")
    for scheme in SCHEMES:
        browser.ask_for(scheme)
        shades[scheme] = sum(browser.driver.execute_script(background)) / 3
    assert shades["light"] > 200
    assert shades["dark"] < 60


def test_pages_are_photographed_for_a_person_to_look_at(browser, site, notes):
    into = site.parent / "screenshots"
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    for page in PHOTOGRAPHED:
        for device in DEVICES:
            browser.open(f"{page}.html", WIDTHS[device])
            for scheme in SCHEMES:
                browser.ask_for(scheme)
                browser.photograph(into / f"{page.replace('/', '-')}-{device}-{scheme}.png")
    pictures = list(into.iterdir())
    assert len({picture.read_bytes() for picture in pictures}) == len(PHOTOGRAPHED) * len(DEVICES) * len(SCHEMES)
    notes.append(f"{len(pictures)} screenshots: {into}")
