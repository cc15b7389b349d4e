"""t-SNE, MDS, Isomap and UMAP: who is alike lies together; landmarks stand for all; axes do not depend on chance."""

from __future__ import annotations

import sys
import types
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from dipolar.core.errors import DataError, MissingExtraError, SettingsError
from dipolar.core.unmixing import Stack
from dipolar.unmix import MDS, TSNE, UMAP, Isomap, adjusted_rand
from dipolar.unmix.embedding import principal_axes
from dipolar.unmix.scaling import classical_scaling, triangulate
from unmix_stacks import blobs, stack_of, taken

WAYS = (
    TSNE(perplexity=10.0, steps=300, patches=60),
    MDS(landmarks=40),
    MDS(landmarks=40, way="classical"),
    Isomap(neighbours=6, landmarks=60),
)


def generator(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def templates(count: int = 90) -> tuple[Stack, np.ndarray]:
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(3), count // 3)
    images = blobs([(7, 7), (3, 3), (11, 4)])[label] + 0.1 * rng.normal(size=(len(label), 15, 15))
    return stack_of(images), label


def plane(count: int = 120) -> tuple[Stack, np.ndarray]:
    """Return patches whose differences are those of points in a plane, and the points around their mean."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(count, 2)) * [3.0, 1.0]
    modes = np.linalg.qr(rng.normal(size=(81, 2)))[0].T
    return stack_of((points @ modes).reshape(count, 9, 9)), points - points.mean(axis=0)


def name(way: object) -> str:
    return f"{way.method}-{getattr(way, 'way', '')}"


@pytest.mark.parametrize("way", WAYS, ids=name)
def test_patches_that_are_alike_lie_together(way):
    stack, label = templates()
    found = replace(way, clusters=3).unmix(stack, rng=generator())
    assert found.scores.shape == (90, 2) and found.names == (f"{way.method}_1", f"{way.method}_2")
    distance = cdist(found.scores, found.scores) + 1e9 * np.eye(90)
    assert np.mean(label[distance.argmin(axis=1)] == label) > 0.98
    assert found.facts["trustworthiness"] > 0.7
    assert adjusted_rand(found.cluster, label) == 1.0 and found.cluster_means.shape == (3, 1, 15, 15)
    assert way.unmix(stack, rng=generator()).cluster is None


@pytest.mark.parametrize("way", WAYS, ids=name)
def test_equal_seeds_give_equal_results_in_any_order_of_patches(way):
    stack, _ = templates()
    order = generator().permutation(len(stack.site))
    one, again = way.unmix(stack, rng=generator(1)), way.unmix(stack, rng=generator(1))
    shuffled = way.unmix(taken(stack, order), rng=generator(1))
    np.testing.assert_array_equal(one.scores, again.scores)
    np.testing.assert_array_equal(one.scores[order], shuffled.scores)


@pytest.mark.parametrize("way", WAYS, ids=name)
def test_the_patches_that_shaped_the_result_are_told(way):
    stack, _ = templates()
    found = way.unmix(stack, rng=generator())
    taken_in = way.patches if isinstance(way, TSNE) else way.landmarks
    assert f"{taken_in} of 90 patches, chosen by chance" in found.notes[-1] and found.facts["laid_out"] == taken_in
    everything = {"patches": 90} if isinstance(way, TSNE) else {"landmarks": 90}
    assert not any(
        "chosen by chance" in note for note in replace(way, **everything).unmix(stack, rng=generator()).notes
    )


@pytest.mark.parametrize("form", ["classical", "smacof"])
def test_landmark_scaling_of_a_plane_is_the_plane(form):
    stack, points = plane()
    some = MDS(landmarks=12, way=form, tolerance=1e-12, steps=4000).unmix(stack, rng=generator())
    np.testing.assert_allclose(some.scores, principal_axes(points), atol=2e-3)
    every = MDS(landmarks=120, way="classical").unmix(stack, rng=generator())
    np.testing.assert_allclose(some.scores, every.scores, atol=2e-3)
    assert some.facts["stress"] < 1e-3 and some.facts["converged"] is True


def test_classical_scaling_keeps_distances_and_triangulation_finds_landmarks_again():
    points = np.random.default_rng(0).normal(size=(30, 3))
    distance = cdist(points, points)
    placed = classical_scaling(distance, 3)
    np.testing.assert_allclose(cdist(placed, placed), distance, atol=1e-10)
    np.testing.assert_allclose(triangulate(distance, placed, distance), placed, atol=1e-10)
    assert classical_scaling(distance[:2, :2], 3).shape == (2, 3)


def test_majorisation_lowers_the_stress():
    stack = stack_of(np.random.default_rng(0).normal(size=(80, 6, 6)))
    classical, better = (MDS(way=form).unmix(stack, rng=generator()) for form in ("classical", "smacof"))
    assert better.facts["stress"] < 0.8 * classical.facts["stress"]
    short = MDS(steps=2).unmix(stack, rng=generator())
    assert short.facts["converged"] is False and "raise steps=8" in short.notes[0]


def test_points_placed_among_landmarks_agree_with_the_distances_they_should_have():
    stack = stack_of(np.random.default_rng(0).normal(size=(150, 6, 6)) * np.linspace(4, 1, 6))
    found, every = (MDS(landmarks=count).unmix(stack, rng=generator()) for count in (75, 150))
    flat = stack.images.reshape(150, -1)
    wanted = cdist(flat, flat)
    some, all_ = (np.sqrt(np.mean((cdist(f.scores, f.scores) - wanted) ** 2)) for f in (found, every))
    assert some < 1.1 * all_


def test_isomap_unrolls_what_is_rolled_up():
    turn = np.linspace(0.0, 1.6 * np.pi, 150)
    stack = stack_of(blobs([(10 + 6 * np.sin(t), 10 + 6 * np.cos(t)) for t in turn], edge_px=21))
    found = Isomap(neighbours=6, landmarks=75, components=1).unmix(stack, rng=generator())
    order = np.argsort(found.scores[:, 0])
    assert (np.diff(order) > 0).mean() in (pytest.approx(0.0, abs=0.05), pytest.approx(1.0, abs=0.05))


def test_a_surface_in_parts_is_told():
    found = Isomap(neighbours=4).unmix(templates()[0], rng=generator())
    assert found.facts["parts"] == 3 and "fall into 3 parts" in found.notes[0] and "neighbours=8" in found.notes[0]


def test_settings_out_of_range_are_named():
    stack, _ = templates()
    few = taken(stack, np.arange(8))
    with pytest.raises(SettingsError, match=r"(?s)perplexity=30, 8 patches.*perplexity=2"):
        TSNE().unmix(few, rng=generator())
    with pytest.raises(SettingsError, match="250 steps at least"):
        TSNE(steps=100).unmix(stack, rng=generator())
    with pytest.raises(SettingsError, match=r"(?s)neighbours=12, 8 patches.*neighbours=7"):
        Isomap().unmix(few, rng=generator())
    with pytest.raises(SettingsError, match="more landmarks than there are axes"):
        MDS(landmarks=2).unmix(stack, rng=generator())
    with pytest.raises(SettingsError, match="1 to 3 axes"):
        MDS(components=4).unmix(stack, rng=generator())
    with pytest.raises(DataError, match="more clusters than patches"):
        MDS(clusters=9).unmix(few, rng=generator())


def test_a_missing_umap_says_what_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingExtraError, match=r"pip install dipolar\[umap\]"):
        UMAP().unmix(templates()[0], rng=generator())


def test_umap_is_told_what_was_set(monkeypatch):
    told = {}

    class Layout:
        def __init__(self, **settings: object) -> None:
            told.update(settings)

        def fit_transform(self, points: np.ndarray) -> np.ndarray:
            return points[:, :2]

    stand_in = types.ModuleType("umap")
    stand_in.UMAP = Layout
    monkeypatch.setitem(sys.modules, "umap", stand_in)
    found = UMAP(neighbours=9, least_distance=0.3).unmix(templates()[0], rng=generator())
    assert (told["n_neighbors"], told["min_dist"], told["n_components"]) == (9, 0.3, 2)
    assert told["random_state"] == found.settings["seed"] and told["init"].shape == (90, 2)
    assert found.names == ("umap_1", "umap_2")
