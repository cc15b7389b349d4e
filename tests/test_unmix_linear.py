"""PCA, NMF and ICA find what a stack was made of, and say so when they do not."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from dipolar.core.errors import DataError, SettingsError
from dipolar.core.unmixing import Components, Stack
from dipolar.unmix import ICA, NMF, PCA, scree_against_window
from dipolar.unmix.principal import EXACT
from unmix_stacks import blobs, stack_of, taken

WAYS = (PCA(components=2), NMF(components=2, tolerance=1e-6, steps=3000), ICA(components=2))
MODES = blobs([(4, 4), (10, 9)])


def generator(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def mixed(count: int = 300, *, noise: float = 0.0, seed: int = 0) -> tuple[Stack, np.ndarray]:
    """Return patches of two modes that do not overlap, with uniform loadings, the first twice as strong."""
    rng = np.random.default_rng(seed)
    loadings = rng.uniform(0.0, [2.0, 1.0], size=(count, 2))
    loadings[:40] *= rng.permutation(np.repeat([[0, 1], [1, 0]], 20, axis=0))  # pure ones: NMF is unique with those
    images = np.tensordot(loadings, MODES, axes=1) + noise * np.abs(rng.normal(size=(count, 15, 15)))
    return stack_of(images), loadings


def rebuilt(found: Components) -> np.ndarray:
    sum_of_modes = np.tensordot(found.scores, found.modes, axes=1)
    return sum_of_modes if found.mean is None else sum_of_modes + found.mean


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.method)
def test_a_mixture_of_two_modes_is_explained_by_two(way):
    stack, _ = mixed()
    found = way.unmix(stack, rng=generator())
    np.testing.assert_allclose(rebuilt(found), stack.images, atol=5e-3)
    assert found.facts["explained"] == pytest.approx(1.0, abs=1e-4)
    assert found.names == tuple(f"{way.method}_{n}" for n in (1, 2))


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.method)
def test_the_modes_and_their_loadings_are_recovered(way):
    stack, loadings = mixed()
    found = way.unmix(stack, rng=generator())
    for n in range(2):
        assert abs(np.corrcoef(found.modes[n].ravel(), MODES[n].ravel())[0, 1]) > 0.99
        assert abs(np.corrcoef(found.scores[:, n], loadings[:, n])[0, 1]) > 0.99


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.method)
def test_modes_have_length_one_come_strongest_first_and_their_largest_pixel_is_positive(way):
    found = way.unmix(mixed(noise=0.05)[0], rng=generator())
    flat = found.modes.reshape(2, -1)
    np.testing.assert_allclose(np.linalg.norm(flat, axis=1), 1.0, rtol=1e-5)
    assert (flat[[0, 1], np.abs(flat).argmax(axis=1)] > 0).all()
    assert found.strength[0] >= found.strength[1] > 0
    assert found.strength.sum() <= 1.0 + 1e-9  # shares of one thing


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.method)
def test_equal_seeds_give_equal_results_in_any_order_of_patches(way):
    stack, _ = mixed(noise=0.05)
    order = generator().permutation(len(stack.site))
    one, again = way.unmix(stack, rng=generator(1)), way.unmix(stack, rng=generator(1))
    shuffled = way.unmix(taken(stack, order), rng=generator(1))
    np.testing.assert_array_equal(one.scores, again.scores)
    np.testing.assert_array_equal(one.scores[order], shuffled.scores)
    np.testing.assert_array_equal(one.modes, shuffled.modes)
    assert one.settings == again.settings and one.settings["components"] == 2 and "seed" in one.settings


def test_patches_turned_by_a_quarter_have_turned_modes():
    stack = stack_of(np.random.default_rng(0).normal(size=(60, 11, 11)) * np.linspace(2, 1, 11))
    turned = replace(stack, images=np.ascontiguousarray(np.rot90(stack.images, axes=(2, 3))))
    one, other = (PCA(components=4).unmix(s, rng=generator()) for s in (stack, turned))
    np.testing.assert_allclose(np.rot90(one.modes, axes=(2, 3)), other.modes, atol=1e-5)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)


def test_components_of_pca_are_those_of_the_covariance():
    stack = stack_of(np.random.default_rng(0).normal(size=(80, 6, 6)) * np.linspace(3, 1, 6))
    flat = stack.images.reshape(80, -1).astype(float)
    values = np.linalg.eigvalsh(np.cov(flat.T))[::-1]
    found = PCA(components=5).unmix(stack, rng=generator())
    np.testing.assert_allclose(found.strength, values[:5] / values.sum(), rtol=1e-5)
    np.testing.assert_allclose(np.cov(found.scores.T), np.diag(values[:5]), atol=1e-4)
    (scree,) = found.curves
    assert scree.chosen == 5 and scree.y.shape == (1, 20)
    np.testing.assert_allclose(scree.y[0], values[:20] / values.sum(), rtol=1e-5)


def test_large_stacks_are_decomposed_by_chance_with_the_same_result():
    rng = np.random.default_rng(0)
    modes, loadings = rng.normal(size=(6, 26, 26)), rng.normal(size=(3500, 6)) * [9, 7, 5, 4, 3, 2]
    images = np.tensordot(loadings, modes, axes=1) + rng.normal(size=(3500, 26, 26))
    stack = stack_of(images)
    assert stack.images.size * 26**2 > EXACT
    found = PCA(components=6).unmix(stack, rng=generator())
    flat = stack.images.reshape(3500, -1).astype(float)
    values = np.linalg.eigvalsh(np.cov(flat.T))[::-1]
    np.testing.assert_allclose(found.strength, values[:6] / values.sum(), rtol=1e-4)


def test_as_many_components_as_patches_explain_all():
    stack = stack_of(np.random.default_rng(0).normal(size=(5, 6, 6)))
    found = PCA(components=5).unmix(stack, rng=generator())
    np.testing.assert_allclose(rebuilt(found), stack.images, atol=1e-5)


def test_channels_come_back_as_channels():
    images = np.random.default_rng(0).uniform(size=(30, 3, 8, 7))
    stack = stack_of(images, channels=("A", "B", "background"))
    for way in WAYS:
        found = replace(way, components=3).unmix(stack, rng=generator())
        assert found.modes.shape == (3, 3, 8, 7)


def test_more_variance_is_explained_in_smaller_patches():
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(100, 2))
    images = np.tensordot(loadings, blobs([(6, 7), (8, 7)]), axes=1) + 0.1 * rng.normal(size=(100, 15, 15))
    stacks = [stack_of(images[:, n : 15 - n, n : 15 - n]) for n in (0, 2, 4)]
    curve = scree_against_window(stacks, rng=generator(), components=2)
    np.testing.assert_array_equal(curve.x, [7, 11, 15])
    assert curve.lines == ("pca_1", "pca_2", "together")
    assert (np.diff(curve.y[2]) < 0).all()
    np.testing.assert_allclose(curve.y[:2].sum(axis=0), curve.y[2])
    alive: list[weakref.ref[np.ndarray]] = []

    def made() -> Stack:
        new = stack_of(generator(len(alive)).normal(size=(20, 6, 6)))
        alive.append(weakref.ref(new.images))
        return new

    def one_by_one() -> Iterator[Stack]:
        for _ in range(3):
            assert not any(there() is not None for there in alive)  # the one before is gone
            yield made()

    assert scree_against_window(one_by_one(), rng=generator(), components=2).y.shape == (3, 3)
    with pytest.raises(SettingsError, match="needs stacks"):
        scree_against_window([], rng=generator())


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.method)
def test_more_components_than_patches_are_refused(way):
    stack = stack_of(np.random.default_rng(0).uniform(size=(3, 8, 8)))
    with pytest.raises(DataError, match=r"(?s)more components than patches.*components=4, 3 patches.*--components 3"):
        replace(way, components=4).unmix(stack, rng=generator())
    with pytest.raises(SettingsError, match="components is 1 or more"):
        replace(way, components=0).unmix(stack, rng=generator())


def test_more_components_than_pixels_are_refused():
    stack = stack_of(np.random.default_rng(0).uniform(size=(30, 2, 2)))
    with pytest.raises(DataError, match="more components than pixels in a patch"):
        PCA(components=5).unmix(stack, rng=generator())


def test_modes_found_in_some_patches_explain_all_as_well():
    stack, loadings = mixed(noise=0.05)
    some, every = (NMF(components=2, patches=count).unmix(stack, rng=generator()) for count in (100, 300))
    assert some.facts["explained"] == pytest.approx(every.facts["explained"], abs=0.02)
    assert "100 of 300 patches, chosen by chance" in some.notes[0] and not every.notes
    assert all(abs(np.corrcoef(some.scores[:, n], loadings[:, n])[0, 1]) > 0.98 for n in range(2))


def test_negative_patches_are_no_food_for_nmf():
    stack = stack_of(np.random.default_rng(0).normal(size=(30, 8, 8)), normalization="patch")
    with pytest.raises(DataError, match=r'(?s)values down to -.*normalization="patch".*--normalization range'):
        NMF().unmix(stack, rng=generator())


def test_patches_that_differ_in_fewer_ways_than_components_are_no_food_for_ica():
    with pytest.raises(DataError, match=r"(?s)differ in 2 ways.*--components 2"):
        ICA(components=3).unmix(mixed()[0], rng=generator())


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.method)
def test_one_patch_equal_patches_and_nan_are_refused(way):
    ones = np.random.default_rng(0).uniform(size=(1, 8, 8))
    with pytest.raises(DataError, match=r"(?s)two at least.*1 patch\n"):
        way.unmix(stack_of(ones), rng=generator())
    with pytest.raises(DataError, match="all the same"):
        way.unmix(stack_of(np.repeat(ones, 9, axis=0)), rng=generator())
    broken = np.repeat(ones, 9, axis=0)
    broken[3, 2, 2] = np.nan
    with pytest.raises(DataError, match="1 of 9 patches with values that are none"):
        way.unmix(stack_of(broken), rng=generator())


def test_what_has_not_converged_says_what_to_do():
    stack = stack_of(np.random.default_rng(0).uniform(size=(200, 8, 8)))
    nmf = NMF(components=6, steps=3, tolerance=1e-12).unmix(stack, rng=generator())
    ica = ICA(components=6, steps=1, tolerance=1e-12).unmix(stack, rng=generator())
    for found, steps in ((nmf, 12), (ica, 4)):
        assert found.facts["converged"] is False
        assert f"has not converged after {steps // 4} step" in found.notes[0] and f"steps={steps}" in found.notes[0]
    assert NMF(components=2).unmix(mixed()[0], rng=generator()).facts["converged"] is True
