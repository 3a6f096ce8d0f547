"""Compares where huggingface_hub and the program find a model in a hub cache.

    tools/check_hub_cache.py BIN WORK

Each case is a cache below WORK and an environment. Python is asked for config.json as transformers
asks for it (`try_to_load_from_cache`, then `hf_hub_download` with `local_files_only=True`), and the
program for the model with `HF_HUB_OFFLINE=1`. They must name the same directory, or both none.

A case in which the program finds more than Python on purpose says what it finds instead.
"""

import hashlib
import http.server
import os
import pwd
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

BIN, WORK = sys.argv[1], Path(sys.argv[2]).resolve()
HOME = WORK / "home"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "89abcdef0123456789abcdef0123456789abcdef"
# All that makes a model complete. Nothing here reads what is in them.
FILES = {
    name: f"{{\"of\": \"{name}\"}}".encode()
    for name in (
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    )
}
PYTHON = """
import os, sys
from huggingface_hub import hf_hub_download, try_to_load_from_cache
name, revision = sys.argv[1:]
found = try_to_load_from_cache(name, "config.json", revision=revision)
if not isinstance(found, str):
    try:
        found = hf_hub_download(name, "config.json", revision=revision, local_files_only=True)
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
print(os.path.dirname(os.path.abspath(found)))
"""
# In an environment of its own, so that nothing of the caller's decides.
PLAIN = {"HOME": str(HOME), "PATH": os.environ["PATH"], "HF_HUB_DISABLE_TELEMETRY": "1"}
bad = []
checked = 0


def put(cache, name="some/model", commit=COMMIT, refs=("main",)):
    """Puts a model into a cache, by hand."""
    folder = Path(cache) / ("models--" + name.replace("/", "--"))
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True, exist_ok=True)
    for file, text in FILES.items():
        (snapshot / file).write_bytes(text)
    for ref in refs:
        path = folder / "refs" / ref
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commit)
    return folder


def run(command, environment, cwd=HOME):
    """A command's last line on standard output, or None and what it said if it failed."""
    environment = {key: value for key, value in environment.items() if value is not None}
    done = subprocess.run(
        command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=120
    )
    if done.returncode != 0:
        return None, done.stderr.strip()[-400:]
    return str(Path(cwd, done.stdout.strip().splitlines()[-1]).resolve()), ""


def by_python(environment, name, revision, cwd=HOME):
    command = [sys.executable, "-c", PYTHON, name, revision]
    return run(command, PLAIN | environment, cwd)


def by_program(environment, name, revision, cwd=HOME):
    command = [BIN, "download", name, "--revision", revision]
    return run(command, PLAIN | {"LOG_LEVEL": "warn", "HF_HUB_OFFLINE": "1"} | environment, cwd)


def same(case, environment=None, name="some/model", revision="main", found=True, more=None, cwd=HOME):
    """Both find the model, or neither does. With `more`, Python finds none or another, and the program
    that one."""
    global checked
    checked += 1
    environment = environment or {}
    python, python_says = by_python(environment, name, revision, cwd)
    program, program_says = by_program(environment, name, revision, cwd)
    more = more and str(Path(more).resolve())
    right = program == (more or python) and (more or found == (python is not None))
    if not right:
        bad.append(case)
        print(f"{case}: Python finds {python} {python_says}; the program {program} {program_says}")
    if more and python == more:
        bad.append(case)
        print(f"{case}: Python finds it as well, so this case is no exception")


