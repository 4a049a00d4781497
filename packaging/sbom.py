"""`make sbom`: what is inside the packages, as CycloneDX, in dist/rolekeeper-VERSION.cdx.json.

cyclonedx-py reads the lock. Added is what wheels bring inside their extension modules: the Rust crates, by the lists in
the wheels, and the OpenSSL that cryptography is linked with, by what it says itself. Libraries that `tree` leaves out
are left out here, too. The same sources make the same bytes.
"""

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import tree
from cryptography.hazmat.backends.openssl.backend import backend

import packages

LEFT_OUT = ("pycparser", "s3transfer")


def main() -> None:
    """Write the file, and print its path."""
    found = _of_the_lock()
    components = [one for one in found["components"] if one["name"] not in LEFT_OUT]
    kept = {one["bom-ref"] for one in components}
    needs: dict[str, list[str]] = {}
    for component in list(components):
        name, version = component["name"], component["version"]
        if metadata.version(name) != version:
            sys.exit(f"Cannot list what is inside {name}: this environment has {metadata.version(name)}, not {version}")
        inside = _crates(name)
        if name == "cryptography":
            inside.append(_openssl())
        components += [one for one in inside if one["bom-ref"] not in kept]
        kept |= {one["bom-ref"] for one in inside}
        needs[component["bom-ref"]] = sorted(one["bom-ref"] for one in inside)
    itself = found["metadata"]["component"]
    itself["version"] = packages.version()
    itself["bom-ref"] = itself["purl"] = f"pkg:generic/rolekeeper@{packages.version()}"
    found["components"] = components
    found["dependencies"] = [
        {"ref": itself["bom-ref"], "dependsOn": sorted(needs)},
        *({"ref": name, "dependsOn": inside} for name, inside in sorted(needs.items())),
    ]
    path = tree.ROOT / "dist" / f"rolekeeper-{packages.version()}.cdx.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    sys.stdout.write(f"{path}\n")


def _of_the_lock() -> Any:
    """The libraries of the lock, with their hashes; references and addresses are made independent of this machine."""
    command = [Path(sys.executable).with_name("cyclonedx-py"), "requirements", "--output-reproducible", "--short-PURLs"]
    command += ["--pyproject", tree.ROOT / "pyproject.toml", tree.LOCK]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    found = json.loads(done.stdout)
    for component in found["components"]:
        component["bom-ref"] = component["purl"]
        component.pop("description", None)  # the line of the lock
    return found


def _crates(distribution: str) -> list[dict[str, Any]]:
    """What the CycloneDX lists in a wheel name."""
    files = metadata.files(distribution) or ()
    lists = [path for path in files if path.match("*.dist-info/sboms/*.cyclonedx.json")]
    texts = [Path(str(path.locate())).read_text(encoding="utf-8") for path in lists]
    crates = [one for text in texts for one in json.loads(text)["components"]]
    return [_component(one["name"], one["version"], f"pkg:cargo/{one['name']}@{one['version']}") for one in crates]


def _openssl() -> dict[str, Any]:
    text = backend.openssl_version_text()
    version = re.match(r"OpenSSL ([\w.]+)", text)
    if version is None:
        sys.exit(f"Cannot name the OpenSSL in cryptography: it says {text!r}")
    cpe = f"cpe:2.3:a:openssl:openssl:{version[1]}:*:*:*:*:*:*:*"
    return _component("openssl", version[1], f"pkg:generic/openssl@{version[1]}") | {"cpe": cpe}


def _component(name: str, version: str, purl: str) -> dict[str, Any]:
    return {"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl}


if __name__ == "__main__":
    main()
