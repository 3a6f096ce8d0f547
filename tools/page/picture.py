"""The picture of the page in the README."""

from visit import load_samples, visit


def draw(browser, service, path) -> None:
    with visit(browser, service, width=1280, height=800) as page:
        load_samples(page)
        page.wait_for_selector("#ranked li.best [title='three-blue-stars.png']")
        page.evaluate("document.activeElement.blur()")
        page.mouse.move(0, 0)
        page.wait_for_timeout(500)
        path.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=path)
    print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")
