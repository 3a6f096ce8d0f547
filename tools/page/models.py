"""The choice of a model, where the service has several: all that is shown is of the one chosen."""

import json
import pathlib

from service import Service
from visit import load_samples, visit

OTHER = pathlib.Path(__file__).parents[2] / "tests/fixtures/golden/patch16"


def chosen(browser, service, shots):
    with visit(browser, service) as page:
        page.wait_for_selector("#about dd")
        assert page.locator("#models").is_hidden(), "there is one model"
    with Service(service.binary, "--also", f"{OTHER}=other") as several:
        several.until_it_is_ready()
        listed = several.json("/info")["models"]
        with visit(browser, several) as page:
            page.wait_for_selector("#models:not([hidden])")
            names = page.locator("#models option").all_inner_texts()
            assert names == [model["name"] for model in listed] == ["demo", "other"], names
            assert listed[0]["fingerprint"] in page.inner_text("#about")
            page.select_option("#models", "other")
            # The page loads anew, and has no chip at first.
            page.wait_for_function("() => document.querySelector('#chip')?.innerText.includes('other')")
            assert page.input_value("#models") == "other"
            assert listed[1]["fingerprint"] in page.inner_text("#about")
            asked = []
            page.on("request", lambda request: asked.append(request.headers.get("x-model")))
            load_samples(page)
            page.fill("#query", "a red circle")
            page.wait_for_selector("#ranked li.best")
            assert asked and all(name == "other" for name in asked if name is not None), asked
            # The samples themselves are files of the page, and need no model.
            assert sum(name == "other" for name in asked) >= 3, asked
            assert "other" in json.dumps(page.evaluate("() => location.search"))
            page.screenshot(path=shots / "models.png")
