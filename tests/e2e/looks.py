"""What a browser can be asked about the look of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from axe_playwright_python.sync_playwright import Axe

if TYPE_CHECKING:
    from playwright.sync_api import Page

# The worst contrast of text with what stands behind it, over all elements that match a selector.
CONTRAST = """(what) => { const rgb = c => c.match(/[0-9.]+/g).slice(0, 3).map(Number);
  const linear = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = c => { const [r, g, b] = rgb(c).map(linear);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const back = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (c !== 'rgba(0, 0, 0, 0)') return c; } return 'rgb(255,255,255)'; };
  return [...document.querySelectorAll(what)]
    .map(e => { const [a, b] = [light(getComputedStyle(e).color), light(back(e))].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05); }).reduce((x, y) => Math.min(x, y)); }"""


def passes_axe(page: Page) -> None:
    """WCAG A and AA, and best practices, on the page as it is."""
    page.wait_for_timeout(300)
    page.evaluate("document.getAnimations().forEach(a => { try { a.finish() } catch { a.cancel() } })")
    found = Axe().run(page)
    told = [(v["id"], [n["html"][:160] for n in v["nodes"]]) for v in found.response["violations"]]
    assert told == [], told
