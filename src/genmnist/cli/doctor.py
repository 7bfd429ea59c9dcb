"""`genmnist doctor`: whether this machine can do what genmnist asks of it."""

from __future__ import annotations

import functools
from collections.abc import Callable

from genmnist.cli import options as opt
from genmnist.cli.console import Output
from genmnist.errors import GenmnistError


def _doctor(device: opt.Device = "auto", quiet: opt.Quiet = False, as_json: opt.Json = False) -> None:
    """Check versions, device, precision, data and weights, and time matrix products."""
    output = Output("doctor", as_json, quiet)

    import torch

    from genmnist import api
    from genmnist.data import load
    from genmnist.device import choose_device, choose_precision, describe_machine, gigaflops
    from genmnist.runs.find import WEIGHTS, Found

    place = choose_device(device)
    facts: dict[str, object] = {
        **api.versions(),
        "machine": describe_machine(),
        "device": str(place),
        "precision": choose_precision("auto", place),
    }
    for dtype in (torch.float32, torch.bfloat16):
        facts[f"{str(dtype).removeprefix('torch.')}_gflops"] = round(gigaflops(place, dtype))
    problems = 0
    shipped: dict[str, Callable[[], object]] = {"mnist": load}
    for path in sorted(WEIGHTS.glob("*.safetensors")):
        found = Found(path, "bundled")
        shipped[f"bundled {path.stem}"] = functools.partial(api.load_found, found, device=device)
    for name, check in shipped.items():
        try:
            check()
            facts[name] = "verified"
        except GenmnistError as error:
            problems += 1
            facts[name] = str(error)
    output.note(**facts, problems=problems)
    output.table([key, str(value)] for key, value in facts.items())
    output.finish()
    if problems:
        raise GenmnistError(f"{problems} of the files that ship with genmnist are damaged: install it again")


doctor = opt.with_options(_doctor, examples=("doctor", "doctor --device cuda"))
