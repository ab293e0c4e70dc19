"""The page in a real browser: it draws, hover, keys, touch and pins work, nothing complains, nothing is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import instances
from solver.page.document import document
from solver.page.report import report_of
from solver.planner import Options
from tests.page.browser import complaints, look, needed, opened, requests

NAMES = ["llama-70b-h200-72", "deepseek-v3-gb200-144", "deepseek-v3-h100-h200", "infeasible-ttft"]
SCALE = """
  const box = document.querySelector('.plot svg').getBoundingClientRect();
  const pin = document.querySelectorAll('.plot svg circle.mark, .plot svg rect.mark');
  return [...pin].map((m) => { const r = m.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; });
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    needed()
    with opened(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page each of a dense, a MoE, a two-pool and an infeasible instance."""
    needed()
    folder = tmp_path_factory.mktemp("pages")
    for name in NAMES:
        page = document(report_of(instances.path(name), Options()), f"python -m solver report {name} -o report.html")
        (folder / f"{name}.html").write_text(page, "utf-8")
    return {name: folder / f"{name}.html" for name in NAMES}


def text(browser: Any, selector: str) -> str:
    told = browser.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", selector)
    return str(told)


def colour(browser: Any) -> int:
    """How bright the page is, 0 to 255."""
    rgb = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    return max(int(part) for part in rgb[4:-1].split(","))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (1200, "dark"), (740, "light"), (360, "dark")])
def test_a_page_opens_quietly(browser: Any, pages: dict[str, Path], name: str, width: int, scheme: str) -> None:
    requests(browser), complaints(browser)
    look(browser, pages[name], width=width, scheme=scheme)
    assert requests(browser) == [pages[name].as_uri()]
    assert complaints(browser) == []
    assert (colour(browser) > 200) == (scheme == "light")
    wide = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    needs, has = browser.execute_script(wide)
    assert needs <= has, "no scrolling to the side"
    cut = """
      return [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1
        && !e.closest('.hidden, thead, details, .card')).map((e) => e.outerHTML.slice(0, 80))
    """
    assert browser.execute_script(cut) == []
    wrong = """
      return [...document.querySelectorAll('svg *')].map((e) => e.outerHTML)
        .filter((t) => /NaN|undefined|Infinity/.test(t)).slice(0, 3)
    """
    assert browser.execute_script(wrong) == []


def test_hover_shows_the_whole_deployment_and_a_click_pins_it(browser: Any, pages: dict[str, Path]) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    look(browser, pages["llama-70b-h200-72"], width=1200)
    assert text(browser, "#deployment-title") == "Deployment at 36.075 tokens/s/user: the optimum of the instance"
    browser.execute_script("document.querySelector('.plot').scrollIntoView({block: 'center'})")
    marks = browser.execute_script(SCALE)
    x, y = max((mark for mark in marks if 380 < mark[0] < 420), key=lambda mark: mark[1])
    ActionChains(browser).move_by_offset(0, 0).perform()
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y})
    card = text(browser, ".card")
    assert "tokens/s/user" in card
    assert "GPUs" in card
    assert "TTFT" in card
    assert browser.execute_script("return document.querySelector('.card').hidden") is False
    for kind in ("mousePressed", "mouseReleased"):
        event = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", event)
    user = card.split(" tokens/s/user")[0]
    assert text(browser, "#deployment-title") == f"Deployment at {user} tokens/s/user"
    assert "The pinned deployment is co-located" in text(browser, "#ratio-figure")
    assert text(browser, "#deployment-figure tbody tr").startswith("co-located")
    assert complaints(browser) == []


def test_keys_move_and_pin_and_are_read_aloud(browser: Any, pages: dict[str, Path]) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    look(browser, pages["deepseek-v3-gb200-144"], width=1200)
    before = text(browser, "#packing-figure")
    keys = ActionChains(browser)
    for _ in range(12):
        if "plot" in browser.execute_script("return document.activeElement.className"):
            break
        keys.send_keys(Keys.TAB).perform()
    assert "plot" in browser.execute_script("return document.activeElement.className")
    first = text(browser, "[aria-live]")
    assert "tokens/s/user" in first
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT).perform()
    second = text(browser, "[aria-live]")
    assert second != first
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    assert second.split(" tokens/s/user")[0] in text(browser, "#deployment-title")
    assert text(browser, "#packing-figure") != before
    ActionChains(browser).send_keys(Keys.ARROW_UP, Keys.END).perform()
    assert "co-located" in text(browser, ".card")
    assert complaints(browser) == []


def test_a_tap_shows_and_pins(browser: Any, pages: dict[str, Path]) -> None:
    look(browser, pages["deepseek-v3-h100-h200"], width=360)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    browser.execute_script("document.querySelector('.plot').scrollIntoView({block: 'center'})")
    x, y = browser.execute_script(SCALE)[-5]
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 5).until(lambda _: "the optimum" not in text(browser, "#deployment-title"))
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    assert complaints(browser) == []


def test_every_picture_has_a_text(browser: Any, pages: dict[str, Path]) -> None:
    look(browser, pages["deepseek-v3-h100-h200"], width=1200)
    mute = """
      return [...document.querySelectorAll('svg')]
        .filter((e) => !e.getAttribute('aria-label') && !e.closest('[aria-hidden]')).length
    """
    assert browser.execute_script(mute) == 0
    assert browser.execute_script("return document.querySelectorAll('#points tbody tr').length") == 30


def test_a_series_can_be_hidden(browser: Any, pages: dict[str, Path]) -> None:
    look(browser, pages["llama-70b-h200-72"], width=1200)
    count = "return document.querySelectorAll('.plot .line').length"
    assert browser.execute_script(count) == 3
    browser.execute_script("document.querySelectorAll('.legend button')[1].click()")
    assert browser.execute_script(count) == 2
    assert browser.execute_script("return document.querySelectorAll('.legend button')[1].ariaPressed") == "false"


def test_what_is_drawn_stands_where_the_numbers_say(browser: Any, pages: dict[str, Path]) -> None:
    """The heights of the markers of the frontier are proportional to its values, read off the ticks of the axis."""
    look(browser, pages["llama-70b-h200-72"], width=1200)
    measured = """
      const payload = JSON.parse(document.getElementById('payload').textContent);
      const own = payload.series[0].points.map((i) => payload.points[i]);
      const at = (e) => Number(e.getAttribute('y1'));
      const lines = [...document.querySelectorAll('.plot .grid')];
      const labels = [...document.querySelectorAll('.plot .grid + text')]
        .map((t) => Number(t.textContent.replace(/,/g, '')));
      const scale = (at(lines[1]) - at(lines[0])) / (labels[1] - labels[0]);
      const y = (v) => at(lines[0]) + (v - labels[0]) * scale;
      const drawn = [...document.querySelectorAll('.plot .mark.f-disaggregated')]
        .map((m) => Number(m.getAttribute('cy')));
      return own.filter((p) => p.modes[0] === 'disaggregated')
        .map((p) => Math.min(...drawn.map((d) => Math.abs(d - y(p.y)))));
    """
    away = browser.execute_script(measured)
    assert len(away) > 10
    assert max(away) < 0.01
