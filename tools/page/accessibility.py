"""The keyboard alone, and what axe finds."""

from axe_playwright_python.sync_playwright import Axe

from visit import embedded, load_samples, visit


def focused(page) -> str:
    return page.evaluate("document.activeElement.id || document.activeElement.tagName")


def tab_to(page, wanted: str, most: int = 30) -> None:
    """Presses Tab until the element with this id has the focus, which must be seen each time."""
    for _ in range(most):
        page.keyboard.press("Tab")
        seen = page.evaluate(
            """() => {
              const at = document.activeElement;
              const seen = [at, at.nextElementSibling].filter(Boolean);
              return at === document.body || seen.some((one) => getComputedStyle(one).outlineStyle !== 'none');
            }"""
        )
        assert seen, f"the focus cannot be seen on {focused(page)}"
        if focused(page) == wanted:
            return
    raise AssertionError(f"{wanted} is not reached")


def keyboard(browser, service, shots):
    with visit(browser, service) as page:
        page.wait_for_function("() => document.querySelector('#chip').innerText.includes('demo')")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        tab_to(page, "samples")
        page.keyboard.press("Enter")
        embedded(page, 24)
        # The next thing to do is to write: the focus is there.
        page.wait_for_function("() => document.activeElement.id === 'query'")
        page.keyboard.press("Control+A")
        page.keyboard.type("a yellow star")
        page.wait_for_selector("#ranked li.best [title='yellow-star.png']")
        page.keyboard.press("Shift+Tab")
        assert focused(page) == "tab-rank"
        page.keyboard.press("ArrowRight")
        page.wait_for_selector("#matrix-table td")
        tab_to(page, "sentences")
        for _ in range(3):
            page.keyboard.press("Tab")
            if focused(page) == "TD":
                break
        assert focused(page) == "TD", focused(page)
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
        told = page.inner_text("#matrix-told")
        assert "“three blue stars” and three-blue-stars.png" in told, told
        page.screenshot(path=shots / "keyboard.png")
        # A picture is removed, and the focus stays among the pictures.
        page.focus(".thumb")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        embedded(page, 23)
        page.wait_for_function("() => document.activeElement.classList.contains('thumb')")


def axe(browser, service, shots):
    for dark in (False, True):
        with visit(browser, service, dark=dark) as page:
            judge(page, "empty")
            load_samples(page)
            for tab in ("rank", "matrix", "labels", "stored"):
                page.click(f"#tab-{tab}")
                page.wait_for_timeout(400)
                judge(page, tab)
            page.click("a[href='#status']")
            page.wait_for_selector("#status table")
            judge(page, "status")
            page.goto(service.url + "/docs")
            page.wait_for_selector(".operation")
            judge(page, "docs")


def judge(page, where: str) -> None:
    # Run as a string in the page's world, where its policy would not let a script be added.
    found = Axe().run(page).response["violations"]
    told = [
        f"{violation['id']}: {violation['help']}: {node['html'][:160]}: {node.get('failureSummary', '')[:300]}"
        for violation in found
        for node in violation["nodes"][:3]
    ]
    assert not told, f"{where}: " + "\n".join(told)
