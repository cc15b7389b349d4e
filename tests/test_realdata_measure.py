"""Real images against the sanity values known for them, with no option but the calibration."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.spatial import cKDTree

import realdata
from dipolar.core.measurement import Measurement
from dipolar.core.units import magnitude
from dipolar.recipes.measure import measure_image

pytestmark = pytest.mark.realdata

FILES: dict[str, tuple[str, float | None]] = {
    "smbfo": ("smbfo_patch/smbfo_patch_256.npy", 396.0),
    "bto": ("bto_dm4/BTO_crystal_1.dm4", 400.0),
    "sto": ("sto_ser/16_STOimage_1.ser", 390.5),
    "layers": ("stemfit_layers/image.tif", None),
    "pto": ("pto_sro_hspy/Cropped_PTO-SRO_Aligned.hspy", 395.0),
    "nsmo": ("nsmo_tif/FigS6_0716__Cryo_NSMO110_5-1Mx_0p5us_1024px_REGISTERED.tif", None),
    "sto_110": ("sto_110_pair/STO_ADF.hdf5", None),
    "cspbbr3": ("cspbbr3_mat/Tutorial_ExampleCsPbBr3.mat", None),
}
"""File, and the lattice parameter that calibrates it."""


@cache
def measured(name: str) -> Measurement:
    file, lattice_pm = FILES[name]
    return measure_image(realdata.path(file), lattice_pm=lattice_pm, gain_check=False)


def trusted(name: str) -> np.ndarray:
    return measured(name).cells.flags == 0


def displacement_pm(name: str) -> np.ndarray:
    cells = measured(name).cells
    return cells.displacement_px * cells.pixel_size_pm


def edges_px(name: str) -> tuple[float, float]:
    cells, good = measured(name).cells, trusted(name)
    return tuple(float(np.median(magnitude(edge[good]))) for edge in (cells.a_px, cells.b_px))


@pytest.mark.parametrize("name", FILES)
def test_every_column_and_cell_stands_on_the_image(name):
    result = measured(name)
    last = np.array(result.image.data.shape) - 0.5
    positions = result.columns.positions_px
    outside = ((positions < -0.5) | (positions > last)).any(axis=1)
    assert not outside.any(), positions[outside]
    assert np.isfinite(result.cells.displacement_px).all()
    assert len(np.unique(result.cells.center)) == len(result.cells.center)
    distance, _ = cKDTree(positions).query(positions, k=2)
    assert distance[:, 1].min() > 0.4 * np.linalg.norm(result.columns.steps_px, axis=1).min()


def test_smbfo_is_displaced_smoothly():
    cells = measured("smbfo").cells
    assert len(cells.flags) >= 55
    assert 25.0 < np.median(magnitude(displacement_pm("smbfo"))) < 40.0
    assert 25.7 <= np.sqrt(np.prod(edges_px("smbfo"))) <= 26.5
    published = np.loadtxt(realdata.path("smbfo_patch/xy_COM_yx_256px.csv"), delimiter=",", skiprows=1)
    centres = published[published[:, 2] == 0, :2]
    found = cKDTree(centres).query(cells.positions_px)[0]
    assert np.median(found) < 2.0  # published to about 1.5 px


def test_bto_is_displaced_more_in_its_lower_half():
    a, b = edges_px("bto")
    assert a == pytest.approx(13.4, abs=0.15) and b == pytest.approx(12.8, abs=0.15)
    size, good = magnitude(displacement_pm("bto")), trusted("bto")
    assert good.sum() > 900
    assert 9.0 < np.median(size[good]) < 20.0
    lower = measured("bto").cells.positions_px[:, 0] > 206
    assert np.median(size[good & lower]) > np.median(size[good & ~lower])


def test_sto_has_a_constant_offset_and_nothing_else():
    d = displacement_pm("sto")[trusted("sto")]
    assert len(d) > 450
    assert 4.0 < np.hypot(*np.median(d, axis=0)) < 12.0
    assert (1.4826 * np.median(np.abs(d - np.median(d, axis=0)), axis=0) < 7.0).all()
    assert measured("sto").calibration.measured_lattice_px == pytest.approx(40.4, abs=0.3)


def matched_within(found_px: np.ndarray, given: np.ndarray, *, start: float, reach_px: float) -> np.ndarray:
    """Return the distance of given positions (any unit) from those found, scale and offset per axis adjusted."""
    scale, offset = np.full(2, start), np.zeros(2)
    tree = cKDTree(found_px)
    for _ in range(30):
        distance, row = tree.query(given * scale + offset)
        near = distance < reach_px
        for axis in (0, 1):
            line = np.polyfit(given[near, axis], found_px[row[near], axis], 1)
            scale[axis], offset[axis] = line
    return tree.query(given * scale + offset)[0]


def test_layers_agree_with_an_independent_program():
    result = measured("layers")
    assert len(result.columns.flags) == pytest.approx(14967, rel=0.01)
    table = np.genfromtxt(realdata.path("stemfit_layers/STEMfit_results.csv"), delimiter=",", skip_header=1)
    starts = np.linspace(35.5, 38.0, 26)  # px per nm; the program's own 27.1 pm/px is 36.9
    found = [
        np.mean(matched_within(result.columns.positions_px, table[:, :2], start=s, reach_px=3.0) < 1.0) for s in starts
    ]
    assert max(found) >= 0.98


def test_the_substrate_of_the_layers_is_null_and_the_film_is_stretched():
    cells, good = measured("layers").cells, trusted("layers")
    assert not measured("layers").summary["cells_ambiguous"]
    y, x = cells.positions_px.T
    bottom = good & (y > 1000) & (x > 100) & (x < 1158)
    assert bottom.sum() > 900
    mean_pm = 27.1 * np.median(cells.displacement_px[bottom], axis=0)
    assert np.hypot(*mean_pm) < 8.0
    a, b = (magnitude(edge) for edge in (cells.a_px, cells.b_px))
    # the scan stretches y and x differently: the substrate is the measure
    ratio = np.median(b[good & (y < 400)] / a[good & (y < 400)]) / np.median(b[bottom] / a[bottom])
    assert 1.015 < ratio < 1.035


def test_pto_columns_are_found_along_the_curved_lattice():
    given = np.load(realdata.path("pto_sro_hspy/atom_positions1.npy"))[:, ::-1]
    result = measured("pto")
    a_columns = result.columns.positions_px[result.columns.sublattice == 0]
    assert np.mean(cKDTree(a_columns).query(given)[0] < 3.0) >= 0.95
    # of the squares of A columns, nine in ten have a B column, and so are cells
    squares = build_squares(given)
    centres = cKDTree(result.cells.positions_px)
    assert np.mean(centres.query(squares)[0] < 6.0) >= 0.9


def build_squares(points: np.ndarray) -> np.ndarray:
    """Return the middle of every square of the given A columns, 24 px from one to the next."""
    tree = cKDTree(points)
    corners = [tree.query(points + step, distance_upper_bound=8.0) for step in np.array([(0, 24), (24, 0), (24, 24)])]
    whole = np.all([np.isfinite(distance) for distance, _ in corners], axis=0)
    return (points[whole] + sum(points[row[whole]] for _, row in corners)) / 4.0


def test_nsmo_is_complete_and_turned():
    result = measured("nsmo")
    assert np.count_nonzero(result.columns.sublattice == 0) == pytest.approx(1824, rel=0.08)
    a, b = edges_px("nsmo")
    assert np.sqrt(a * b) == pytest.approx(21.2, abs=0.2)
    direction = np.degrees(np.arctan2(*np.abs(np.median(result.cells.a_px, axis=0))))
    assert direction == pytest.approx(15.0, abs=2.0)
    spread = 1.4826 * np.median(np.abs(result.cells.displacement_px - np.median(result.cells.displacement_px, axis=0)))
    assert spread * 390.0 / 21.2 < 10.0  # pm


def reduced(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return the lengths of the shortest two vectors of the lattice, the longer first."""
    options = [i * first + j * second for i in range(-2, 3) for j in range(-2, 3) if (i, j) != (0, 0)]
    options.sort(key=lambda v: float(np.hypot(*v)))
    short = options[0]
    other = next(v for v in options if abs(v[0] * short[1] - v[1] * short[0]) > 1e-6)
    return float(np.hypot(*other)), float(np.hypot(*short))


