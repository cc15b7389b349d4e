"""Figures of learning: numbers on paper are those handed over, colours are the wheel's, nothing falls over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

import report_example as example
from dipolar.core.errors import SettingsError
from dipolar.core.flags import Flag
from dipolar.core.learning import Prediction
from dipolar.core.nouns import Cells, Image, take
from dipolar.learn.calibration import coverage, reliability
from dipolar.maps.comparison import compare
from dipolar.report.colour import displacement_colours
from dipolar.report.comparison import comparison_figure
from dipolar.report.dense import COVER, dense_figure, dense_radius
from dipolar.report.inside_sheet import ACROSS, Inside, inside_figure, liveliest
from dipolar.report.reliability import log_ticks, reliability_figure
from dipolar.report.study_figures import cross_study_figure, noise_study_figure
from dipolar.report.style import encode
from dipolar.report.training_curves import training_figure


def words(drawn: Figure) -> str:
    own = [text.get_text() for text in drawn.texts]
    titles = [axes.get_title(loc) for axes in drawn.axes for loc in ("left", "center")]
    return "\n".join([*own, *titles, *(text.get_text() for axes in drawn.axes for text in axes.texts)])


def told(cells: Cells, *, offset_px: float = 0.0) -> Cells:
    """Return the cells as a network would tell them."""
    noise = np.random.default_rng(1).normal(0.0, 0.12, cells.displacement_px.shape)
    return replace(cells, displacement_px=0.95 * cells.displacement_px + noise + offset_px)


def test_measured_predicted_and_error_are_drawn_in_the_colours_of_the_wheels_beside_them():
    measured = example.measurement((5, 6), field=example.two_domains, flagged=0.0)
    found = compare(measured.cells, told(measured.cells, offset_px=0.3))
    drawn = comparison_figure(measured, found, model="net")
    radii = [float(line.split()[3]) for line in words(drawn).splitlines() if line.startswith("full colour at")]
    assert len(radii) == 2 and radii[1] < radii[0]
    panels = (found.measured_px, found.predicted_px, found.error_px)
    for axes, vectors, radius in zip(drawn.axes[:3], panels, (radii[0], radii[0], radii[1]), strict=True):
        (cells,) = [part for part in axes.collections if isinstance(part, PolyCollection)]
        colours = displacement_colours(vectors * example.PIXEL_SIZE_PM, full_radius=radius)
        np.testing.assert_allclose(cells.get_facecolors()[:, :3], colours)
    assert "predicted by net" in words(drawn)


def test_the_table_of_agreement_is_in_the_unit_of_the_page():
    measured = example.measurement((8, 8), flagged=0.0, image=False)
    found = compare(measured.cells, told(measured.cells))
    said = words(comparison_figure(measured, found)).splitlines()
    assert "RMS error (pm)" in said and f"{found.dy.rmse_px * example.PIXEL_SIZE_PM:.2f}" in said
    assert f"{found.dx.r2:.3f}" in said and "64 cells compared" in said
    bare = replace(measured, calibration=replace(measured.calibration, pixel_size_pm=None))
    assert "RMS error (px)" in words(comparison_figure(bare, found))


def test_predicted_stands_above_measured_and_up_is_up():
    """Histograms: the prediction is up the page, and of a displacement up and right as well."""
    up = np.tile([-20.0, 10.0], (36, 1))
    measured = example.measurement((6, 6), displacement_pm=up, sigma_pm=0.01, flagged=0.0, image=False)
    half = replace(measured.cells, displacement_px=0.5 * measured.cells.displacement_px)
    drawn = comparison_figure(measured, compare(measured.cells, half))
    meshes = [(axes, part) for axes in drawn.axes for part in axes.collections if isinstance(part, QuadMesh)][:4]
    for (axes, mesh), (x, y) in zip(meshes, [(10, 5), (-20, -10), (10, -20), (5, -10)], strict=True):
        counts = mesh.get_array().filled(0)
        row, column = np.unravel_index(np.argmax(counts), counts.shape)
        middle = mesh.get_coordinates()[row : row + 2, column : column + 2].mean(axis=(0, 1))
        np.testing.assert_allclose(middle, (x, y), atol=1.1)  # a bin is 2.1 pm wide
        low, high = axes.get_ylim()
        assert (low > high) == (axes in [meshes[2][0], meshes[3][0]])


def test_cells_that_are_not_compared_are_grey():
    measured = example.measurement((6, 6), flagged=0.0, image=False)
    part = take(told(measured.cells), np.arange(20))
    drawn = comparison_figure(measured, compare(measured.cells, part))
    fill = next(p for p in drawn.axes[0].collections if isinstance(p, PolyCollection)).get_facecolors()[:, :3]
    np.testing.assert_array_equal((np.ptp(fill, axis=1) == 0) & (fill[:, 0] < 0.8), np.arange(36) >= 20)
    assert "16 only measured, 0 only predicted" in words(drawn)


def series(factor: float = 1.7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    sigma = np.exp(rng.normal(-2.0, 0.6, (1500, 2)))
    return factor * sigma * rng.normal(size=sigma.shape), sigma


def test_reliability_and_coverage_are_drawn_as_they_are():
    error, sigma = series()
    bins = {"as trained": reliability(error, sigma, 8), "recalibrated": reliability(error, 1.7 * sigma, 8)}
    shares = {"as trained": coverage(error, sigma), "recalibrated": coverage(error, 1.7 * sigma)}
    drawn = reliability_figure(bins, shares, unit="pm", name="net")
    left, right = drawn.axes
    assert left.get_xlim() == left.get_ylim()
    lines = {bar.get_label().split(" (")[0]: bar.lines[0] for bar in left.containers}
    for name, found in bins.items():
        np.testing.assert_allclose(lines[name].get_xdata(), found.sigma)
        np.testing.assert_allclose(lines[name].get_ydata(), found.rms_error)
    for bars, found in zip(right.containers, shares.values(), strict=True):
        np.testing.assert_allclose([bar.get_height() for bar in bars], 100 * np.array(list(found.values())))
    promised = sorted(line.get_ydata()[0] for line in right.lines)
    assert promised == pytest.approx([50.0, 68.0, 90.0])
    assert "pm" in left.get_xlabel() and "as trained (3000 values)" in [t.get_text() for t in left.get_legend().texts]


@pytest.mark.parametrize(
    ("low", "high"), [(1.4, 2.3), (1.75, 1.95), (0.021, 0.034), (0.9, 3.0), (0.5, 40.0), (1.0, 1e4)]
)
def test_labels_of_a_logarithmic_axis_differ(low, high):
    axes = Figure().add_subplot()
    axes.set(yscale="log", ylim=(low, high))
    log_ticks(axes.yaxis)
    axes.figure.canvas.draw()
    shown = [
        label.get_text()
        for value, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
        if low <= value <= high
    ]
    assert 2 <= len(shown) <= 8 and len(set(shown)) == len(shown) and all(shown)


def records(members: int = 1, *, sign: float = 1.0) -> list[dict[str, float]]:
    rate = {"training_loss": 1.5, "learning_rate": 3e-4}
    return [
        {"step": step, "member": member, "loss": sign * (1.0 + (step - 300) ** 2 / 1e5), **rate}
        for member in range(members)
        for step in range(0, 500, 100)
    ]


def test_training_curves_hold_every_record_and_mark_the_least():
    drawn = training_figure([*records(), {"note": "restarted"}], name="net")
    above, below = drawn.axes
    lines = {line.get_label(): line for line in above.lines}
    np.testing.assert_allclose(lines["held out"].get_xdata(), np.arange(0, 500, 100))
    np.testing.assert_allclose(lines["training"].get_ydata(), 1.5)
    assert list(lines["least: 1 at step 300"].get_xdata()) == [300.0]
    assert above.get_yscale() == "log"
    assert "(10⁻⁴)" in below.get_ylabel() and below.lines[0].get_ydata() == pytest.approx(3.0)
    assert above.get_xlim() == below.get_xlim()


def test_negative_losses_and_ensembles_are_drawn_too():
    above, below = training_figure(records(3, sign=-1.0)).axes
    assert above.get_yscale() == "linear"
    assert len(below.lines) == 3
    assert [t.get_text() for t in above.get_legend().texts] == ["held out", "least of each member", "training"]
    assert "no step was recorded" in words(training_figure([{"epoch": 3}]))


def numbers(drawn: Figure, place: int) -> dict[tuple[float, float], str]:
    """Return the words in the fields of a table, by (row, column)."""
    return {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in drawn.axes[place].texts}


def test_the_noise_study_writes_log10_by_window_and_noise():
    mse = np.array([[1e-3, 1e-2, np.nan], [1e-4, 2e-3, 0.1]])
    drawn = noise_study_figure({"C": mse, "NC": 10 * mse}, noise=[0, 0.5, 1], windows_px=[16, 32], name="films")
    one, two = numbers(drawn, 0), numbers(drawn, 1)
    assert one == {(0, 0): "−3.00", (0, 1): "−2.00", (1, 0): "−4.00", (1, 1): "−2.70", (1, 2): "−1.00"}
    assert two[1, 2] == "0.00"
    assert [t.get_text() for t in drawn.axes[0].get_yticklabels()] == ["16", "32"]
    assert [t.get_text() for t in drawn.axes[1].get_xticklabels()] == ["0", "0.5", "1"]
    assert "C patches: centred on cells" in words(drawn) and "NC patches: anywhere" in words(drawn)
    with pytest.raises(SettingsError, match=r"(?s)one row per window.*got:  C: \(2, 3\).*hand over \(2, 2\)"):
        noise_study_figure({"C": mse}, noise=[0, 1], windows_px=[16, 32])


def test_the_cross_study_reads_from_row_to_column():
    error = np.full((13, 13), 0.4)
    error[2, 5] = 0.04
    images = [f"film {number}" for number in range(12)] + ["膜 " + 40 * "long"]
    drawn = cross_study_figure({"C": error, "NC": 2 * error}, images=images)
    assert numbers(drawn, 0)[2, 5] == "0.04" and numbers(drawn, 1)[5, 2] == "0.80"
    axes = drawn.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("applied to", "trained on")
    labels = [t.get_text() for t in axes.get_yticklabels()]
    assert labels[2] == "film 2" and labels[12].startswith("? long") and labels[12].endswith("…")
    with pytest.raises(SettingsError, match="a row and a column for each image"):
        cross_study_figure({"C": error}, images=images[:3])


def maps(count: int, size: int = 12) -> np.ndarray:
    rng = np.random.default_rng(2)
    return (rng.normal(size=(count, size, size)) * (1 + np.arange(count) % 5)[:, None, None]).astype(np.float32)


def test_the_sheet_shows_the_liveliest_channels_by_their_numbers():
    lively = liveliest(maps(20), most=4)
    assert lively == [4, 9, 14, 19]
    inside = Inside(
        image=maps(1)[0],
        maps={"lift": maps(20), "trunk.head": maps(3)},
        preferred={"lift": maps(2)},
        saliency={"dy": maps(1)[0], "dx": maps(1)[0]},
    )
    said = words(inside_figure(inside, name="net")).splitlines()
    assert {"lift", "trunk.head", "20 channels", "a", "b", "c", "image", "dy", "dx"} <= set(said)
    channels = [word for word in said if word.isdigit()]
    assert len(channels) == ACROSS + 3 + 2
    only = words(inside_figure(Inside(image=maps(1)[0], saliency={"dy": maps(1)[0]})))
    assert "where each output looks" in only and "what each layer" not in only
    assert "nothing was looked at" in words(inside_figure(Inside(image=maps(1)[0])))


def prediction(shape: tuple[int, int] = (20, 30), *, step: float = 4.0, hot: bool = True) -> Prediction:
    """Return a displacement up everywhere, with one unfamiliar spot in which it is wild."""
    rows, columns = np.indices(shape)
    vectors = np.tile(np.float32([-1.0, 0.0]), (*shape, 1))
    score = np.full(shape, 0.5) + hot * 2.0 * np.exp(-((rows - 5) ** 2 + (columns - 20) ** 2) / 8)
    vectors[score > 1] = 50.0
    return Prediction(
        model="net",
        sha256="",
        scale=1.0,
        grid_px=(6.0, 8.0, step),
        displacement_px=vectors,
        sigma_px=np.full((*shape, 2), 0.1, np.float32),
        unfamiliar=score.astype(np.float32),
        columns=None,
        columns_grid_px=(0.0, 0.0, 1.0),
        cell_unfamiliar=np.zeros(0),
    )


def plain(shape: tuple[int, int] = (100, 140)) -> Image:
    return Image(data=np.random.default_rng(3).normal(100, 5, shape).astype(np.float32), name="film.dm4")


def test_points_of_the_grid_lie_where_they_belong():
    drawn = dense_figure(plain(), prediction(), pixel_size_pm=20.0)
    left, right, bottom, top = drawn.axes[0].get_images()[1].get_extent()
    assert (left, top) == (8.0 - 2.0, 6.0 - 2.0)
    assert (right, bottom) == (8.0 + 29 * 4 + 2, 6.0 + 19 * 4 + 2)
    low, high = drawn.axes[0].get_ylim()
    assert low > high  # y runs down, as in the image


def test_the_field_is_in_the_colours_of_the_wheel_and_unknown_points_are_clear():
    said = prediction(hot=False)
    said.displacement_px[0, 0] = np.nan
    drawn = dense_figure(plain(), said, pixel_size_pm=20.0)
    rgba = np.asarray(drawn.axes[0].get_images()[1].get_array())
    np.testing.assert_allclose(
        rgba[3, 3, :3], displacement_colours(np.array([[-20.0, 0.0]]), full_radius=20.0)[0], atol=1e-6
    )
    assert (rgba[0, 0, 3], rgba[3, 3, 3]) == (0.0, COVER)
    assert "full colour at 20 pm" in words(drawn)


def test_what_is_unfamiliar_is_outlined_and_has_no_say_in_the_colours():
    said = prediction()
    assert dense_radius(said, 20.0) == 20.0
    drawn = dense_figure(plain(), said, pixel_size_pm=20.0)
    for axes in (axes for axes in drawn.axes if axes.get_title("left")):
        (lines,) = [part for part in axes.collections if isinstance(part, QuadContourSet)]
        (line,) = lines.get_paths()
        np.testing.assert_allclose(line.vertices.mean(axis=0), (8.0 + 20 * 4, 6.0 + 5 * 4), atol=1.0)
    share = 100 * np.mean(said.unfamiliar > 1.0)
    assert f"unlike the training images: {share:.1f} % of the points" in [t.get_text() for t in drawn.legends[0].texts]
    calm = dense_figure(plain(), prediction(hot=False))
    assert not any(isinstance(part, QuadContourSet) for part in calm.axes[0].collections)
    assert "unlike the training images: nothing" in [t.get_text() for t in calm.legends[0].texts]


def nothing_known() -> Figure:
    said = prediction()
    return dense_figure(plain(), replace(said, displacement_px=np.full_like(said.displacement_px, np.nan)))


def no_sigma() -> Figure:
    said = prediction()
    unknown = np.full_like(said.sigma_px, np.nan)
    return dense_figure(plain(), replace(said, sigma_px=unknown, unfamiliar=unknown[..., 0]))


def flagged_everywhere() -> Figure:
    measured = example.measurement((3, 3))
    cells = replace(measured.cells, flags=np.full_like(measured.cells.flags, np.uint32(Flag.ODD_CELL)))
    return comparison_figure(replace(measured, cells=cells), compare(cells, cells))


def alike(count: tuple[int, int], **options: object) -> Figure:
    measured = example.measurement(count, edge_px=14, **options)
    return comparison_figure(measured, compare(measured.cells, measured.cells), model="$\\x_ü 膜 {%$ " + 40 * "long")


HARD: dict[str, Callable[[], Figure]] = {
    "flagged everywhere": flagged_everywhere,
    "two cells": lambda: alike((1, 2), flagged=0.0),
    "wide": lambda: alike((2, 14)),
    "tall, not calibrated": lambda: alike((12, 2), calibrated=False),
    "no errors": lambda: reliability_figure({"x": reliability(np.zeros(0), np.zeros(0))}, {}),
    "one error": lambda: reliability_figure({"x": reliability(np.ones(1), np.ones(1))}, {"x": {0.5: float("nan")}}),
    "errors of zero": lambda: reliability_figure({"x": reliability(np.zeros(9), np.ones(9))}, {"x": {0.5: 1.0}}),
    "one record": lambda: training_figure([{"step": 0, "loss": 0.0}]),
    "losses over decades": lambda: training_figure([{"step": k, "loss": 10.0**-k} for k in range(9)]),
    "one number": lambda: noise_study_figure({"C": np.ones((1, 1))}, noise=[0], windows_px=[16]),
    "no numbers": lambda: noise_study_figure({"C": np.full((1, 1), np.nan)}, noise=[0], windows_px=[16]),
    "one image": lambda: cross_study_figure({"NC": np.ones((1, 1))}, images=["a"]),
    "maps of zero": lambda: inside_figure(Inside(image=maps(1)[0], maps={"x": np.zeros((2, 1, 1), np.float32)})),
    "network silent": nothing_known,
    "network without sigma": no_sigma,
    "one point": lambda: dense_figure(plain(), prediction((1, 1))),
    "wide image": lambda: dense_figure(plain((60, 300)), prediction(), pixel_size_pm=10.0),
    "fine grid": lambda: dense_figure(plain(), prediction((3, 3000), step=0.05)),
}


def test_what_a_network_does_not_tell_is_called_unknown():
    drawn = no_sigma()
    assert "median σ unknown" in words(drawn)
    assert "unlike the training images: unknown" in [t.get_text() for t in drawn.legends[0].texts]


@pytest.mark.parametrize("case", HARD)
def test_no_figure_falls_over_and_each_is_the_same_every_time(case):
    first = encode(HARD[case](), "png")
    assert first.startswith(b"\x89PNG")
    if case in ("one error", "one point"):
        assert encode(HARD[case](), "png") == first
