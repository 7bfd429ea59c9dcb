"""The version, read by everything that writes a file."""

__version__ = "0.1.0"


def versions() -> dict[str, str]:
    """Return the versions on which a result may depend."""
    import platform

    import torch

    return {"genmnist": __version__, "torch": str(torch.__version__), "python": platform.python_version()}
