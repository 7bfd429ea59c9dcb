"""Clusters of the training images, of which a model without labels is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.cluster.vq import kmeans2, vq

from conftest import Command, picture, same_samples
from genmnist import exporting, train
from genmnist import load as opened
from genmnist.data import Splits, load, scale
from genmnist.errors import UsageError
from genmnist.families.ddpm import DiffusionOptions
from genmnist.models import Diffusion, FewSteps, clusters
from genmnist.models.clusters import Clusters
from genmnist.randomness import generator
from genmnist.runs.find import WEIGHTS

IMAGES = load("mnist").train.images[:2000]
TINY = {"size": "tiny", "clusters": 6}


def found(count: int = 6) -> Clusters:
    """Return clusters of some digits."""
    made = Clusters(count, (1, 28, 28))
    made.begin(IMAGES)
    return made


def untrained(**options: object) -> Any:
    """Return a tiny model that has seen its images, but taken no step."""
    torch.manual_seed(0)
    model = Diffusion(DiffusionOptions.of(TINY | options))
    for weight in model.network.parameters():  # many begin at 0
        torch.nn.init.normal_(weight, std=0.1)
    model.begin(IMAGES)
    return model.eval()


def test_are_those_that_another_kmeans_finds() -> None:
    points = clusters.features(scale(IMAGES))
    begin = points[torch.randperm(len(points), generator=generator(0, "clusters"))[:6]]
    centres, own = kmeans2(points.double().numpy(), begin.double().numpy(), iter=25, minit="matrix")
    ours = found()
    np.testing.assert_allclose(ours.centres.numpy(), centres, atol=1e-3)
    np.testing.assert_allclose(ours.shares.numpy(), np.bincount(own, minlength=6) / len(own), atol=2e-3)


def test_an_image_is_of_the_nearest() -> None:
    ours = found()
    nearest, _ = vq(clusters.features(scale(IMAGES[:300])).numpy(), ours.centres.numpy())
    assert ours.nearest(scale(IMAGES[:300])).tolist() == nearest.tolist()


def test_what_is_found_once_is_kept() -> None:
    ours = found()
    before = ours.centres.clone()
    ours.begin(255 - IMAGES)
    assert torch.equal(ours.centres, before)


def test_more_clusters_than_images_leave_some_empty() -> None:
    ours = Clusters(40, (1, 28, 28))
    ours.begin(IMAGES[:10])
    assert ours.shares.sum().item() == pytest.approx(1)
    assert (ours.shares == 0).sum() >= 30
    assert set(ours.deal(0, 0, 200).tolist()) <= set(ours.shares.nonzero().flatten().tolist())


def test_features_do_not_see_where_a_digit_stands_or_how_it_leans() -> None:
    image = scale(IMAGES[:1])
    lean = torch.tensor([[[1.0, 0.25, 0.1], [0.0, 1.0, -0.08]]])
    leaning = F.grid_sample(image, F.affine_grid(lean, [1, 1, 28, 28], False), align_corners=False)
    own, other, *_ = clusters.features(torch.cat((image, leaning, scale(IMAGES[1:2]))))
    apart = torch.dist(*clusters.features(scale(IMAGES[:2])))
    assert torch.dist(own, other) < 0.15 * apart
    assert torch.dist(image, leaning) > 0.5 * torch.dist(*scale(IMAGES[:2]))


@pytest.mark.parametrize(
    ("shape", "width"),
    [((1, 28, 28), 14 * 14), ((3, 32, 32), 3 * 16 * 16), ((1, 7, 11), 4 * 6), ((3, 200, 150), 3 * 16 * 12)],
)
def test_features_are_of_images_of_any_shape(shape: tuple[int, int, int], width: int) -> None:
    assert clusters.features(torch.rand(5, *shape)).shape == (5, width)
    assert torch.isfinite(clusters.features(torch.zeros(2, *shape))).all()


def test_samples_are_dealt_by_the_shares_and_evenly() -> None:
    ours = found()
    for first in (0, 12_345):
        counts = ours.deal(3, first, 1000).bincount(minlength=6)
        assert (counts - 1000 * ours.shares).abs().max() < 6  # of a thousand drawn freely it would be 15


def test_what_a_sample_is_dealt_depends_on_its_number_alone() -> None:
    ours = found()
    assert torch.equal(ours.deal(5, 0, 50)[20:30], ours.deal(5, 20, 10))
    assert not torch.equal(ours.deal(5, 0, 50), ours.deal(6, 0, 50))


def test_training_tells_the_network_of_most_images() -> None:
    model = untrained(drop_label=0.3).train()
    images = scale(IMAGES)
    shown = model.shown(images, torch.zeros(len(images), dtype=torch.int64))
    hidden = shown == model.options.classes
    assert 0.25 < hidden.double().mean() < 0.35
    assert torch.equal(shown[~hidden], model.clusters.nearest(images)[~hidden])
    assert torch.equal(model.eval().shown(images, shown), model.clusters.nearest(images))


def test_a_model_of_clusters_has_no_labels_to_ask_for() -> None:
    model = untrained()
    assert (model.classes, model.options.classes, model.network.label.num_embeddings) == (0, 6, 7)
    with pytest.raises(UsageError, match="takes no `labels`"):
        model.sample(2, labels=[3])
    assert DiffusionOptions.of(TINY).replace({"clusters": 0}).classes == 0


def test_a_sample_does_not_depend_on_its_batch() -> None:
    model = untrained()
    whole = model.sample(7, seed=2, batch_size=7, steps=3)
    assert same_samples(whole, model.sample(7, seed=2, batch_size=3, steps=3), "float32")


def test_it_is_drawn_as_its_cluster_and_guided_towards_it() -> None:
    model = untrained()
    dealt = model.clusters.deal(0, 0, 5)
    x, t = model.prior(0, 5), 900.0
    known, null = model.denoise(x, t, dealt), model.denoise(x, t)
    assert not torch.allclose(known.x0, null.x0, atol=1e-3)
    for w in (0.0, -1.0, 0.7):
        request = model.request(0, guidance=w, threshold="none")
        guided = model.denoiser(request, model.condition(request, 0, 5))(x, t)
        expected = (1 + w) * known.epsilon - w * null.epsilon
        torch.testing.assert_close(guided.epsilon, expected, atol=1e-4, rtol=1e-4)


def test_walks_between_images_are_told_of_their_clusters() -> None:
    model = untrained()
    request = model.request(0)
    assert torch.equal(model.condition(request, 0, 4, IMAGES[:4]), model.clusters.nearest(scale(IMAGES[:4])))
    assert torch.equal(model.condition(request, 0, 4), model.clusters.deal(0, 0, 4))


def test_guidance_is_refused_where_there_is_nothing_to_be_guided_by() -> None:
    with pytest.raises(UsageError, match="no labels and no clusters to guide by"):
        Diffusion(DiffusionOptions(size="tiny")).sample(1, guidance=0.5)


def test_a_weaker_model_has_the_same_clusters_or_none() -> None:
    model, other = untrained(), untrained()
    plain = Diffusion(DiffusionOptions(size="tiny")).eval()
    for weaker in (plain, untrained()):
        assert model.sample(2, steps=2, autoguidance=1.0, weaker=weaker).shape == (2, 28, 28)
    other.clusters.centres.add_(1)
    with pytest.raises(UsageError, match="the same clusters as the model itself, or none"):
        model.sample(2, autoguidance=1.0, weaker=other)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, few: Splits) -> Path:
    """Return the folder of a short training."""
    folder = tmp_path_factory.mktemp("clusters") / "run"
    train("ddpm", data=few, options=TINY, steps=20, device="cpu", threads=1, out=folder)
    return folder


def test_what_is_trained_is_saved_and_loaded(run: Path) -> None:
    model: Any = opened("ddpm", run, device="cpu")
    again = opened("ddpm", run, device="cpu")
    assert model.clusters.shares.sum().item() == pytest.approx(1)
    assert torch.equal(model.sample(3, steps=2), again.sample(3, steps=2))


def test_commands_take_such_a_run(run: Path, tmp_path: Path, genmnist: Command) -> None:
    for command in (
        ("sample", "ddpm", "--guidance", "0.5", "--steps", "2", "--num", "4"),
        (
            "interpolate",
            "ddpm",
            "--dataset",
            "mnist",
            "--from-digits",
            "3,8",
            "--pairs",
            "1",
            "--points",
            "3",
            "--steps",
            "2",
        ),
        ("reverse-trace", "ddpm", "--steps", "2", "--num", "2"),
        ("complete", "ddpm", "--dataset", "mnist", "--digit", "3", "--steps", "2", "--num", "1"),
    ):
        out = tmp_path / f"{command[0]}.png"
        done = genmnist(*command, "--model", str(run), "--out", str(out))
        assert not done.status, done.err
        picture(out)


def test_an_export_says_the_share_of_each(run: Path, tmp_path: Path) -> None:
    said = exporting.describe(opened("ddpm", run, device="cpu"))
    assert said.classes == 0
    denoising: Any = said.denoising
    assert denoising.null_label == 6
    assert sum(denoising.clusters) == pytest.approx(1)
    assert any("cluster" in sentence for sentence in said.use)


def test_a_few_step_model_learns_the_clusters_of_its_source_or_its_own(
    run: Path, few: Splits, tmp_path: Path
) -> None:
    for source, options in ((run, {}), (WEIGHTS / "ddpm-guide.safetensors", {"clusters": 6})):
        out = tmp_path / f"few-{len(options)}"
        train(
            "few", data=few, start=source, options=options, steps=3, device="cpu", threads=1, out=out,
            recipe={"batch_size": 8},
        )  # fmt: skip
        model = opened("few", out, device="cpu")
        assert isinstance(model, FewSteps)
        assert (model.classes, model.options.classes) == (0, 6)
        assert model.how().guidance == 1
        assert model.sample(2).shape == (2, 28, 28)


def test_tuning_may_begin_from_a_model_without(few: Splits, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    train(
        "ddpm", data=few, start="bundled:guide", options={"clusters": 6}, steps=1, device="cpu", threads=1,
        out=out, recipe={"batch_size": 2, "lr": 1e-9, "ema": 0.0},
    )  # fmt: skip
    tuned, source = opened("ddpm", out, device="cpu"), opened("ddpm", "bundled:guide")
    x = tuned.prior(0, 2)
    torch.testing.assert_close(tuned.denoise(x, 500.0).x0, source.denoise(x, 500.0).x0, atol=1e-3, rtol=1e-3)
