"""Runs the commands of the documents as they stand; see check-docs.

Usage: python check_docs.py SERVICE LOAD_TEST WORK_FOLDER [DOCUMENT...]

A block of a document is a command if its first word is a program. Such a block runs here, or a
comment before it says why not (`<!-- not run: REASON -->`, with one of REASONS), or another check
of this project runs it (ELSEWHERE). Only places are replaced: the port, /data, /models, /tmp and
/etc/siglip2, which has a certificate signed by itself, and `cargo run` by the program that is built already.
README.md finds the programs in target/release, where `cargo build` puts them, and nowhere else; the other
documents find them in PATH as well, which README.md tells their readers. CONTRIBUTING.md names what
else is not as it stands. A service goes on running for the blocks that follow it.
"""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tarfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools/deploy"))

from running import environment, free_port, png  # noqa: E402

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "deploy/README.md", "engines/README.md"]
DOCUMENTS += sorted(str(file.relative_to(ROOT)) for file in ROOT.glob("docs/*.md"))

# Why a command cannot be run on a machine without more than this project installs.
REASONS = {
    "needs a GPU",
    "needs Docker",
    "needs a cluster",
    "needs systemd",
    "needs PyTorch",
    "needs a build of its own",
    "needs a server with pictures",
}

# Blocks that are run by another check, by their document and language or first word.
ELSEWHERE = {
    "README.md": {"cargo test": ".ci/run", "python": "tools/check-clients"},
    "docs/bulk.md": {
        "python examples": "tools/check-cluster-examples",
        "python": "tools/check-bulk-examples",
    },
    "docs/search-guide.md": {"python": "tools/check-bulk-examples"},
    "docs/dialects.md": {"python": "tools/check-clients", "curl": "tools/check-clients"},
    "docs/packages.md": {
        "tar": "tools/package",
        "dpkg": "tools/package",
        "pip": "tools/check-python-package",
    },
    "docs/vectors.md": {"python": "tools/check-clients", "curl": "tools/check-clients"},
}

# Programs that a document may name and this machine may lack.
PROGRAMS = {
    "cargo", "siglip2-embeddings", "build-engine", "load-test", "gpu-check", "docker", "kubectl",
    "curl", "pip", "python", "haproxy", "nginx", "systemctl", "install", "helm", "spark-submit",
}


def blocks(text):
    """The line, mark, language and code of every block."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        if fence := re.match(r"( *)```(\w*)", lines[at]):
            end = next(i for i in range(at + 1, len(lines)) if lines[i].strip() == "```")
            code = "\n".join(line[len(fence[1]) :] for line in lines[at + 1 : end]) + "\n"
            above = next((line for line in reversed(lines[:at]) if line.strip()), "")
            yield at + 1, above.strip(), fence[2], code
            at = end
        at += 1


def is_command(language, code):
    """Whether a block is for a shell."""
    if language not in ("", "sh", "bash"):
        return False
    words = re.sub(r"^#.*\n", "", code, flags=re.M).split(maxsplit=1)
    if not words:
        return False
    first = words[0]
    if re.search(r"[|<>─]|--+>", first) or code.lstrip().startswith("#!"):
        return False
    known = first in PROGRAMS or shutil.which(first) or first in ("cd", "export", "for")
    return bool(language or known or re.match(r"\.?/?(tools|target)/|\./", first))


class Commands:
    """A folder as a reader has it, programs in place of cargo's, and the service that runs."""

    def __init__(self, service, load_test, work):
        self.service, self.load_test, self.work = service, load_test, work
        self.folder = work / "folder"
        self.release = work / "release"
        self.port = free_port()
        self.make_data()
        self.make_programs()

    def make_folder(self):
        """Anew for each document: the samples are where the reader is, and the project beside them."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(ROOT / "models/demo/samples", self.folder)
        shutil.copytree(ROOT / "models/demo/samples", self.folder / "photos")
        for name in ("models", "tools", "deploy", "examples", "docs", "benches", "python", "Cargo.toml"):
            (self.folder / name).symlink_to(ROOT / name)
        (self.folder / "target").mkdir()
        (self.folder / "target/release").symlink_to(self.release)

    def make_data(self):
        """What lies at /data and /models, and in the cache of the hub."""
        data = self.work / "data"
        (data / "photos").mkdir(parents=True)
        shutil.copytree(ROOT / "models/demo/samples", data / "photos", dirs_exist_ok=True)
        for number in range(1000):
            picture = self.work / "picture.png"
            picture.write_bytes(png(number))
            with tarfile.open(data / f"{number:05}.tar", "w") as tar:
                tar.add(picture, f"{number:06}.png")
        certificate = self.work / "etc/siglip2"
        certificate.mkdir(parents=True)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
             "-keyout", certificate / "key.pem", "-out", certificate / "cert.pem"],
            check=True, stderr=subprocess.DEVNULL,
        )
        # The demo model, under the names that the documents give.
        models = self.work / "models"
        models.mkdir()
        for name in ("my-siglip2", "old", "new"):
            self.copy_model(models / name)
        for name in ("base-patch16-224", "base-patch16-naflex", "so400m-patch14-384"):
            snapshot = self.work / f"hub/models--google--siglip2-{name}"
            self.copy_model(snapshot / "snapshots/0")
            (snapshot / "refs").mkdir()
            (snapshot / "refs/main").write_text("0")

    def copy_model(self, to):
        to.mkdir(parents=True)
        for file in (ROOT / "models/demo").glob("*.json"):
            shutil.copy(file, to)
        shutil.copy(ROOT / "models/demo/model.safetensors", to)

    def make_programs(self):
        """`cargo run` runs what is built; a service is left running, once it is ready."""
        bin = self.work / "bin"
        bin.mkdir()
        self.release.mkdir()
        scripts = {
            "siglip2-embeddings": f"""