def places():
    """The variables that say where the cache is."""
    default = put(HOME / ".cache/huggingface/hub") / "snapshots" / COMMIT
    put(HOME / "home/hub")
    put(HOME / "cache")
    put(HOME / "xdg/huggingface/hub")
    put(HOME / "a b/hub")
    same("the default")
    same("HF_HOME", {"HF_HOME": str(HOME / "home")})
    same("HF_HOME with ~", {"HF_HOME": "~/home"})
    same("HF_HOME with ~ and a slash at the end", {"HF_HOME": "~/home/"})
    same("HF_HOME with a variable", {"HF_HOME": "$HOME/home"})
    same("HF_HOME with a variable in braces", {"HF_HOME": "${HOME}/home/"})
    same("HF_HOME with a variable that is not set", {"HF_HOME": "$NOT_SET/home"}, found=False)
    # Both are expanded twice, so that the ~ counts.
    same("HF_HOME with a ~ in a variable", {"HF_HOME": "$THERE", "THERE": "~/home"})
    same("HF_HUB_CACHE with a ~ in a variable", {"HF_HUB_CACHE": "$THERE", "THERE": "~/cache"})
    same("HF_HOME with a blank in it", {"HF_HOME": "~/a b"})
    same("HF_HOME, relative", {"HF_HOME": "home"})
    same("HF_HOME with a user that is not known", {"HF_HOME": "~no.such.user/x"}, found=False)
    same("HF_HUB_CACHE", {"HF_HUB_CACHE": "~/cache"})
    same("HF_HUB_CACHE before HF_HOME", {"HF_HUB_CACHE": "~/cache", "HF_HOME": "~/home"})
    same("HUGGINGFACE_HUB_CACHE", {"HUGGINGFACE_HUB_CACHE": "~/cache", "HF_HOME": "/nowhere"})
    same(
        "HF_HUB_CACHE before HUGGINGFACE_HUB_CACHE",
        {"HF_HUB_CACHE": "~/cache", "HUGGINGFACE_HUB_CACHE": "/nowhere"},
    )
    same("XDG_CACHE_HOME", {"XDG_CACHE_HOME": str(HOME / "xdg")})
    same("XDG_CACHE_HOME with ~", {"XDG_CACHE_HOME": "~/xdg"})
    same("HF_HOME before XDG_CACHE_HOME", {"XDG_CACHE_HOME": "~/xdg", "HF_HOME": "~/home"})
    same("TRANSFORMERS_CACHE, which counts no more", {"TRANSFORMERS_CACHE": "~/cache"})
    same("nowhere", {"HF_HOME": "/nowhere"}, found=False)
    # As everywhere in the program, what is empty counts as unset.
    same("HF_HOME, empty", {"HF_HOME": ""}, more=default)
    same("HF_HUB_CACHE, empty", {"HF_HUB_CACHE": ""}, more=default)
    # The name that the Python service has for it.
    there = HOME / "cache/models--some--model/snapshots" / COMMIT
    same("MODEL_CACHE", {"MODEL_CACHE": "~/cache"}, more=there)

    # The home of a user by name, who need not be the one that HOME is of. Nothing is written there:
    # the way leads out of it again.
    user = pwd.getpwuid(os.getuid())
    if os.path.isdir(user.pw_dir):
        up = os.path.relpath(HOME / "home", os.path.realpath(user.pw_dir))
        same("HF_HOME with the name of a user", {"HF_HOME": f"~{user.pw_name}/{up}"})
        # Without HOME, the user's entry counts.
        same("no HOME", {"HOME": None, "HF_HOME": f"~/{up}"})


def revisions():
    cache = {"HF_HUB_CACHE": str(HOME / "revisions")}
    put(HOME / "revisions", refs=("main", "v1.0", "feature/x", "refs/pr/3"))
    put(HOME / "revisions", commit=OTHER, refs=("older",))
    put(HOME / "revisions", commit="as-of-may", refs=("by-hand",))
    for revision in ("main", "v1.0", "feature/x", "refs/pr/3", "older", "by-hand", COMMIT, OTHER):
        same(f"revision {revision}", cache, revision=revision)
    same("a snapshot by its name", cache, revision="as-of-may")
    for revision in (COMMIT[:7], COMMIT.upper(), "f" * 40, "v1", "feature", "pr/3", "as-of"):
        same(f"revision {revision}", cache, revision=revision, found=False)
    # A branch whose snapshot is gone, and one that a text editor has been at.
    folder = put(HOME / "stale", refs=("main",))
    (folder / "refs/main").write_text(OTHER)
    same("a snapshot that is gone", {"HF_HUB_CACHE": str(HOME / "stale")}, found=False)
    (folder / "refs/main").write_text(COMMIT + "\n")
    there = folder / "snapshots" / COMMIT
    same("a line end in refs/main", {"HF_HUB_CACHE": str(HOME / "stale")}, more=there)


