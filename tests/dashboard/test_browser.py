"""The app in a real Chromium, on a project whose names and SVGs mean harm."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboard import queries
from pipeline.reports import archive
from tests.support import dashboard_project
from tests.support.app_pages import PAGES
from tests.support.fakes import ROOT
from tests.support.ports import free_port

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]

WIDTHS = {"desktop": (1440, 1000), "phone": (390, 844)}
SERIOUS = {"serious", "critical"}


@pytest.fixture(scope="module")
def hostile(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(shutil.copytree(finished, tmp_path_factory.mktemp("hostile") / "project"))
    dashboard_project.copied(root, "20250109-other")
    dashboard_project.running(root)
    return root


@pytest.fixture(scope="module")
def address(hostile: Path) -> Iterator[str]:
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    server = subprocess.Popen(
        [sys.executable, "-m", "dashboard", "--port", str(port)], cwd=ROOT, stdout=subprocess.DEVNULL,
        env=environment | {queries.PROJECT: str(hostile)},
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{url}/_stcore/health")
        yield url
    finally:
        server.terminate()
        server.wait(120)


def _wait_for(url: str, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} did not answer within {seconds:g} s")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Visit:
    """A page in one browser tab. foreign: addresses that were asked for and are not the app's own."""

    def __init__(self, chromium: Any, address: str, width: str = "desktop", scheme: str = "light") -> None:
        size = dict(zip(("width", "height"), WIDTHS[width], strict=True))
        self._context = chromium.new_context(viewport=size, color_scheme=scheme)
        self.page = self._context.new_page()
        self.page.set_default_timeout(300_000)
        self.foreign: list[str] = []
        self.dialogs: list[str] = []
        self._address = address
        self.page.on("request", self._note)
        self.page.on("dialog", self._dismiss)

    def _note(self, request: Any) -> None:
        local = self._address.split("//")[1]
        if not request.url.startswith(("data:", "blob:", self._address, f"ws://{local}")):
            self.foreign.append(request.url)

    def _dismiss(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def open(self, path: str) -> None:
        self.page.goto(f"{self._address}/{path}")
        self.page.wait_for_selector("h1", timeout=300_000)
        self.settle()

    def settle(self) -> None:
        """Until the script has run and what it drew is there."""
        self.page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]", timeout=300_000)
        self.page.wait_for_timeout(250)

    def is_harmed(self) -> bool:
        return bool(self.page.evaluate("window.hostile !== undefined || document.title === 'hostile'"))

    def close(self) -> None:
        self._context.close()


@pytest.fixture
def visit(chromium: Any, address: str) -> Iterator[Visit]:
    made_visit = Visit(chromium, address)
    yield made_visit
    made_visit.close()


def images_address(hostile: Path, view: str) -> str:
    """Of the first hostile image."""
    table = archive.read_images(hostile / archive.RUNS / dashboard_project.RUN / archive.FOLDER)
    digest = table[table["path"] == dashboard_project.HOSTILE_NAMES[0]]["digest"].iloc[0]
    return f"images?run={dashboard_project.RUN}&image={digest}&view={view.replace(' ', '+')}"


def test_an_address_below_the_first_page_opens_at_once(hostile: Path, visit: Visit) -> None:
    """In a server that nobody has asked for anything yet: the first test of this file."""
    visit.open(f"results?run={dashboard_project.RUN}")
    assert visit.page.inner_text("h1") == "Results"


@pytest.mark.parametrize(
    ("width", "scheme"), [pytest.param("desktop", "light", marks=pytest.mark.nightly), ("phone", "dark")]
)
def test_every_page_fits_its_screen_and_runs_nothing_from_data(
    chromium: Any, address: str, width: str, scheme: str
) -> None:
    visit = Visit(chromium, address, width, scheme)
    found = []
    for page in PAGES:
        visit.open(f"{page}?run={dashboard_project.RUN}")
        assert visit.page.locator("[data-testid=stException]").count() == 0, page
        assert visit.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), page
        assert not visit.is_harmed(), page
        found += [f"{page}: {violation}" for violation in serious(visit.page)]
    assert found == []
    assert visit.foreign == []
    assert visit.dialogs == []
    visit.close()


def serious(page: Any) -> list[str]:
    """What axe-core finds against WCAG 2.2 AA that it calls serious or critical."""
    options = {"resultTypes": ["violations"], "runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]}
    violations = axe.Axe().run(page, options=options).response["violations"]
    return [f"{v['id']}: {n['target']}" for v in violations if v["impact"] in SERIOUS for n in v["nodes"]]


@pytest.mark.parametrize("view", ["Original and ours", "With the default", "Slider", "Difference", "Paths"])
def test_a_hostile_svg_is_a_picture_and_no_more(hostile: Path, visit: Visit, view: str) -> None:
    visit.open(images_address(hostile, view))
    visit.page.wait_for_selector(".viewer .caption", timeout=300_000)
    pictures = visit.page.locator(".viewer img")
    assert pictures.count() >= 1
    for source in pictures.evaluate_all("images => images.map(i => i.src)"):
        assert source.startswith(("data:image/png;base64,", "data:image/svg+xml;base64,"))
    assert not visit.is_harmed()
    assert visit.foreign == []
    inner = visit.page.evaluate(
        "[...document.querySelectorAll('*')].flatMap(e => e.shadowRoot ? [...e.shadowRoot.querySelectorAll"
        "('script,foreignObject,iframe,a')] : []).length"
    )
    assert inner == 0


def test_the_slider_obeys_the_keyboard_and_the_mouse(hostile: Path, visit: Visit) -> None:
    visit.open(images_address(hostile, "Slider"))
    slider = visit.page.locator(".viewer input[type=range]")
    slider.wait_for()
    over = visit.page.locator(".viewer .over")
    before = over.evaluate("e => e.style.clipPath")
    slider.focus()
    visit.page.keyboard.press("PageUp")
    after = over.evaluate("e => e.style.clipPath")
    assert before != after
    box = visit.page.locator(".viewer .between").bounding_box()
    assert box is not None
    visit.page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + box["height"] / 2)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2)
    assert float(slider.input_value()) == pytest.approx(20, abs=2)


def test_a_filter_goes_into_the_address_and_out_of_it(hostile: Path, visit: Visit) -> None:
    visit.open(f"images?run={dashboard_project.RUN}")
    visit.page.get_by_label("Name contains").fill("logo-1")
    visit.page.keyboard.press("Enter")
    visit.page.get_by_text("10 of 40 images").wait_for()
    assert "name=logo-1" in visit.page.url
    visit.open(visit.page.url.split("/")[-1])
    visit.page.get_by_text("10 of 40 images").wait_for()


def test_an_arrow_key_goes_to_the_next_image_and_a_filter_keeps_it(hostile: Path, visit: Visit) -> None:
    visit.open(f"images?run={dashboard_project.RUN}")
    tiles = visit.page.locator(".grid .tile")
    tiles.first.click()
    visit.page.keyboard.press("ArrowRight")
    visit.page.get_by_text("40 of 40 images; image 2 of them").wait_for()
    chosen = tiles.nth(1).get_attribute("title")
    visit.page.get_by_text(str(chosen)).first.wait_for()
    visit.page.get_by_label("Name contains").fill("no such name")
    visit.page.keyboard.press("Enter")
    visit.page.get_by_text("the image below is not among them").wait_for()
    visit.page.get_by_text(str(chosen)).first.wait_for()
