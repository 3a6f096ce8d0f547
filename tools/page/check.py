"""Runs the checks of the page; see tools/check-page."""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time
import traceback

from playwright.sync_api import sync_playwright

import accessibility
import docs
import looks
import models
import picture
import requests_at_once
import status
import trying
from service import Service

CHECKS = {
    "rank": trying.rank,
    "similarity": trying.similarity,
    "labels": trying.labels,
    "index": trying.index,
    "broken": trying.broken_picture,
    "stopped": trying.stopped_service,
    "timings": trying.timings,
    "many": requests_at_once.two_hundred_pictures,
    "busy": requests_at_once.busy_service,
    "cancel": requests_at_once.cancel,
    "key": requests_at_once.key,
    "space": requests_at_once.other_space,
    "models": models.chosen,
    "phone": looks.phone,
    "dark": looks.dark,
    "keyboard": accessibility.keyboard,
    "axe": accessibility.axe,
    "status": status.live,
    "metrics": status.what_metrics_say,
    "hidden": status.pauses_when_hidden,
    "docs": docs.every_example_runs,
    "refused": docs.refusals_are_shown,
    "docs-stopped": docs.a_service_that_has_stopped,
    "no-index": docs.without_an_index,
}


def embedded_samples(binary: str, folder: pathlib.Path) -> str:
    """An index of the demo's samples, each with its name as a caption."""
    pictures = folder / "pictures"
    pictures.mkdir()
    samples = pathlib.Path(__file__).parents[2] / "models/demo/samples"
    for sample in samples.glob("*.png"):
        (pictures / sample.name).write_bytes(sample.read_bytes())
        (pictures / f"{sample.stem}.txt").write_text(sample.stem)
    out = str(folder / "index")
    command = [binary, "embed", str(pictures), "--captions", "--out", out, "--model", "demo"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--chromium", required=True)
    parser.add_argument("--shots", type=pathlib.Path, required=True)
    parser.add_argument("--only", default=",".join(CHECKS))
    parser.add_argument("--picture", type=pathlib.Path)
    args = parser.parse_args()
    args.shots.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        index = embedded_samples(args.binary, pathlib.Path(folder))
        with Service(args.binary, "--index", index) as service:
            run(playwright, service, args)


def run(playwright, service: Service, args: argparse.Namespace) -> None:
    """The checks that were asked for."""
    failed = []
    # Without the sandbox, which root and containers do not have; the page is our own.
    options = ["--no-sandbox", "--force-color-profile=srgb"]
    browser = playwright.chromium.launch(executable_path=args.chromium, args=options)
    if args.picture:
        picture.draw(browser, service, args.picture)
        return
    for name in args.only.split(","):
        began = time.monotonic()
        try:
            CHECKS[name](browser, service, args.shots)
            print(f"ok    {name}, {time.monotonic() - began:.1f} s", flush=True)
        except Exception:
            traceback.print_exc()
            print(f"WRONG {name}", flush=True)
            failed.append(name)
    browser.close()
    print(f"pictures of the page: {args.shots}")
    if failed:
        sys.exit(f"wrong: {', '.join(failed)}")


if __name__ == "__main__":
    main()
