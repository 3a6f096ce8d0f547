"""Puts the program into the wheel, where there is one: SIGLIP2_BINARY names it.

Without it the wheel is the client alone, and runs anywhere. With it the wheel is for the program's
kind of machine, `pip install` puts the program beside Python, and `Server` finds it there.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "siglip2-embeddings"


def version() -> str:
    """The version in Cargo.toml, which is the only place that has it."""
    here = Path(__file__).resolve().parent
    manifest = here.parent / "Cargo.toml"
    if manifest.is_file():
        section = manifest.read_text().split("[workspace.package]", 1)[1]
        found = re.search(r'^version = "([^"]+)"', section, re.M)
    else:
        # In a source distribution, which has no Cargo.toml.
        found = re.search(r"^Version: (.+)$", (here / "PKG-INFO").read_text(), re.M)
    if found is None:
        raise RuntimeError("neither Cargo.toml nor PKG-INFO names a version")
    return found[1]


def platform_tag(binary: Path) -> str:
    """The wheel's tag for machines on which the program runs: by the newest version of glibc that
    it names. A string that only looks like one would make the tag stricter, never wrong."""
    found = re.findall(rb"GLIBC_2\.(\d+)", binary.read_bytes())
    machine = platform.machine()
    if not found:
        return f"linux_{machine}"
    return f"manylinux_2_{max(17, *map(int, found))}_{machine}"


class BinaryHook(BuildHookInterface):  # type: ignore[type-arg]
    """Hatchling's door to the files of a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Adds the program to the wheel's scripts."""
        named = os.environ.get("SIGLIP2_BINARY")
        if not named or self.target_name != "wheel" or version == "editable":
            return
        binary = Path(named)
        if not os.access(binary, os.X_OK):
            raise RuntimeError(f"SIGLIP2_BINARY: {binary} is not a program")
        build_data["shared_scripts"] = {str(binary.resolve()): NAME}
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag(binary)}"
