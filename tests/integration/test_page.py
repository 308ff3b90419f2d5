"""The page in a real browser: what a visitor does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.support.service import Running

pytestmark = pytest.mark.slow
SCREENSHOTS = Path(os.environ.get("CIRRAY_SCREENSHOTS", Path(__file__).parents[2] / "build" / "screenshots"))
expect.set_options(timeout=60_000)  # on a busy machine answers take longer than Playwright's 5 s

# Every answer comes late, so that what is read before it came is read wrong in every run, not once in a hundred.
LATE = """
const now = window.fetch;
window.fetch = async (...request) => {
  await new Promise((resolve) => setTimeout(resolve, 300));
  return now(...request);
};
"""


@pytest.fixture(scope="module")
def page(service: Running) -> Iterator[Page]:
    """The page, opened in headless Chromium; errors on its console fail the test."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.add_init_script(LATE)
        page.goto(service.address)
        yield page
        browser.close()
    assert not errors


def ids(page: Page) -> list[str]:
    """The items on show, in order, once they are those of the search on show: earlier ones are dimmed."""
    expect(page.get_by_role("list", name="Results")).to_have_attribute("aria-busy", "false")
    return page.get_by_test_id("item").evaluate_all("cards => cards.map((card) => card.dataset.id)")


def shot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def test_pick_type_refine_undo(page: Page) -> None:
    expect(page.get_by_test_id("item").first).to_be_visible()
    assert len(ids(page)) >= 30
    shot(page, "browse")

    picked = ids(page)[0]
    page.get_by_test_id("item").first.click()
    expect(page.get_by_test_id("reference")).to_have_attribute("data-id", picked)
    expect(page.get_by_test_id("step")).to_have_count(1)

    page.get_by_test_id("change").fill("make it red")
    page.get_by_test_id("search").click()
    expect(page.get_by_test_id("chip")).to_have_count(1)
    expect(page.get_by_test_id("text-weight-used")).to_contain_text("text weight 0.")
    expect(page.get_by_test_id("timings")).to_contain_text("total")
    results = ids(page)
    assert picked not in results
    shot(page, "results")

    page.get_by_test_id("item").first.click()
    expect(page.get_by_test_id("reference")).to_have_attribute("data-id", results[0])
    page.get_by_test_id("change").fill("large")
    page.get_by_test_id("change").press("Enter")
    expect(page.get_by_test_id("step").last).to_contain_text("large")
    expect(page.get_by_test_id("text-weight-used")).to_contain_text("text weight 0.")
    assert results[0] not in ids(page)
    shot(page, "refined")

    for _ in range(2):
        page.get_by_test_id("undo").click()
    expect(page.get_by_test_id("reference")).to_have_attribute("data-id", picked)
    expect(page.get_by_test_id("text-weight-used")).to_contain_text("text weight 0.")
    assert ids(page) == results


def test_a_link_opens_the_same_search(page: Page, service: Running) -> None:
    shown, address = ids(page), page.url
    other = page.context.browser
    assert other is not None
    second = other.new_page()
    second.goto(address)
    expect(second.get_by_test_id("text-weight-used")).to_contain_text("text weight 0.")
    assert ids(second) == shown
    second.close()


def test_references_and_what_is_not_wanted(page: Page, service: Running) -> None:
    page.goto(service.address)
    expect(page.get_by_test_id("item").first).to_be_visible()
    expect(page.get_by_test_id("also-this")).to_have_count(0)  # there is no query yet
    first = ids(page)[0]
    page.get_by_test_id("item").first.click()
    expect(page.get_by_test_id("also-this").first).to_be_attached()
    alone = ids(page)

    # With the keyboard: from the field to the first card, then to its buttons.
    page.get_by_test_id("change").press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    expect(page.get_by_test_id("also-this").nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("also")).to_have_attribute("data-id", alone[1])
    expect(page.get_by_test_id("also-text")).to_be_focused()
    page.keyboard.type("the color of this")
    page.keyboard.press("Enter")
    page.get_by_test_id("own-text").fill("everything but the color")
    page.get_by_test_id("own-text").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("“everything but the color + the color of this”")
    both = ids(page)
    assert {first, alone[1]}.isdisjoint(both)
    body = {
        "references": [
            {"id": first, "text": "everything but the color"},
            {"id": alone[1], "text": "the color of this"},
        ],
        "limit": 36,
    }
    assert both == [hit["id"] for hit in service.search(body).json()["hits"]]

    page.get_by_test_id("item").nth(2).hover()
    page.get_by_test_id("not-this").nth(2).click()
    expect(page.get_by_test_id("unwanted")).to_have_count(1)
    page.get_by_test_id("change").fill("not a circle")
    page.get_by_test_id("change").press("Enter")
    expect(page.get_by_test_id("unwanted").last).to_contain_text("not a circle")
    expect(page.get_by_test_id("change")).to_have_value("")
    away = ids(page)
    not_wanted = {"not": [{"id": both[2]}, {"text": "a circle"}]}
    assert away == [hit["id"] for hit in service.search({**body, **not_wanted}).json()["hits"]]
    assert both[2] not in away
    shot(page, "references")


