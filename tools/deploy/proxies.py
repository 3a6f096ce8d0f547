"""The proxies under deploy/proxy, as the real programs, before three services whose caches are on.

Usage: python proxies.py BINARY WORK_FOLDER

Needs haproxy and nginx on the path. Only addresses are replaced. A picture that is asked for again
is in a cache, through whichever connection it comes; while a service is killed no request is lost;
and what its neighbours had in their caches is still there.
"""

import contextlib
import hashlib
import os
import pathlib
import re
import sys

from running import Process, Service, free_port, get, png, post, status, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY, WORK = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
PICTURES = [png(number) for number in range(60)]


def hits(url):
    """Pictures that were found in the cache of a service."""
    return int(re.search(r'^siglip2_image_cache_total\{result="hit"\} (\d+)', get(url, "/metrics"), re.M)[1])


def embed(url, hashed=True):
    """Every picture once, through the proxy."""
    for picture in PICTURES:
        headers = {"Content-Type": "image/png"}
        if hashed:
            headers["X-Content-Hash"] = hashlib.sha256(picture).hexdigest()
        code, _, body = post(url, "/embed/image", picture, headers)
        assert code == 200, f"{code}: {body}"


def check(name, command):
    text = (ROOT / "deploy/proxy" / command[-1]).read_text()
    with contextlib.ExitStack() as stack:
        services = [
            stack.enter_context(
                Service(BINARY, WORK / f"{name}-{number}.log", IMAGE_CACHE_BYTES="8MiB")
            )
            for number in range(3)
        ]
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
        assert sum(each) == len(PICTURES) and all(each), each
        # Without the header they are spread without regard to it, and still answered.
        embed(url, hashed=False)

        before = [hits(service.url) for service in services[:2]]
        services[2].kill()
        embed(url)
        kept = [hits(service.url) - known for service, known in zip(services[:2], before)]
        assert kept[0] >= each[0] and kept[1] >= each[1], (kept, each)
        print(f"  {name}: {each} of {len(PICTURES)} from the caches; one killed, none lost")


check("haproxy", ["haproxy", "-db", "-f", "haproxy.cfg"])
check("nginx", ["nginx", "-e", "stderr", "-c", "nginx.conf"])
