"""A run outlives what may happen to it; what kills do to it is in tests/test_faults.py."""

from __future__ import annotations

from pathlib import Path

import forked
from conftest import Command, environment, one_sentence
from genmnist.files import TEMPORARY
from genmnist.runs.folder import Run


def test_a_living_run_is_not_touched_by_a_second_process(
    genmnist: Command, vae_run: str, tmp_path: Path
) -> None:
    """Resuming locks first: until the lock is ours, the folder is another's."""
    run = Run(tmp_path / vae_run)
    run.summary_file.unlink()
    # As in a living run the metrics are ahead of the state that was last saved, and a file is being written.
    saved = run.metrics_file.read_bytes()
    run.metrics_file.write_bytes(saved + saved.splitlines(keepends=True)[-1])
    half_written = run.folder / f"{TEMPORARY}x"
    half_written.mkdir()

    def folder() -> dict[str, tuple[int, bytes]]:
        files = (path for path in run.folder.rglob("*") if path.is_file() and path.name != ".lock")
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    with run.locked():
        before = folder()
        sentence = one_sentence(genmnist("train", "vae", "--resume", vae_run), 1)
        assert "another process is training run" in sentence
        assert folder() == before
        assert half_written.exists()
    done = genmnist("train", "vae", "--resume", vae_run)
    assert done.status == 0, done.err
    assert run.finished
    assert run.metrics_file.read_bytes() == saved  # what the state knows
    assert not half_written.exists()


def test_a_training_outlives_its_log(tmp_path: Path, idx_folder: Path) -> None:
    """Standard output that cannot be written, as on a full disk, ends nothing."""
    words = (
        "train",
        "vae",
        "--data-dir",
        str(idx_folder),
        "--steps",
        "60",
        "--sample-every",
        "0",
        "--out",
        "run",
    )
    Path(f"{tmp_path}.out").symlink_to("/dev/full")
    assert forked.run(words, tmp_path, environment(tmp_path), 120) == 0
    assert Run(tmp_path / "run").finished
