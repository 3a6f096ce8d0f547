"""Widths and colours."""

from visit import load_samples, visit


def no_wider(page, width: int, where: str) -> None:
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width, f"{where}: {wide} pixels wide"


def phone(browser, service, shots):
    width = 390
    with visit(browser, service, width=width, height=844, has_touch=True, is_mobile=True) as page:
        no_wider(page, width, "empty")
        load_samples(page)
        for tab in ("rank", "matrix", "labels"):
            page.click(f"#tab-{tab}")
            page.wait_for_timeout(400)
            no_wider(page, width, tab)
            page.screenshot(path=shots / f"phone-{tab}.png", full_page=tab == "rank")
        page.click("a[href='#status']")
        page.wait_for_selector("#status table")
        no_wider(page, width, "status")
        page.screenshot(path=shots / "phone-status.png")
        page.goto(service.url + "/docs")
        page.wait_for_selector(".operation")
        no_wider(page, width, "docs")
        page.click("#post-rank button:has-text('Send')")
        page.wait_for_selector("#post-rank .answer b")
        no_wider(page, width, "an answer in docs")
        page.screenshot(path=shots / "phone-docs.png")


def background(page) -> int:
    """How light the page's background is, 0 to 765."""
    return page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3)"
        ".reduce((sum, part) => sum + Number(part), 0)"
    )


def dark(browser, service, shots):
    with visit(browser, service, dark=True) as page:
        assert background(page) < 150
        load_samples(page)
        page.screenshot(path=shots / "dark-rank.png")
        page.click("#tab-matrix")
        page.wait_for_selector("#matrix-table td")
        page.screenshot(path=shots / "dark-similarity.png")
        # Another choice than the system's is kept, and can be taken back.
        page.click("[data-toggles='theme']")
        assert background(page) > 650
        page.reload()
        assert background(page) > 650
        page.click("[data-toggles='theme']")
        assert background(page) < 150
        assert page.evaluate("localStorage.getItem('theme')") is None
        page.emulate_media(color_scheme="light")
        page.wait_for_function("() => document.documentElement.dataset.theme === 'light'")
        page.goto(service.url + "/docs")
        page.emulate_media(color_scheme="dark")
        page.wait_for_selector(".operation")
        page.screenshot(path=shots / "dark-docs.png")
