"""The documentation site as a person sees it: in Chromium, on a telephone and on wide screens, in light and dark.

It leaves pictures in docs/_build/screenshots, for a person to look at.
"""

from __future__ import annotations

import base64
import shutil

import pytest

pytestmark = pytest.mark.framework("selenium")

WIDTHS = {"telephone": 390, "tablet": 820, "desktop": 1280, "wide": 1600}
SCHEMES = ("light", "dark")
DEVICES = ("desktop", "telephone")

#: Pages that are photographed, on these devices, each for something that others do not have.
PHOTOGRAPHED = (
    "docs/index",  # a picture, a program
    "docs/tutorial",  # long lines of code
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

FETCHED = "return performance.getEntriesByType('resource').map(e => e.name).filter(name => !name.startsWith('file:'))"


class Browser:
    """Chromium on the pages of a site."""

    def __init__(self, driver, site):
        self.driver = driver
        self.site = site

    def open(self, page, width=WIDTHS["desktop"]):
        """Show a page and return how many equations it has and draws."""
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
    return [page for page in pages if not page.startswith("_modules")] + ["_modules/regkit/regularizers.html"]


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


def test_the_search_finds_an_alias(browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    browser.open("docs/index.html")
    field = browser.driver.find_element(By.CSS_SELECTOR, ".sidebar-search")
    field.send_keys("hidden_sparsity")
    field.submit()
    results = (By.CSS_SELECTOR, "#search-results li a")
    WebDriverWait(browser.driver, 20).until(lambda driver: len(driver.find_elements(*results)) > 4)
    found = {link.text for link in browser.driver.find_elements(*results)}
    assert {"Catalogue", "For users"} <= found


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
