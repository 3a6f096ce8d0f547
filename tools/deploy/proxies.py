"""The proxies under deploy/proxy, as the real programs, before three services whose caches are on.

Usage: python proxies.py BINARY WORK_FOLDER

Needs haproxy and nginx on the path. Only addresses are replaced. A picture that is asked for again
is in a cache, through whichever connection it comes; while a service is killed no request is lost;
and what its neighbours had in their caches is still there.
"""

import contextlib
import hashlib
import itertools
import os
import pathlib
import re
import sys
import threading
import time

from running import Process, Service, free_port, get, png, post, status, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY, WORK = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
PICTURES = [png(number) for number in range(60)]


def hits(url):
    """Pictures that were found in the cache of a service."""
    return int(re.search(r'^siglip2_image_cache_total\{result="hit"\} (\d+)', get(url, "/metrics"), re.M)[1])


def images(url):
    """Pictures that a service was asked for."""
    return sum(map(int, re.findall(r"^siglip2_image_cache_total\{.*\} (\d+)", get(url, "/metrics"), re.M)))


def embed(url, hashed=True):
    """Every picture once, through the proxy."""
    for picture in PICTURES:
        headers = {"Content-Type": "image/png"}
        if hashed:
            headers["X-Content-Hash"] = hashlib.sha256(picture).hexdigest()
        code, _, body = post(url, "/embed/image", picture, headers)
        assert code == 200, f"{code}: {body}"


def taken_back(service):
    """Waits until the proxy counts on a service that was away. It may have had requests at once, and be marked
    as down only then, by the checks that failed meanwhile: two, 2 s apart (haproxy.cfg)."""
    wait_for("its share", lambda: images(service.url) > 0)
    time.sleep(6)
    before = images(service.url)
    wait_for("its share again", lambda: images(service.url) > before)


def roll(url, services, start, padding):
    """Each service is ended and another one started in its place, under load: nothing is lost."""
    answers, going = [], threading.Event()
    going.set()

    def client(number):
        at = number
        while going.is_set():
            picture = PICTURES[at % len(PICTURES)]
            headers = {"Content-Type": "image/png"}
            headers["X-Content-Hash"] = hashlib.sha256(picture).hexdigest()
            code, _, body = post(url, "/embed/image", picture + padding, headers)
            answers.append(code if code == 200 else (code, body[:300]))
            at += 7

    clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for thread in clients:
        thread.start()
    try:
        taken_back(services[-1])
        for at, service in enumerate(services):
            before = len(answers)
            wait_for("answers", lambda: len(answers) > before + 20)
            code = service.stop()
            assert code == 0, f"exit code {code}"
            services[at] = start(at, service.port)
            # As an operator waits before the next one.
            taken_back(services[at])
    finally:
        going.clear()
        for thread in clients:
            thread.join()
    lost = [answer for answer in answers if answer != 200]
    assert not lost, f"{len(lost)} of {len(answers)}: {lost[:3]}"
    return len(answers)


def check(name, command, padding, share):
    text = (ROOT / "deploy/proxy" / command[-1]).read_text()
    with contextlib.ExitStack() as stack:
        lives = itertools.count()

        def start(number, port=None):
            log = WORK / f"{name}-{number}-{next(lives)}.log"
            return stack.enter_context(Service(BINARY, log, port, IMAGE_CACHE_BYTES="8MiB"))

        services = [start(number) for number in range(3)]
        for port, service in zip(("8091", "8092", "8093"), services):
            text, count = re.subn(rf"127\.0\.0\.1:{port}", f"127.0.0.1:{service.port}", text)
            assert count, port
        port = free_port()
        text, count = re.subn(r"(bind :|listen )8080", rf"\g<1>{port}", text)
        assert count == 1
        if name == "nginx":
            # Where the distribution's package would let it write.
            text = f"daemon off; pid {WORK}/nginx.pid; error_log stderr;\n" + text
            places = "".join(
                f"{kind}_temp_path {WORK}/nginx-{kind};\n"
                for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            )
            text = text.replace("http {\n", "http {\naccess_log off;\n" + places, 1)
            if os.geteuid() == 0:
                text = "user root;\n" + text
        file = WORK / command[-1]
        file.write_text(text)
        proxy = stack.enter_context(
            Process([*command[:-1], str(file)], None, log=WORK / f"{name}.log")
        )
        url = f"http://127.0.0.1:{port}"
        wait_for(name, lambda: proxy.must_live() and status(url, "/ready") == 200)
        assert status(url, "/metrics") == 403

        embed(url)
        assert sum(hits(service.url) for service in services) == 0
        embed(url)
        each = [hits(service.url) for service in services]
        assert share * len(PICTURES) <= sum(each) <= len(PICTURES) and all(each), each
        # Without the header they are spread without regard to it, and still answered.
        embed(url, hashed=False)

        before = [hits(service.url) for service in services[:2]]
        services[2].kill()
        embed(url)
        kept = [hits(service.url) - known for service, known in zip(services[:2], before)]
        assert all(now >= share * then for now, then in zip(kept, each)), (kept, each)
        services[2] = start(2, services[2].port)
        count = roll(url, services, start, padding)
        print(
            f"  {name}: {each} of {len(PICTURES)} from the caches; one killed, none lost; all three "
            f"replaced in turn, {count} requests and none lost"
        )


# HAProxy passes a request on while it still counts the one before, so a few pictures are computed twice; a
# proxy that does not look at the content would have a third of them in the right cache.
# What follows the end of a picture is not read. HAProxy sends again what fits into its buffer; nginx
# anything.
check("haproxy", ["haproxy", "-db", "-f", "haproxy.cfg"], b"\0" * 60_000, 0.7)
check("nginx", ["nginx", "-e", "stderr", "-c", "nginx.conf"], b"\0" * 600_000, 1)
