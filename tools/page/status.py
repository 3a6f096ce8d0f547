"""The view of the service's state."""

import itertools
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


def grown(metrics: str, reading: int) -> str:
    """The text of /metrics with rows that wait, and with batches and lookups that grow alike with
    each reading, so that what is shown does not depend on which readings it is made of."""

    def line(found):
        name, labels, value = found.groups()
        labelled = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        tower, result = labelled.get("tower"), labelled.get("result")
        batches, rows = {"image": (9, 4), "text": (5, 2)}.get(tower, (0, 0))
        value = {
            "siglip2_queue_rows": {"image": 5, "text": 3}.get(tower),
            "siglip2_batch_rows_sum": float(value) + batches * rows * reading,
            "siglip2_batch_rows_count": float(value) + batches * reading,
            "siglip2_batch_rows_bucket": float(value)
            + batches * reading * (float(labelled.get("le", "0").replace("+", "")) >= rows),
            "siglip2_text_cache_total": {"hit": 3, "miss": 1}.get(result, 0) * reading,
            "siglip2_image_cache_total": {"hit": 1, "miss": 3}.get(result, 0) * reading,
        }.get(name, value)
        return f"{name}{{{labels}}} {value}"

    return re.sub(r"^(\w+)\{(.*)\} (\S+)", line, metrics, flags=re.M)


def what_metrics_say(browser, service, shots):
    readings = itertools.count(1)

    def answer(route):
        response = route.fetch()
        route.fulfill(response=response, body=grown(response.text(), next(readings)))

    with visit(browser, service) as page:
        page.route("**/metrics", answer)
        page.click("a[href='#status']")
        # Once there are two readings to compare.
        page.wait_for_function("() => document.querySelector('#status')?.innerText.includes('mean 4')")

        def tile(name):
            return page.locator(".tile", has_text=name).locator("dd").inner_text().strip()

        assert tile("Rows waiting") == "8", tile("Rows waiting")
        assert tile("Cache hits") == "50%", tile("Cache hits")
        waiting = page.locator(".chart-card", has_text="Waiting").inner_text()
        assert "images 5" in waiting and "texts 3" in waiting, waiting
        sizes = page.locator("#status .card", has_text="Batch sizes")
        assert "Images, mean 4" in sizes.inner_text() and "Texts, mean 2" in sizes.inner_text()
        titles = [column.get_attribute("title") for column in sizes.locator("li").all()]
        filled = [title for title in titles if not title.endswith(": 0 batches")]
        assert [title.split(":")[0] for title in filled] == ["up to 4 rows", "up to 2 rows"], titles
        caches = page.locator("#status .card", has_text="cache of")
        shares = {row.locator("td").first.inner_text(): row.locator("td").last.inner_text() for row in caches.locator("tbody tr").all()}
        assert shares == {"texts": "75%", "images": "25%"}, shares


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