def names_and_layouts():
    cache = {"HF_HUB_CACHE": str(HOME / "names")}
    for name in ("gpt2", "Some/Model", "a_b/c.d-e", "0/1"):
        put(HOME / "names", name=name)
        same(f"name {name}", cache, name=name)
    for name in ("some/model", "a/b--c", "a/../b"):
        put(HOME / "names", name="a/b--c")
        same(f"name {name}", cache, name=name, found=False)
    # Links into blobs, as huggingface_hub makes them; a link in the way; a link that leads nowhere.
    folder = put(HOME / "links")
    snapshot = folder / "snapshots" / COMMIT
    (folder / "blobs").mkdir()
    for file in FILES:
        (snapshot / file).rename(folder / "blobs" / f"of-{file}")
        (snapshot / file).symlink_to(f"../../blobs/of-{file}")
    cache = {"HF_HUB_CACHE": str(HOME / "links")}
    same("links into blobs", cache)
    (HOME / "way").symlink_to(HOME / "links")
    same("a cache behind a link", {"HF_HUB_CACHE": "~/way"})
    (folder / "blobs/of-config.json").unlink()
    same("a link that leads nowhere", cache, found=False)


class Hub(http.server.BaseHTTPRequestHandler):
    """A hub that has FILES as some/model, in every revision."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path
        head, _, rest = path.partition("/resolve/")
        file = rest.partition("/")[2]
        body, headers, status = b"", {"X-Repo-Commit": COMMIT}, 404
        if head != "/some/model":
            headers["X-Error-Code"] = "RepoNotFound"
        elif file not in FILES:
            headers["X-Error-Code"] = "EntryNotFound"
        else:
            body, status = FILES[file], 200
            git = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
            large = file.endswith(".safetensors")
            headers["ETag"] = f'"{hashlib.sha256(body).hexdigest() if large else git}"'
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


DOWNLOAD = """
import os, sys
from huggingface_hub import hf_hub_download
name, revision, *files = sys.argv[1:]
for file in files:
    print(os.path.dirname(hf_hub_download(name, file, revision=revision)))
"""


def downloads():
    """What one has downloaded, the other finds without a network."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_OFFLINE": "0"}
    for revision in ("main", "v1.0", "feature/x", "refs/pr/3", COMMIT):
        for who in ("Python", "the program"):
            cache = WORK / f"downloads/{who}/{revision.replace('/', '-')}"
            environment = {"HF_HUB_CACHE": str(cache)}
            if who == "Python":
                command = [sys.executable, "-c", DOWNLOAD, "some/model", revision, *FILES]
                made, says = run(command, PLAIN | hub | environment)
            else:
                made, says = by_program(hub | environment, "some/model", revision)
            case = f"revision {revision}, downloaded by {who}"
            if made is None:
                bad.append(case)
                print(f"{case}: {says}")
                continue
            same(case, environment, revision=revision)
            same(f"{case}, by its commit", environment, revision=COMMIT)
            # The same names of blobs, so that neither fetches what the other has.
            blobs = {path.name for path in (cache / "models--some--model/blobs").iterdir()}
            links = {
                path.resolve().name
                for path in (cache / "models--some--model/snapshots" / COMMIT).iterdir()
            }
            hashes = {hashlib.sha256(FILES["model.safetensors"]).hexdigest()} | {
                hashlib.sha1(b"blob %d\0" % len(text) + text).hexdigest()
                for file, text in FILES.items()
                if file != "model.safetensors"
            }
            if not blobs == links == hashes:
                bad.append(case)
                print(f"{case}: the blobs are {sorted(blobs)}, linked are {sorted(links)}")


HOME.mkdir(parents=True)
places()
revisions()
names_and_layouts()
downloads()
if bad:
    sys.exit(f"{len(bad)} of {checked} cases differ: {', '.join(bad)}")
print(f"{checked} cases: huggingface_hub and the program agree")