case ${{1:-}} in
  serve) shift; set -- --host 127.0.0.1 "$@"; words=(serve) ;;
  --help|--version|[a-z]*) exec {self.service} "$@" ;;
  *) set -- --host 127.0.0.1 "$@"; words=() ;;
esac
[ ! -e {self.work}/pid ] || {{ kill "$(cat {self.work}/pid)" 2>/dev/null || true; sleep 0.5; }}
# By the flag, since a document may give another port.
{self.service} "${{words[@]}}" "$@" --port {self.port} >{self.work}/service.log 2>&1 &
echo $! >{self.work}/pid
for _ in $(seq 600); do
  curl -sf -o /dev/null http://127.0.0.1:{self.port}/ready && exit 0
  curl -sfk -o /dev/null https://127.0.0.1:{self.port}/ready && exit 0
  kill -0 "$(cat {self.work}/pid)" 2>/dev/null || break
  sleep 0.1
done
cat {self.work}/service.log >&2
exit 1
""",
            # A soak as it stands takes ten minutes; two seconds show that it is understood.
            "load-test": f"""
words=()
for word in "$@"; do
  case $word in 10m|10s|60s) word=2s ;; esac
  words+=("$word")
done
case " $* " in
  *" --url "*) ;;
  *) words+=(--url http://127.0.0.1:{self.port}) ;;
esac
case " $* " in
  *" --duration "*) ;;
  *) words+=(--duration 2s) ;;
esac
exec {self.load_test} --warm-up 0s "${{words[@]}}"
""",
            "cargo": f"""
case "$1 $2" in
  'run --release')
    shift 2
    program=siglip2-embeddings
    case $1 in --bin) program=$2; shift 2 ;; esac
    [ "$1" = -- ] || {{ echo "cargo run: what is $1?" >&2; exit 2; }}
    shift
    exec {self.release}/$program "$@" ;;
  'bench --bench')
    # A benchmark takes minutes, and what it prints is no fact on a busy machine: it is there.
    grep -q "^name = \\"$3\\"" {ROOT}/Cargo.toml || {{ echo "there is no benchmark $3" >&2; exit 2; }} ;;
  *) echo "cargo $*: not known here" >&2; exit 2 ;;
