"""Many pictures, a service that is busy, one that wants a key."""

from service import Service
from visit import embedded, file, load_samples, png, refused, visit

PICTURES = 200


def many(broken: int | None = None) -> list[dict]:
    return [
        file(f"picture-{n}.png", b"not one" if n == broken else png(n)) for n in range(PICTURES)
    ]


def under_way(page):
    """Counts the requests to /embed/images: how many in all, and the most at once."""
    counted = {"all": 0, "now": 0, "most": 0}

    def began(request):
        if request.url.endswith("/embed/images"):
            counted["all"] += 1
            counted["now"] += 1
            counted["most"] = max(counted["most"], counted["now"])

    def ended(request):
        if request.url.endswith("/embed/images"):
            counted["now"] -= 1

    page.on("request", began)
    page.on("requestfinished", ended)
    page.on("requestfailed", ended)
    return counted


def two_hundred_pictures(browser, service, shots):
    with visit(browser, service, expected=[refused(400)]) as page:
        counted = under_way(page)
        page.set_input_files("#files", many(broken=77))
        page.fill("#query", "a red circle")
        embedded(page, PICTURES - 1)
        told = page.locator("#refused li").all_inner_texts()
        assert len(told) == 1 and '"picture-77.png"' in told[0], told
        assert PICTURES / 16 <= counted["all"] <= PICTURES / 16 + 2, counted
        assert counted["most"] <= 3, counted
        page.wait_for_function("count => document.querySelectorAll('#ranked li').length === count", arg=PICTURES - 1)
        page.screenshot(path=shots / "many.png")
        page.click("#tab-matrix")
        page.fill("#sentences", "a red circle\na blue star")
        page.wait_for_function("count => document.querySelectorAll('#matrix-table td').length === count", arg=2 * (PICTURES - 1))
        page.screenshot(path=shots / "many-similarity.png")
        page.click("#clear")
        page.wait_for_selector("#empty")


def small(service) -> Service:
    """A service that has room for one request, and for few pictures in it."""
    return Service(service.binary, "--max-concurrent-requests", "1", "--max-images-per-request", "8",
                   "--max-texts-per-request", "8", "--max-queued-rows", "24")


def busy_service(browser, service, shots):
    with small(service) as busy, visit(browser, busy, expected=[refused(429)]) as page:
        counted = under_way(page)
        page.set_input_files("#files", many()[:96])
        embedded(page, 96)
        assert page.locator("#refused li").count() == 0
        # 12 requests at least, of 8 each; those that were refused came again after a second.
        assert counted["all"] >= 12, counted


def cancel(browser, service, shots):
    with visit(browser, service) as page:
        # Each request waits before it is sent on, so that there is something to cancel.
        held = []
        page.route("**/embed/images", lambda route: held.append(route))
        page.set_input_files("#files", many())
        page.wait_for_function("() => document.querySelectorAll('.thumb.sending').length === 48")
        page.screenshot(path=shots / "under-way.png")
        page.click("#cancel")
        page.wait_for_selector("#retry:not([hidden])")
        assert "200 not sent" in page.inner_text("#progress-text")
        page.unroute("**/embed/images")
        page.click("#retry")
        embedded(page, PICTURES)
        assert len(held) == 3, held


def key(browser, service, shots):
    with Service(service.binary, "--api-key", "right") as guarded:
        with visit(browser, guarded, expected=[refused(401)]) as page:
            page.wait_for_selector("dialog[open]")
            page.screenshot(path=shots / "key.png")
            page.fill("#key-input", "wrong")
            page.keyboard.press("Enter")
            page.wait_for_function("() => document.querySelector('#key-input')?.value === 'wrong'")
            assert "API key" in page.inner_text("dialog")
            page.fill("#key-input", "right")
            page.keyboard.press("Enter")
            page.wait_for_function("() => document.querySelector('#chip').innerText.includes('demo')")
            load_samples(page)
            kept = page.evaluate("[JSON.stringify(sessionStorage), JSON.stringify(localStorage), document.cookie]")
            assert "right" in kept[0] and "right" not in kept[1] + kept[2], kept
            page.goto(guarded.url + "/docs")
            page.wait_for_selector(".operation")
            page.click("#get-info button:has-text('Send')")
            page.wait_for_selector("#get-info .answer b.good")


def other_space(browser, service, shots):
    """The vectors that the page has are never compared with those of another model."""
    with visit(browser, service, expected=[refused(412)]) as page:
        info = service.json("/info") | {"fingerprint": "0123456789abcdef"}
        page.route("**/info", lambda route: route.fulfill(json=info))
        page.reload()
        page.set_input_files("#files", many()[:3])
        page.wait_for_selector("#refused li")
        told = page.locator("#refused li").all_inner_texts()
        assert len(told) == 3 and "0123456789abcdef" in told[0], told
