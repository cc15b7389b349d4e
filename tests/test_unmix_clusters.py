"""Clusters of a stack of templates are the templates; latents with an angle have no seam."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dipolar.core.errors import DataError, SettingsError
from dipolar.core.unmixing import Stack
from dipolar.unmix import GaussianMixture, KMeans, adjusted_rand, cluster_latent
from unmix_stacks import blobs, stack_of, taken

TEMPLATES = blobs([(7, 7), (3, 3), (11, 4), (5, 11)])
SIZES = (160, 120, 80, 40)
COVARIANCES = ("full", "tied", "diag", "spherical")
WAYS = (KMeans(clusters=4), *(GaussianMixture(clusters=4, covariance=form) for form in COVARIANCES))


def generator(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def templates(*, noise: float = 0.1) -> tuple[Stack, np.ndarray]:
    rng = np.random.default_rng(0)
    label = rng.permutation(np.repeat(np.arange(4), SIZES))
    return stack_of(TEMPLATES[label] + noise * rng.normal(size=(len(label), 15, 15))), label


def name(way: KMeans | GaussianMixture) -> str:
    return f"{way.method}-{getattr(way, 'covariance', '')}"


@pytest.mark.parametrize("way", WAYS, ids=name)
def test_clusters_of_templates_are_the_templates_numbered_by_size(way):
    stack, label = templates()
    found = way.unmix(stack, rng=generator())
    assert adjusted_rand(found.cluster, label) == 1.0
    np.testing.assert_array_equal(found.cluster, label)  # the largest first
    assert np.abs(found.cluster_means[:, 0] - TEMPLATES).max() < 0.1
    np.testing.assert_allclose(found.posterior.sum(axis=1), 1.0)
    np.testing.assert_array_equal(found.posterior.argmax(axis=1), found.cluster)
    assert found.facts["clusters"] == 4 and found.facts["converged"] is True and not found.notes


@pytest.mark.parametrize("way", WAYS, ids=name)
def test_clusters_come_with_the_components_they_were_found_in(way):
    stack, _ = templates()
    found = way.unmix(stack, rng=generator())
    count = found.scores.shape[1]
    assert found.names == tuple(f"pca_{n + 1}" for n in range(count)) and len(found.modes) == count
    assert found.facts["dimensions"] == count
    np.testing.assert_allclose(found.mean, stack.images.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("way", WAYS, ids=name)
def test_equal_seeds_give_equal_results_in_any_order_of_patches(way):
    stack, _ = templates(noise=0.8)
    order = generator().permutation(len(stack.site))
    one, again = way.unmix(stack, rng=generator(1)), way.unmix(stack, rng=generator(1))
    shuffled = way.unmix(taken(stack, order), rng=generator(1))
    np.testing.assert_array_equal(one.posterior, again.posterior)
    np.testing.assert_array_equal(one.cluster[order], shuffled.cluster)
    np.testing.assert_array_equal(one.posterior[order], shuffled.posterior)


@pytest.mark.parametrize("form", COVARIANCES)
def test_the_criterion_finds_the_number(form):
    stack, label = templates()
    found = GaussianMixture(covariance=form, dimensions=3, most=6).unmix(stack, rng=generator())
    (curve,) = found.curves
    assert curve.chosen == 4 and found.facts["clusters"] == 4 and curve.x[int(curve.y[0].argmin())] == 4
    assert curve.lines == (form,) and found.facts["bic"] == curve.y.min()
    assert adjusted_rand(found.cluster, label) == 1.0


def test_a_criterion_that_still_falls_says_so():
    found = GaussianMixture(dimensions=3, most=3).unmix(templates()[0], rng=generator())
    assert found.facts["clusters"] == 3 and "still falls at 3 clusters: raise most=6" in found.notes[0]


def test_few_patches_have_no_shapes_and_say_so():
    stack, _ = templates()
    found = GaussianMixture(dimensions=10).unmix(taken(stack, np.arange(30)), rng=generator())
    assert (
        found.facts["clusters"] == 1 and "30 patches are enough for the shapes of 1 cluster at most" in found.notes[0]
    )


@pytest.mark.parametrize("way", WAYS[:2], ids=name)
def test_more_clusters_than_patches_or_than_differ_are_refused(way):
    few = stack_of(np.random.default_rng(0).normal(size=(5, 8, 8)))
    with pytest.raises(DataError, match=r"(?s)more clusters than patches.*clusters=6, 5 patches.*--clusters 5"):
        replace(way, clusters=6).unmix(few, rng=generator())
    same = stack_of(np.repeat(TEMPLATES[:2], 5, axis=0))
    with pytest.raises(DataError, match=r"(?s)than patches that differ.*2 different patches of 10"):
        replace(way, clusters=3, dimensions=1).unmix(same, rng=generator())
    with pytest.raises(SettingsError, match="clusters is 1 or more"):
        replace(way, clusters=0).unmix(few, rng=generator())
    with pytest.raises(SettingsError, match="At least one dimension"):
        replace(way, dimensions=0).unmix(few, rng=generator())


def test_what_has_not_converged_says_what_to_do():
    stack = stack_of(np.random.default_rng(0).normal(size=(300, 8, 8)))
    found = GaussianMixture(clusters=5, steps=1).unmix(stack, rng=generator())
    assert found.facts["converged"] is False and "raise steps=4" in found.notes[0] and '"tied"' in found.notes[0]
    found = KMeans(clusters=8, steps=1, restarts=1).unmix(stack, rng=generator())
    assert found.facts["converged"] is False and "raise steps=4" in found.notes[0]


def test_an_angle_has_no_seam():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], (150, 100, 50))
    angle = np.array([180.0, 0.0, 90.0])[label] + 8.0 * rng.normal(size=300)
    latent = rng.normal(size=(300, 1))
    wrapped = (angle + 180.0) % 360.0 - 180.0
    found = cluster_latent(latent, wrapped, rng=generator(), clusters=3)
    np.testing.assert_array_equal(found.cluster, label)
    turned = cluster_latent(latent, wrapped + 120.0, rng=generator(), clusters=3)
    np.testing.assert_array_equal(turned.cluster, label)


def test_without_the_angle_clusters_are_those_of_the_latents():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], (200, 100))
    latent = np.stack([4.0 * label + rng.normal(size=300) * 0.3, 100.0 * rng.normal(size=300)], axis=1)
    angle = rng.uniform(-180, 180, size=300)
    np.testing.assert_array_equal(cluster_latent(latent, rng=generator(), clusters=2).cluster, label)
    found = cluster_latent(latent, rng=generator(), most=4)
    assert found.facts["clusters"] == 2 and found.curves[0].chosen == 2
    both = cluster_latent(latent, angle, rng=generator(), clusters=2)
    assert both.centres.shape == (2, 4)


def test_rows_with_nan_belong_to_no_cluster():
    rng = np.random.default_rng(0)
    latent = np.concatenate([rng.normal(size=(30, 2)), 9.0 + rng.normal(size=(20, 2))])
    latent[3, 1] = np.nan
    found = cluster_latent(latent, rng=generator(), clusters=2)
    assert found.cluster[3] == -1 and np.isnan(found.posterior[3]).all()
    assert sorted(np.unique(found.cluster)) == [-1, 0, 1]


def test_nothing_to_cluster_by_is_refused():
    with pytest.raises(DataError, match="nothing does"):
        cluster_latent(np.ones((20, 2)), rng=generator(), clusters=2)
    with pytest.raises(DataError, match="more clusters than patches"):
        cluster_latent(np.random.default_rng(0).normal(size=(3, 2)), rng=generator(), clusters=4)
    with pytest.raises(DataError, match=r"two patches at least(?s:.)*1 without nan"):
        cluster_latent(np.array([[1.0, 2.0], [np.nan, 1.0], [np.nan, 2.0]]), np.zeros(3), rng=generator())


def test_clusters_that_rest_on_few_patches_are_told():
    rng = np.random.default_rng(0)
    groups = rng.normal(size=(4, 3)) * 20
    for each, due in ((4, True), (40, False)):
        latent = np.repeat(groups, each, axis=0) + rng.normal(size=(4 * each, 3))
        found = cluster_latent(latent, rng=np.random.default_rng(1), clusters=4, covariance="spherical")
        assert any("may be chance" in note for note in found.notes) == due
    assert "--clusters 1" in cluster_latent(latent[:16], rng=rng, clusters=4, covariance="spherical").notes[-1]
