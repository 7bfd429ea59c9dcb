"""Put into the package what the explorer carries, and beside the tests what judges it.

Takes onnxruntime for the browser and axe, of the versions and checksums in package-lock.json, and the graphs
of the bundled models; a second run makes the same bytes. `make vendor` runs it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

from genmnist.explorer import graphs
from genmnist.explorer.packing import press
from genmnist.runs import checkpoint
from genmnist.runs.find import find

ROOT = Path(__file__).parents[1]
NODE = ROOT / "node_modules"
VENDOR = ROOT / "src" / "genmnist" / "explorer" / "vendor"
ORT = NODE / "onnxruntime-web"
# The plain WebAssembly, the smallest that runs our graphs: the others bring WebGPU and WebNN.
TAKEN = {"ort.mjs.bin": "ort.wasm.bundle.min.mjs", "ort.wasm.bin": "ort-wasm-simd-threaded.wasm"}
BUNDLED = ("vae", "ddpm", "cfg", "classifier")


def main() -> None:
    """Write `vendor/`, and the tests' copy of axe."""
    VENDOR.mkdir(exist_ok=True)
    for name, source in TAKEN.items():
        (VENDOR / name).write_bytes(press((ORT / "dist" / source).read_bytes()))
    known: dict[str, list[str]] = {}
    for family in BUNDLED:
        path = find(family, "bundled").path
        model, _ = checkpoint.load(path, family)
        made = graphs.exported(model)
        for name, graph in made.items():
            (VENDOR / f"{name}.onnx.bin").write_bytes(press(graph))
        known[graphs.checksum(path)] = [*made]
        print(f"{family}: {', '.join(made)}")
    (VENDOR / graphs.MANIFEST).write_text(json.dumps(known, indent=1) + "\n")
    axe = (NODE / "axe-core" / "axe.min.js").read_bytes()
    (ROOT / "tests" / "axe.min.js.gz").write_bytes(gzip.compress(axe, 9, mtime=0))
    version = json.loads((ORT / "package.json").read_text())["version"]
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(VENDOR.glob("*.bin"))}
    (VENDOR / "vendor.json").write_text(
        json.dumps({"onnxruntime-web": version, "sha256": sums}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