def test_a_link_has_references_and_what_is_not_wanted(page: Page) -> None:
    shown, address = ids(page), page.url
    page.goto("about:blank")
    page.goto(address)
    expect(page.get_by_test_id("also-text")).to_have_value("the color of this")
    expect(page.get_by_test_id("own-text")).to_have_value("everything but the color")
    expect(page.get_by_test_id("unwanted")).to_have_count(2)
    assert ids(page) == shown


def test_references_and_unwanted_things_are_removed_and_undone(page: Page) -> None:
    shown = ids(page)
    further = page.get_by_test_id("also").get_attribute("data-id")
    page.get_by_role("button", name="Remove: not like a circle").click()
    expect(page.get_by_test_id("unwanted")).to_have_count(1)
    page.get_by_role("button", name="Remove the reference picture").click()  # the next one takes its place
    expect(page.get_by_test_id("also")).to_have_count(0)
    expect(page.get_by_test_id("reference")).to_have_attribute("data-id", further or "")
    expect(page.get_by_test_id("own-text")).to_be_hidden()
    for _ in range(2):
        page.get_by_test_id("undo").click()
    expect(page.get_by_test_id("unwanted")).to_have_count(2)
    expect(page.get_by_test_id("also-text")).to_have_value("the color of this")
    assert ids(page) == shown
    page.get_by_test_id("also-remove").click()
    expect(page.get_by_test_id("also")).to_have_count(0)
    page.get_by_test_id("undo").click()
    expect(page.get_by_test_id("also")).to_have_count(1)


def test_a_text_that_is_not_like_something(page: Page, service: Running) -> None:
    page.goto(f"{service.address}/#")
    page.get_by_test_id("change").fill("not a circle")
    page.get_by_test_id("change").press("Enter")
    expect(page.get_by_role("status").last).to_contain_text("First say what you are looking for")
    page.get_by_test_id("change").fill("a red square")
    page.get_by_test_id("change").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("“a red square”")
    expect(page.get_by_test_id("also-this")).to_have_count(0)  # there is no reference
    page.get_by_test_id("change").fill("not a circle")
    page.get_by_test_id("change").press("Enter")
    expect(page.get_by_test_id("unwanted")).to_contain_text("not a circle")
    expect(page.get_by_test_id("change")).to_have_value("a red square")
    body = {"text": "a red square", "not": [{"text": "a circle"}], "limit": 36}
    assert ids(page) == [hit["id"] for hit in service.search(body).json()["hits"]]


def test_an_own_picture(page: Page, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (300, 200), "#2040d0").save(tmp_path / "blue.png")
    page.get_by_test_id("file").set_input_files(tmp_path / "blue.png")
    expect(page.get_by_test_id("reference")).to_have_attribute("data-id", "")
    expect(page.get_by_test_id("item").first).to_be_visible()
    page.get_by_test_id("change").fill("a circle")
    page.get_by_test_id("search").click()
    expect(page.get_by_test_id("text-weight-used")).to_contain_text("text weight 0.")
    shot(page, "own-picture")
    page.get_by_test_id("item").nth(1).hover()
    page.get_by_test_id("also-this").nth(1).click()
    expect(page.get_by_test_id("also")).to_have_count(1)
    page.get_by_test_id("also-text").fill("the border of this")
    page.get_by_test_id("also-text").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("“the border of this, a circle”")
    assert len(ids(page)) >= 30


def test_phone_and_dark(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.emulate_media(color_scheme="dark")
    expect(page.get_by_test_id("change")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the screen"
    shot(page, "phone-dark")
