"""start.sh, start.bat, the Dockerfiles and the systemd unit.

Usage: python machines.py BINARY WORK_FOLDER

Docker is a script here that notes what it is asked for. systemd-analyze is asked where it is there.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY, WORK = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])

DOCKER = """#!/bin/sh
echo "$*" >>"$NOTES"
case $1 in
  inspect)
    count=$(grep -c ^inspect "$NOTES")
    if [ -n "$DEAD" ]; then echo exited
    elif [ "$count" -lt 2 ]; then echo running starting
    else echo running healthy; fi ;;
  logs) echo its last words ;;
  rm) [ -z "$NONE" ] || exit 1 ;;
esac
"""


def programs(*names):
    """A folder with Docker, and what else start.sh finds."""
    folder = WORK / "programs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "docker").write_text(DOCKER)
    (folder / "sleep").write_text("#!/bin/sh\n")
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
    for program in folder.iterdir():
        program.chmod(0o755)
    for tool in ("bash", "sed", "dirname", "grep", "sh"):
        (folder / tool).symlink_to(shutil.which(tool))
    return folder


def start(*arguments, found=(), **more):
    """The exit code and output of start.sh, and what Docker was asked for."""
    notes = WORK / "notes"
    notes.unlink(missing_ok=True)
    env = {"PATH": str(programs(*found)), "NOTES": str(notes)} | more
    made = subprocess.run(
        [ROOT / "start.sh", *arguments], env=env, capture_output=True, text=True, check=False
    )
    said = notes.read_text().splitlines() if notes.exists() else []
    return made.returncode, made.stdout + made.stderr, said


def check_start():
    code, said, asked = start("--cpu", found=["nvidia-smi"], API_PORT="9000", NONE="1")
    assert code == 0 and "ready at http://localhost:9000 (cpu)" in said, said
    assert asked[0] == "build -f Dockerfile.cpu -t siglip2-embeddings:cpu .", asked
    [run] = [line for line in asked if line.startswith("run ")]
    assert "-p 9000:8091" in run and "--read-only" in run and "--gpus" not in run, run
    assert run.endswith("siglip2-embeddings:cpu")
    cpu = [asked[0], run]
    code, said, asked = start(found=["nvidia-smi"])
    [run] = [line for line in asked if line.startswith("run ")]
    assert code == 0 and asked[0] == "build -t siglip2-embeddings:gpu ." and "--gpus all" in run
    gpu = [asked[0], run]
    assert start()[2][0] == cpu[0], "without a GPU it is the CPU"
    code, said, asked = start("--cpu", DEAD="1")
    assert code == 1 and "its last words" in said, said
    code, said, asked = start("--stop")
    assert code == 0 and asked == ["stop --time 40 siglip2-embeddings", "rm siglip2-embeddings"]
    assert start("--gpu")[0] == 2
    code, said, _ = start("--help")
    assert code == 0 and "--cpu" in said and "set -euo" not in said, said
    check_batch(cpu, gpu)
    print("  start.sh: on the GPU, on the CPU, ended, refused; start.bat asks for the same")


def check_batch(cpu, gpu):
    """start.bat asks Docker for the same; it cannot be run here."""
    text = (ROOT / "start.bat").read_bytes().decode()
    assert text.count("\r\n") == text.count("\n"), "start.bat needs the line ends of Windows"
    text = text.replace("\r\n", "\n").replace("^\n", "")
    labels = set(re.findall(r"^:(\w+)", text, re.M))
    assert set(re.findall(r"\bgoto (\w+)", text)) <= labels, labels
    for kind, lines, port in (("cpu", cpu, "9000"), ("gpu", gpu, "8091")):
        devices = dict(re.findall(r"docker build .*siglip2-embeddings:(\w+) .*\n\s*set \"device=(.*)\"", text))
        values = {"name": "siglip2-embeddings", "kind": kind, "API_PORT": port, "device": devices[kind]}
        plain = re.sub(r"%(\w+)%", lambda m: values.get(m[1], m[0]), text)
        asked = [re.sub(r"\s+", " ", line) for line in re.findall(r"^\s*docker (.*?)(?: >nul| \|\|)", plain, re.M)]
        asked = [line.replace('"', "") for line in asked]
        for line in lines:
            assert re.sub(r"\s+", " ", line) in asked, (line, asked)


def check_dockerfiles():
    """What is copied is there, the programs of both are those that docker/build makes, and the user is a number."""
    build = (ROOT / "docker/build").read_text()
    for name in ("Dockerfile", "Dockerfile.cpu"):
        text = (ROOT / name).read_text()
        kind = "cpu" if name.endswith("cpu") else "gpu"
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.M):
            for source in line.split():
                assert (ROOT / source).exists(), f"{name}: {source}"
        assert re.search(r"^USER 10001:10001$", text, re.M)
        steps = re.findall(r"^RUN /docker/install-(?:build-tools|runtime)( cpu)?", text, re.M)
        steps += re.findall(r"^RUN docker/build /out( cpu)?", text, re.M)
        assert steps == ([" cpu"] * 3 if kind == "cpu" else [""] * 3), (name, steps)
        entry = re.search(r'^ENTRYPOINT \["(.*)"\]', text, re.M)[1]
        assert entry in build or (ROOT / "docker" / entry).exists()
    for script in (ROOT / "docker").iterdir():
        subprocess.run(["bash", "-n", script], check=True)
    print("  Dockerfiles: what they copy and run is there")


def analyze(*arguments):
    made = subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False,
        env=os.environ | {"SYSTEMD_LOG_LEVEL": "warning"},
    )
    assert made.returncode == 0 and not made.stderr.strip(), made.stdout[-6000:] + made.stderr


def check_unit():
    """The unit is understood, in both forms, and shuts out what it says."""
    unit = (ROOT / "deploy/systemd/siglip2-embeddings.service").read_text()
    program = subprocess.run([BINARY, "--help"], capture_output=True, text=True, check=True)
    known = set(re.findall(r"\[env: (\w+)", program.stdout))
    settings = (ROOT / "deploy/systemd/siglip2-embeddings.env").read_text()
    for name in re.findall(r"^#?([A-Z_]+)=", settings, re.M):
        assert name in known, f"the program reads no {name}"
    if not shutil.which("systemd-analyze"):
        print("  systemd: not checked, there is no systemd-analyze")
        return
    folder = WORK / "units"
    folder.mkdir()
    file = folder / "siglip2-embeddings.service"
    # Only the programs are elsewhere.
    place = lambda text: re.sub(r"/usr/local/bin/[\w-]+", str(BINARY), text)
    file.write_text(place(unit))
    analyze("verify", "--man=no", file)
    # The scale of systemd-analyze: 0 is shut, 10 is open; times ten here.
    analyze("security", "--offline=true", "--no-pager", "--threshold=15", file)
    more = folder / "siglip2-embeddings.service.d"
    more.mkdir()
    (more / "gpu.conf").write_text(place((ROOT / "deploy/systemd/gpu.conf").read_text()))
    analyze("verify", "--man=no", file)
    print("  systemd: the unit is understood, with and without a GPU; exposure at most 1.5 of 10")


check_start()
check_dockerfiles()
check_unit()