esac
""",
            # There may be other services on this machine.
            "pidof": f"\ncat {self.work}/pid\n",
        }
        for name, script in scripts.items():
            built = name in ("siglip2-embeddings", "load-test")
            path = (self.release if built else bin) / name
            path.write_text("#!/usr/bin/env bash\nset -euo pipefail" + script)
            path.chmod(0o755)

    def moved(self, code):
        """The code with the places of this machine."""
        code = re.sub(r"(localhost|127\.0\.0\.1):8091", f"127.0.0.1:{self.port}", code)
        code = re.sub(r"(?<![\w/.])/(data|models|tmp)(?=/)", rf"{self.work}/\1", code)
        code = re.sub(r"(?<![\w/.])/etc/siglip2(?=/)", f"{self.work}/etc/siglip2", code)
        # Refusals are no success, and a line that goes on begins no command.
        return re.sub(r"^curl -s ", "curl -sS --fail-with-body ", code, flags=re.M)

    def run(self, name, code):
        """The result of a block of a document; an empty text where it was right."""
        found = [self.work / "bin"] + ([] if name == "README.md" else [self.release])
        (self.work / "tmp").mkdir(exist_ok=True)
        env = environment(
            {
                "PATH": ":".join([*map(str, found), os.environ["PATH"]]),
                "HF_HUB_CACHE": str(self.work / "hub"),
                "MODEL_NAME": "",
                "PRECISION": "fp32",
                "DEVICE": "cpu",
                "PYTHONPATH": str(ROOT / "examples"),
                "SERVICE": f"http://127.0.0.1:{self.port}",
            }
        )
        # The reader has a service from before.
        script = self.moved(code)
        if "localhost:8091" in code and not (self.work / "pid").exists():
            script = f"{self.release}/siglip2-embeddings --model demo\n" + script
        try:
            made = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=self.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, timeout=300, stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            return "it does not end"
        return "" if made.returncode == 0 else f"exit code {made.returncode}\n{made.stdout[-3000:]}"

    def end(self):
        """No service outlives the check."""
        if (self.work / "pid").exists():
            subprocess.run(["bash", "-c", f"kill -9 $(cat {self.work}/pid) 2>/dev/null"], check=False)


def elsewhere(name, language, code, ci):
    """The check that runs a block, if it is another one."""
    for start, script in ELSEWHERE.get(name, {}).items():
        if language == start or (not language and code.startswith(start)):
            assert script == ".ci/run" or script in ci, f".ci/run does not run {script}"
            return script
    return None


def check_links(name, text):
    """Files that a document names are there."""
    where = (ROOT / name).parent
    missing = []
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not re.match(r"\w+:", link) and not (where / link).exists():
            missing.append(link)
    for path in re.findall(r"`((?:tools|deploy|examples|docs|crates|tests|docker)/[\w./*-]+)", text):
        if not list(ROOT.glob(path.rstrip("./"))):
            missing.append(path)
    return missing


def flags(service, load_test):
    """Every flag of the programs, and of what else the documents tell of."""
    sources = "".join(source.read_text() for source in ROOT.glob("src/*.rs"))
    subcommands = re.findall(r'asked_for\("(\w+)"\)', sources)
    assert "embed" in subcommands, "src/ names its subcommands otherwise than this script thinks"
    helps = [[service], *([service, name] for name in subcommands), [load_test]]
    known = {"--bench", "--features", "--nocapture", "--no-fail-fast", "--release", "--test"}  # cargo's
    known.add("--cpu-kernel")  # for measurements, and not in the help
    for program in helps:
        made = subprocess.run([*program, "--help"], capture_output=True, text=True, check=True)
        known |= set(re.findall(r"--[a-z][a-z0-9-]+", made.stdout))
    scripts = [ROOT / "start.sh", *ROOT.glob("tools/*"), *ROOT.glob("benches/*")]
    for script in scripts:
        if script.is_file():
            known |= set(re.findall(r"--[a-z][a-z0-9-]+", script.read_text()))
    # Programs of GPU builds name their flags by their fields.
    for source in ROOT.glob("crates/tensorrt/src/*/*.rs"):
        fields = re.findall(r"^\s+(?:pub )?(\w+): ", source.read_text(), re.M)
        known |= {"--" + field.replace("_", "-") for field in fields}
    return known


def check_flags(text, known):
    """Flags that a document tells of, and that no program has."""
    told = set()
    ours = ("--", "siglip2-embeddings ", "load-test ", "build-engine ", "gpu-check ", "tools/", "cargo ")
    for code in re.findall(r"`([^`\n]+)`", text):
        if not code.startswith(ours):
            continue
        told |= set(re.findall(r"(?:^|(?<= ))--[a-z][a-z0-9-]+", code))
    return sorted(told - known)


def check_outputs(name, text):
    """What a document shows as the output of a script is what the script prints."""
    pattern = r"<!-- output of: (.*?) -->\n(.*?)<!-- end of output -->"
    for command, shown in re.findall(pattern, text, re.S):
        words = shlex.split(command)
        made = subprocess.run(
            [sys.executable, *words[1:]] if words[0] == "python" else words,
            cwd=ROOT, capture_output=True, text=True, check=True,
        )
        ok = made.stdout.strip() == shown.strip()
        print(f"{'ok     ' if ok else 'FAILED '} {name}: the output of {command}")
        if not ok:
            yield f"{name} shows something else than {command} prints:\n{made.stdout}"


def main():
    service, load_test, work = (pathlib.Path(path).resolve() for path in sys.argv[1:4])
    ci = (ROOT / ".ci/run").read_text()
    known = flags(service, load_test)
    commands = Commands(service, load_test, work)
    failures, counts = [], {"run": 0, "marked": 0, "elsewhere": 0}
    try:
        for name in sys.argv[4:] or DOCUMENTS:
            text = (ROOT / name).read_text()
            commands.make_folder()
            failures += [f"{name}: there is no {path}" for path in check_links(name, text)]
            failures += [f"{name}: no program has {flag}" for flag in check_flags(text, known)]
            failures += check_outputs(name, text)
            for line, above, language, code in blocks(text):
                mark = re.fullmatch(r"<!-- not run: (.*) -->", above)
                first = code.split("\n", 1)[0][:70]
                if mark and mark[1] not in REASONS:
                    failures.append(f"{name}:{line}: {mark[1]!r} is no reason; there are {REASONS}")
                elif mark:
                    counts["marked"] += 1
                elif script := elsewhere(name, language, code, ci):
                    counts["elsewhere"] += 1
                elif language == "python":
                    failures.append(f"{name}:{line}: no check runs this")
                elif is_command(language, code):
                    counts["run"] += 1
                    said = commands.run(name, code)
                    print(f"{'FAILED ' if said else 'ok     '} {name}:{line}: {first}", flush=True)
                    if said:
                        failures.append(f"{name}:{line}: {said}")
    finally:
        commands.end()
    print("\n".join(failures))
    print(f"{counts['run']} blocks run, {counts['elsewhere']} by other checks, {counts['marked']} marked")
    if len(sys.argv) == 4:
        assert counts["run"] > 8, "the documents have lost their commands"
    sys.exit(1 if failures else 0)


main()
