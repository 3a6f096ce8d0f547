"""Prints what the program is linked from, as a package must say it.

    python3 tools/linked_crates.py licences TARGET > THIRD-PARTY        the texts of all licences
    python3 tools/linked_crates.py sbom TARGET > NAME.cdx.json          CycloneDX 1.5

Licences are taken from the crates' own sources, those of C code in them as well; equal texts stand
once. Needs only the standard library, and the crates that a build has fetched.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from datetime import datetime, timezone
from pathlib import Path

NAMES = re.compile(r"(licen[sc]e|copying|copyright|notice|unlicense)", re.I)
# Of tests, examples and tools: not built in.
ASIDE = {"tests", "test", "examples", "benches", "fuzz", "doc", "docs", "tools", ".github", "corpus"}
DEEPEST = 4


def linked(target):
    """The program's package, the packages that it is linked from, and what each of them needs."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    rest, needs = [root], {}
    while rest:
        one = rest.pop()
        if one in needs:
            continue
        # Not what only builds or tests it.
        needs[one] = sorted(
            dependency["pkg"]
            for dependency in nodes[one]["deps"]
            if any(kind["kind"] is None for kind in dependency["dep_kinds"])
        )
        rest += needs[one]
    return packages[root], {one: packages[one] for one in sorted(needs)}, needs


def texts(folder):
    """The licence files of a crate."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if len(inside.parts) > DEEPEST or ASIDE & {part.lower() for part in inside.parts[:-1]}:
            continue
        is_code = path.suffix in {".rs", ".c", ".h", ".py", ".sh", ".toml", ".cpp", ".js"}
        if NAMES.match(path.name) and path.is_file() and not is_code:
            text = path.read_text(errors="replace").replace("\r\n", "\n").strip("\n")
            if text:
                yield str(inside), text


def licences(target):
    """All licences, as text."""
    _, packages, _ = linked(target)
    found = [package for package in packages.values() if package["source"]]
    found.sort(key=lambda package: (package["name"], package["version"]))
    by_text, without = defaultdict(list), []
    print("The program is linked from these crates, in their unmodified sources from crates.io:\n")
    for package in found:
        print(f"  {package['name']} {package['version']}: {package['license'] or 'see its text'}")
        files = list(texts(Path(package["manifest_path"]).parent))
        for name, text in files:
            key = re.sub(r"\s+", " ", text)
            by_text[key].append((f"{package['name']} {package['version']} ({name})", text))
        if not files:
            without.append(f"{package['name']} {package['version']}")
    if without:
        print("\nThese have no file with a licence's text, and are under the licences named above:\n")
        print("  " + ", ".join(without))
    print("\nand from the standard library of Rust (MIT or Apache-2.0).")
    for places in by_text.values():
        print("\n" + "=" * 80 + "\n" + "\n".join(place for place, _ in places) + "\n")
        print(places[0][1])


def sbom(target):
    """The list of what is linked in, with hashes of the sources: CycloneDX 1.5."""
    root, packages, needs = linked(target)
    lock = tomllib.loads(Path("Cargo.lock").read_text())
    hashes = {
        (package["name"], package["version"]): package.get("checksum") for package in lock["package"]
    }

    def reference(package):
        return f"pkg:cargo/{package['name']}@{package['version']}"

    def component(package, kind):
        found = {
            "type": kind,
            "bom-ref": reference(package),
            "name": package["name"],
            "version": package["version"],
            "purl": reference(package),
        }
        if package["description"]:
            found["description"] = " ".join(package["description"].split())
        if package["license"]:
            # Older crates write MIT/Apache-2.0.
            found["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        if checksum := hashes.get((package["name"], package["version"])):
            found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        return found

    when = int(os.environ.get("SOURCE_DATE_EPOCH") or datetime.now().timestamp())
    others = [package for one, package in packages.items() if one != root["id"]]
    others.sort(key=reference)
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(when, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": component(root, "application"),
        },
        "components": [component(package, "library") for package in others],
        "dependencies": [
            {"ref": reference(package), "dependsOn": [reference(packages[on]) for on in needs[one]]}
            for one, package in packages.items()
        ],
    }
    print(json.dumps(document, indent=1))


def main():
    {"licences": licences, "sbom": sbom}[sys.argv[1]](sys.argv[2])


main()
