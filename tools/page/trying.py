"""Ranking, similarity, labels, and errors: what the page shows is what the API says."""

import json
import pathlib

from service import Service
from visit import ask_api, embedded, file, load_samples, png, refused, visit


SAMPLES = pathlib.Path(__file__).parents[2] / "models/demo/samples"


def near(shown: str, value: float) -> bool:
    """Whether a score on the page, of three decimals, is this one."""
    return value < 0.0011 if shown == "<0.001" else abs(float(shown) - value) < 0.00061


def rank(browser, service, shots):
    with visit(browser, service) as page:
        page.wait_for_selector("#empty")
        page.screenshot(path=shots / "empty.png")
        load_samples(page)
        page.fill("#query", "two orange rings")
        page.wait_for_selector("#ranked li.best [title='two-orange-rings.png']")
        page.screenshot(path=shots / "rank.png")
        names = page.locator("#ranked .line > :first-child").all_inner_texts()
        scores = page.locator("#ranked .line > .number").all_inner_texts()
        answer = ask_api(page, "rank", {"query": "two orange rings"})
        expected = {entry["filename"]: entry["score"] for entry in answer["rankings"]}
        assert sorted(names) == sorted(expected)
        assert names[0] == answer["rankings"][0]["filename"]
        for name, score in zip(names, scores):
            assert near(score, expected[name]), (name, score, expected[name])
        values = [expected[name] for name in names]
        assert all(a + 1e-4 >= b for a, b in zip(values, values[1:])), values
        assert "two-orange-rings.png" in page.inner_text("#rank-told")
        # A suggestion is a click.
        page.click("#suggestions button:has-text('a red circle')")
        page.wait_for_selector("#ranked li.best [title='red-circle.png']")
        # What is dropped here becomes one of the page's pictures, and is ranked with them.
        drop(page, (SAMPLES / "black-diamond.png").read_bytes())
        embedded(page, 25)
        page.wait_for_function("() => document.querySelectorAll('#ranked li').length === 25")
        assert page.locator("#ranked [title='dropped.png']").count() > 0


def similarity(browser, service, shots):
    with visit(browser, service) as page:
        load_samples(page)
        page.click("#tab-matrix")
        page.wait_for_selector("#matrix-table td")
        texts = [line for line in page.input_value("#sentences").split("\n") if line]
        answer = ask_api(page, "similarity", {"texts": json.dumps(texts)})["similarities"]
        assert page.locator("#matrix-table tbody tr").count() == len(texts)
        for at, row in enumerate(answer):
            for column in (at, 23 - at):
                page.hover(f"#matrix-table td[data-at='{at}'][data-column='{column}']")
                told = page.inner_text("#matrix-told")
                shown = told.split("probability ")[1].split(",")[0]
                assert near(shown, row[column]), (told, row[column])
        page.screenshot(path=shots / "similarity.png")
        page.check("[name=measure][value=cosine]")
        page.wait_for_function("() => document.querySelector('#matrix-legend').innerText.includes('.')")
        page.screenshot(path=shots / "similarity-cosine.png")
        page.fill("#sentences", "one sentence\n\n one sentence \nanother")
        page.wait_for_function("() => document.querySelectorAll('#matrix-table tbody tr').length === 2")


def labels(browser, service, shots):
    with visit(browser, service) as page:
        load_samples(page)
        page.click("#tab-labels")
        page.wait_for_selector("#labelled > li")
        cards = page.locator("#labelled > li")
        names = cards.locator(".name").all_inner_texts()
        first = cards.locator(".bars li:first-child > :first-child").all_inner_texts()
        right = sum(label in name for name, label in zip(names, first))
        assert len(names) == 24 and right >= 20, (right, list(zip(names, first)))
        page.screenshot(path=shots / "labels.png")
        page.check("[name=activation][value=sigmoid]")
        page.wait_for_timeout(300)
        label, shown = first[0], cards.nth(0).locator(".bars .number").nth(0).inner_text()
        template = page.input_value("#template").replace("{}", label)
        answer = ask_api(page, "similarity", {"texts": json.dumps([template])})["similarities"]
        assert near(shown, answer[0][0]), (label, shown, answer[0][0])
        page.fill("#template", "no place")
        page.wait_for_selector("#labels-told.bad")
        page.fill("#template", "a {} shape")
        page.wait_for_selector("#labelled > li")


