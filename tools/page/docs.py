"""The viewer of the OpenAPI document."""

from service import Service
from visit import refused, visit

# Bodies that no example can be made of: bytes behind their lengths, or behind a head of JSON that
# has them, and archives.
FRAMED = {
    ("/v2/models/{model}/infer", "application/octet-stream"),
    ("/embed/images", "application/octet-stream"),
    ("/embed/images", "application/x-tar"),
}


def every_example_runs(browser, service, shots):
    document = service.json("/openapi.json")
    operations = [(path, method) for path, item in document["paths"].items() for method in item]
    with visit(browser, service, "/docs") as page:
        page.wait_for_selector(".operation")
        sections = page.locator(".operation")
        assert sections.count() == len(operations), (sections.count(), len(operations))
        page.screenshot(path=shots / "docs.png")
        assert page.locator("#post-search .notice").count() == 0
        for at in range(len(operations)):
            section = sections.nth(at)
            name = section.locator("h2").inner_text()
            for kind in section.locator(".run select option").all_inner_texts() or [None]:
                if (name, kind) in FRAMED:
                    continue
                if kind:
                    section.locator(".run select").select_option(kind)
                section.locator("button:has-text('Send')").click()
                section.locator(".answer b").wait_for()
                status = section.locator(".answer b").inner_text()
                assert status.startswith("2"), f"{name} {kind or ''}: {section.locator('.answer').inner_text()}"
        page.locator("#post-similarity").scroll_into_view_if_needed()
        page.screenshot(path=shots / "docs-answer.png")
        # Every property of every schema that an operation names is shown.
        shown = page.inner_text("#post-embed-text")
        for field in ("texts", "normalize", "embeddings", "dimensions", "422", "429"):
            assert field in shown, field
        page.fill("#filter", "similarity")
        assert page.locator(".operation:visible").count() == 1


def without_an_index(browser, service, shots):
    with Service(service.binary) as bare, visit(browser, bare, "/docs", expected=[refused(404)]) as page:
        page.wait_for_selector("#post-search")
        assert "--index" in page.inner_text("#post-search .notice")
        assert page.locator(".notice:visible").count() == 1
        page.click("#post-search button:has-text('Send')")
        page.locator("#post-search .answer b.bad").wait_for()
        assert "404" in page.inner_text("#post-search .answer b")


def a_service_that_has_stopped(browser, service, shots):
    # Each with a body that is made of samples, and one without.
    lost = ["Failed to load resource: net::"]
    with Service(service.binary) as stopped, visit(browser, stopped, "/docs", expected=lost) as page:
        page.wait_for_selector(".operation")
        stopped.process.terminate()
        stopped.process.wait()
        for operation in ("#post-rank", "#post-embed-text"):
            page.click(f"{operation} button:has-text('Send')")
            page.locator(f"{operation} .answer .bad").wait_for()
            told = page.inner_text(f"{operation} .answer")
            assert "did not answer" in told, (operation, told)


def refusals_are_shown(browser, service, shots):
    with visit(browser, service, "/docs", expected=[refused(422), refused(400)]) as page:
        page.wait_for_selector("#post-embed-text")
        section = page.locator("#post-embed-text")
        section.locator("textarea").fill('{"texts": 7}')
        section.locator("button:has-text('Send')").click()
        section.locator(".answer b.bad").wait_for()
        assert "422" in section.locator(".answer b").inner_text()
        assert "detail" in section.locator(".answer pre").inner_text()
        section = page.locator("#post-embed-image")
        section.locator("input[type=file]").set_input_files(
            {"name": "a.png", "mimeType": "image/png", "buffer": b"nothing"}
        )
        section.locator("button:has-text('Send')").click()
        section.locator(".answer b.bad").wait_for()
        assert "not an image" in section.locator(".answer pre").inner_text()