def test_sto_110_has_its_oblong_cell_and_is_null():
    cells, good = measured("sto_110").cells, trusted("sto_110")
    long, short = reduced(np.median(cells.a_px[good], axis=0), np.median(cells.b_px[good], axis=0))
    assert long == pytest.approx(41.5, abs=0.7) and short == pytest.approx(29.4, abs=0.4)
    offset_pm = 9.326 * np.median(cells.displacement_px[good], axis=0)
    assert good.sum() > 500 and np.hypot(*offset_pm) < 5.0


def test_cspbbr3_agrees_with_a_model_of_the_whole_image():
    import scipy.io

    file = realdata.path("cspbbr3_mat/Tutorial_Example3.mat")
    model = scipy.io.loadmat(file, struct_as_record=False, squeeze_me=True)["output"]
    given = model.coordinates[:, ::-1] / 0.3109 - 1.0  # MATLAB counts from 1
    last = np.array(measured("cspbbr3").image.data.shape) - 1
    inside = np.minimum(given, last - given).min(axis=1)
    distance = cKDTree(measured("cspbbr3").columns.positions_px).query(given)[0]
    assert len(given) == 415
    # of the 22 that are not, 21 lie within one A-B distance (12 px) of the image's edge, where the crystal fades and
    # the two models differ by 1 to 3 px; three even stand outside the image in the model of the whole image
    assert np.mean(distance < 1.0) >= 0.94
    assert np.mean(distance[inside > 6.0] < 1.0) >= 0.97
    assert np.mean(distance[inside > 12.0] < 1.0) >= 0.99
    assert np.sqrt(np.mean(distance[distance < 1.0] ** 2) / 2.0) < 0.2  # 6 pm per component, with very few counts
