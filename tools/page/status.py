"""The view of the service's state."""

import re

from visit import load_samples, visit


def total(service, endpoint: str) -> int:
    lines = re.findall(rf'siglip2_requests_total{{endpoint="{endpoint}",status="\d+"}} (\d+)', service.get("/metrics"))
    return sum(map(int, lines))


def live(browser, service, shots):
    with visit(browser, service) as page:
        page.click("a[href='#status']")
        page.wait_for_selector("#status table")
        page.evaluate("location.hash = '#try'")
        load_samples(page)
        page.click("a[href='#status']")
        # What was asked meanwhile shows in the rates.
        page.wait_for_function(
            "() => Number([...document.querySelectorAll('.tile')].find((tile) => tile.innerText.startsWith('Requests'))?.querySelector('dd').firstChild.textContent) > 0"
        )
        page.wait_for_timeout(2500)
        page.screenshot(path=shots / "status.png", full_page=True)
        row = page.locator("#status tr", has_text="embed_images").first.locator("td").all_inner_texts()
        assert int(row[4].replace(",", "")) == total(service, "embed_images"), row
        assert row[2].endswith("s"), row
        assert "up" in page.inner_text(".tile:first-child")
        assert page.locator(".chart .trace").count() >= 8
        drawn = page.locator(".chart .trace").first.get_attribute("d")
        assert drawn.startswith("M"), drawn
        limit = page.inner_text(".gauges")
        assert "GiB" in limit and "pictures" in limit, limit


def pauses_when_hidden(browser, service, shots):
    with visit(browser, service, "/#status") as page:
        asked = []
        page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/metrics") else None)
        page.wait_for_selector("#status table")
        hide = """(hidden) => {
          Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
          document.dispatchEvent(new Event('visibilitychange'));
        }"""
        page.evaluate(hide, True)
        page.wait_for_timeout(300)
        before = len(asked)
        page.wait_for_timeout(2500)
        assert len(asked) == before, "it asks though nobody looks"
        page.evaluate(hide, False)
        page.wait_for_function("() => document.querySelector('#status > header').innerText.includes('Live')")
        page.wait_for_timeout(1500)
        assert len(asked) > before
