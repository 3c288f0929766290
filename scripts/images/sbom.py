"""Writes the software bill of materials of an image, inside it: CycloneDX JSON, licences included.

Python packages come from `cyclonedx-py`, which a builder stage lends; Debian packages from dpkg's own database and
their copyright files; the interpreter is added by hand. Runs with the standard library only, in the finished image.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

PATH = Path("/usr/share/sbom/stillhouse.cdx.json")
_FORMAT = "${db:Status-Abbrev}\t${Package}\t${Version}\t${Architecture}\n"


def debian_components(listing: str, copyrights: Mapping[str, str], release: str) -> list[dict[str, Any]]:
    """One CycloneDX component for each installed package of a `dpkg-query` listing in the format above.

    `copyrights` maps package names to the text of their copyright files; a package without one gets no licence.
    """
    components = []
    for line in listing.splitlines():
        status, name, version, architecture = line.split("\t")
        if not status.startswith("ii"):
            continue
        purl = f"pkg:deb/debian/{quote(name)}@{quote(version, safe='')}?arch={architecture}&distro={release}"
        component: dict[str, Any] = {
            "type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl,
        }  # fmt: skip
        if names := licences(copyrights.get(name, "")):
            component["licenses"] = [{"license": {"name": licence}} for licence in names]
        components.append(component)
    return components


def licences(text: str) -> list[str]:
    """The licence names of a copyright file in Debian's machine-readable form (DEP 5); empty for free text."""
    return sorted({name.strip() for name in re.findall(r"^License:[ \t]*(\S[^\n]*)", text, re.MULTILINE)})


def merged(python: dict[str, Any], extra: list[dict[str, Any]], *, target: str, version: str) -> dict[str, Any]:
    """The bill of `python` (cyclonedx-py's) with more components and the image as its subject."""
    subject = {"type": "container", "name": f"stillhouse-{target}", "version": version, "bom-ref": "image"}
    return {
        **python,
        "metadata": {**python.get("metadata", {}), "component": subject},
        "components": sorted([*python["components"], *extra], key=lambda item: (item["name"].lower(), item["version"])),
    }


def interpreter() -> dict[str, Any]:
    """The component of Python itself, which official images build from source."""
    version = platform.python_version()
    purl = f"pkg:generic/python@{version}"
    return {
        "type": "platform", "name": "python", "version": version, "purl": purl, "bom-ref": purl,
        "licenses": [{"license": {"id": "PSF-2.0"}}],
    }  # fmt: skip


def main(target: str) -> int:
    """Look at this machine, which is the image, and write the file."""
    run = subprocess.run
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-format", "JSON", "--output-reproducible"]
    python = run([*command, "/opt/stillhouse/bin/python3"], check=True, capture_output=True, text=True).stdout
    listing = run(["dpkg-query", "-W", f"-f={_FORMAT}"], check=True, capture_output=True, text=True).stdout
    copyrights = {
        path.parent.name: path.read_text(encoding="utf-8", errors="replace")
        for path in Path("/usr/share/doc").glob("*/copyright")
    }
    release = platform.freedesktop_os_release()
    debian = debian_components(listing, copyrights, f"{release['ID']}-{release['VERSION_ID']}")
    bill = json.loads(python)
    own = next(item["version"] for item in bill["components"] if item["name"] == "stillhouse")
    PATH.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(merged(bill, [interpreter(), *debian], target=target, version=own), indent=1)
    PATH.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