def index(browser, service, shots):
    red = (SAMPLES / "red-circle.png").read_bytes()
    with visit(browser, service) as page:
        page.click("#tab-stored")
        page.fill("#stored-query", "three blue stars")
        page.click("#stored-form button[type=submit]")
        page.wait_for_selector("#stored-rows li")
        names = page.locator("#stored-rows .name").all_inner_texts()
        assert len(names) == 8 and names[0].endswith("three-blue-stars.png"), names
        assert "three-blue-stars" in page.locator("#stored-rows dd").nth(0).inner_text()
        assert page.inner_text("#stored-told").startswith("8 rows searched in ")
        page.screenshot(path=shots / "index.png")
        page.set_input_files("#stored-file", file("mine.png", red))
        page.wait_for_selector("#stored-picture img")
        page.wait_for_function(
            "() => document.querySelector('#stored-rows .name').innerText.endsWith('red-circle.png')"
        )
        assert float(page.locator("#stored-rows .number").nth(0).inner_text()) > 0.999
        page.wait_for_selector("#calls .stage.search")
        # What is dropped here is searched by, and does not become one of the page's pictures.
        drop(page, (SAMPLES / "black-diamond.png").read_bytes())
        page.wait_for_function(
            "() => document.querySelector('#stored-rows .name').innerText.endsWith('black-diamond.png')"
        )
        assert page.locator(".thumb").count() == 0
        page.click("#tab-rank")
        page.wait_for_selector("#empty")


def drop(page, content: bytes) -> None:
    """Drops a picture onto the page."""
    page.evaluate(
        """bytes => {
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([new Uint8Array(bytes)], 'dropped.png', { type: 'image/png' }));
          const options = { dataTransfer, bubbles: true, cancelable: true };
          for (const type of ['dragenter', 'dragover', 'drop']) document.body.dispatchEvent(new DragEvent(type, options));
        }""",
        list(content),
    )


def broken_picture(browser, service, shots):
    with visit(browser, service, expected=[refused(400)]) as page:
        files = [file(f"good-{n}.png", png(n)) for n in range(3)]
        files.insert(1, file("broken.png", b"\x89PNG\r\n\x1a\n and no more"))
        files.append(file("letter.png", b"Dear service,"))
        page.set_input_files("#files", files)
        embedded(page, 3)
        told = page.locator("#refused li").all_inner_texts()
        assert len(told) == 2, told
        # Each is the sentence of the API, which names the picture.
        assert any('"broken.png"' in sentence for sentence in told), told
        assert any('"letter.png"' in sentence and "not an image" in sentence for sentence in told), told
        assert page.locator(".thumb.failed").count() == 2
        page.screenshot(path=shots / "broken.png")
        page.fill("#query", "a red circle")
        page.wait_for_function("() => document.querySelectorAll('#ranked li').length === 3")


def stopped_service(browser, service, shots):
    lost = ["Failed to load resource: net::"]
    with Service(service.binary) as stopped, visit(browser, stopped, expected=lost) as page:
        page.wait_for_function("() => document.querySelector('#chip').innerText.includes('demo')")
        stopped.process.terminate()
        stopped.process.wait()
        page.click("#samples")
        page.wait_for_selector("#trouble:visible")
        assert "did not answer" in page.inner_text("#trouble")
        page.set_input_files("#files", file("good.png", png(1)))
        page.wait_for_selector("#refused li")
        assert "did not answer" in page.inner_text("#refused li")


def timings(browser, service, shots):
    with visit(browser, service) as page:
        load_samples(page)
        page.wait_for_selector("#calls .stage.compute")
        listed = page.locator("#calls li").all_inner_texts()
        assert any("/embed/images" in line for line in listed), listed
        info = service.json("/info")
        facts = page.inner_text("#about")
        wanted = [info["model"], info["device"], info["engine"], info["version"], info.get("fingerprint")]
        for fact in filter(None, wanted):
            assert fact in facts, (fact, facts)
        assert "/s" in page.inner_text("#throughput")
