"""Results on disk: load after save is identity, damage is named, folders are whole or absent, tables keep names."""

from __future__ import annotations

import json
import sys
import time
import types
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dipolar.core import nouns
from dipolar.core.errors import ChecksumError, FormatError, MissingExtraError, OutputError
from dipolar.core.measurement import Measurement
from dipolar.core.nouns import Cells, Columns, Image, Record, same
from dipolar.io import (
    load,
    read_cells_csv,
    read_columns_csv,
    result_folder,
    save,
    sha256_of,
    verify,
    write_cells_csv,
    write_columns_csv,
    write_run_json,
)
from dipolar.io.export import to_hyperspy, to_pandas, to_xarray

DESIGN_COLUMNS = (
    "y_px,x_px,y_sigma_px,x_sigma_px,amplitude,background,width_major_px,width_minor_px,width_angle_deg,"
    "sublattice,flags"
)
DESIGN_CELLS = (
    "row,col,y_px,x_px,dy_pm,dx_pm,dy_sigma_pm,dx_sigma_pm,magnitude_pm,angle_deg,a_pm,b_pm,gamma_deg,area_pm2,flags"
)

numbers = st.floats(width=64)
pairs = st.tuples(numbers, numbers)
words = st.text(max_size=8)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=6,
)


def array(dtype: str, *shape: int) -> st.SearchStrategy[np.ndarray]:
    """Return arrays of any bits at all: nan, infinities and subnormals come by themselves, and are cheap to draw."""
    kind = np.dtype(dtype)
    count = int(np.prod(shape)) * kind.itemsize
    return st.binary(min_size=count, max_size=count).map(lambda bits: np.frombuffer(bits, dtype=kind).reshape(shape))


@st.composite
def columns(draw: st.DrawFn, rows: int) -> Columns:
    vector, number = array("f8", rows, 2), array("f8", rows)
    return Columns(
        positions_px=draw(vector),
        covariance_px2=draw(array("f8", rows, 2, 2)),
        amplitude=draw(number),
        amplitude_sigma=draw(number),
        background=draw(number),
        widths_px=draw(vector),
        angle_deg=draw(number),
        sublattice=draw(array("i1", rows)),
        index=draw(array("i4", rows, 2)),
        grain=draw(array("i4", rows)),
        links=draw(array("i4", rows, 8)),
        row_reach_px=draw(vector),
        chi2=draw(number),
        flags=draw(array("u4", rows)),
        noise=nouns.Noise(
            gain=draw(numbers),
            floor=draw(numbers),
            correlation=draw(pairs),
            row_jitter_px=draw(pairs),
            row_jitter_sigma_px=draw(pairs),
        ),
        steps_px=draw(array("f8", 2, 2)),
        profile=draw(array("f8", 2, draw(st.integers(1, 3)), 2)),
    )


@st.composite
def cells(draw: st.DrawFn, rows: int) -> Cells:
    vector, number, whole = array("f8", rows, 2), array("f8", rows), array("i4", rows)
    return Cells(
        row=draw(whole),
        col=draw(whole),
        grain=draw(whole),
        positions_px=draw(vector),
        displacement_px=draw(vector),
        covariance_px2=draw(array("f8", rows, 2, 2)),
        a_px=draw(vector),
        b_px=draw(vector),
        a_sigma_px=draw(number),
        b_sigma_px=draw(number),
        gamma_sigma_deg=draw(number),
        area_sigma_px2=draw(number),
        corners=draw(array("i4", rows, 4)),
        center=draw(whole),
        flags=draw(array("u4", rows)),
        basis=draw(st.sampled_from(["A", "B"])),
        pixel_size_pm=draw(st.none() | numbers),
    )


@st.composite
def measurements(draw: st.DrawFn) -> Measurement:
    rows = draw(st.integers(0, 5))
    facts = st.builds(nouns.Fact, name=words, value=numbers | words, source=words)
    field = st.builds(
        nouns.Field,
        name=words,
        unit=words,
        positions_px=array("f8", rows, 2),
        values=array("f8", rows),
        sigma=array("f8", rows),
    )
    return Measurement(
        image=Image(
            data=draw(array("f4", 3, 4)),
            pixel_size_pm=draw(st.none() | numbers),
            name=draw(words),
            facts=tuple(draw(st.lists(facts, max_size=2))),
            ceiling=draw(st.none() | numbers),
        ),
        columns=draw(columns(rows)),
        cells=draw(cells(rows)),
        fields=tuple(draw(st.lists(field, max_size=2))),
        calibration=nouns.Calibration(
            pixel_size_pm=draw(st.none() | numbers), source=draw(st.sampled_from(["file", "option", "lattice", "none"]))
        ),
        reference=draw(
            st.none()
            | st.builds(
                nouns.Reference,
                region_px=st.tuples(*[st.integers(0, 9000)] * 4),
                cells=st.integers(0, 9),
                offset_px=pairs,
                offset_sigma_px=pairs,
            )
        ),
        gain_check=draw(
            st.none()
            | st.builds(
                nouns.GainCheck,
                gain=pairs,
                gain_sigma=pairs,
                bias_px=pairs,
                zscore_width=pairs,
                cells=st.integers(0, 9),
            )
        ),
        summary=draw(st.dictionaries(words, st.none() | numbers | st.integers() | words, max_size=4)),
        record=Record(
            settings=draw(st.dictionaries(words, plain, max_size=3)),
            versions={"dipolar": "0.1.0"},
            inputs={"film.dm4": "00ff"},
            seeds=draw(st.dictionaries(words, st.integers(0, 2**128), max_size=2)),
            notes=tuple(draw(st.lists(words, max_size=2))),
        ),
    )


def small(rows: int = 30, *, pixel_size_pm: float | None = 16.0, seed: int = 0) -> Measurement:
    """Return a believable measurement of a crystal with square cells of 24 px."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(rows)))
    row, col = (np.arange(rows) // side).astype(np.int32), (np.arange(rows) % side).astype(np.int32)
    centres = 24.0 * np.stack([row, col], axis=1) + 30.0
    covariance = np.broadcast_to(np.diag([0.04, 0.09]), (rows, 2, 2)).copy()
    ones, zeros, flags = np.ones(rows), np.zeros(rows, dtype=np.int32), np.zeros(rows, dtype=np.uint32)
    found = Columns(
        positions_px=centres + rng.normal(size=(rows, 2)),
        covariance_px2=covariance,
        amplitude=100 * ones,
        amplitude_sigma=ones,
        background=10 * ones,
        widths_px=np.full((rows, 2), 3.0),
        angle_deg=0 * ones,
        sublattice=(np.arange(rows) % 3 - 1).astype(np.int8),
        index=np.stack([row, col], axis=1),
        grain=zeros,
        links=np.full((rows, 8), -1, dtype=np.int32),
        row_reach_px=np.ones((len(ones), 2)),
        chi2=np.where(np.arange(rows) == 1, np.nan, 1.0),
        flags=flags,
        noise=nouns.Noise(
            gain=1.0, floor=0.0, correlation=(1.0, 1.0), row_jitter_px=(0.0, 0.1), row_jitter_sigma_px=(0.0, 0.01)
        ),
        steps_px=np.array([[12.0, 12.0], [-12.0, 12.0]]),
        profile=np.ones((2, 1, 2)),
    )
    grid = Cells(
        row=row,
        col=col,
        grain=zeros,
        positions_px=centres,
        displacement_px=rng.normal(size=(rows, 2)),
        covariance_px2=covariance,
        a_px=np.tile([0.0, 24.0], (rows, 1)),
        b_px=np.tile([25.0, 0.0], (rows, 1)),
        a_sigma_px=0.1 * ones,
        b_sigma_px=0.1 * ones,
        gamma_sigma_deg=0.2 * ones,
        area_sigma_px2=3 * ones,
        corners=np.full((rows, 4), -1, dtype=np.int32),
        center=np.arange(rows, dtype=np.int32),
        flags=flags,
        basis="A",
        pixel_size_pm=pixel_size_pm,
    )
    strain = nouns.Field(name="strain_xx", unit="", positions_px=centres, values=0.01 * ones, sigma=0.001 * ones)
    image = Image(data=rng.normal(size=(64, 80)).astype(np.float32), pixel_size_pm=pixel_size_pm, name="film.tif")
    return Measurement(
        image=image,
        columns=found,
        cells=grid,
        fields=(strain,),
        calibration=nouns.Calibration(pixel_size_pm=pixel_size_pm, source="option"),
        reference=None,
        gain_check=None,
        summary={"cells": rows, "median_pm": float("nan")},
        record=Record(settings={"basis": "A"}, versions={"dipolar": "0.1.0"}, inputs={"film.tif": "00"}),
    )


# Where shapes and types are checked while testing, beartype draws list items with `random`, which is not our doing.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(measurement=measurements())
def test_load_after_save_is_identity(tmp_path_factory: pytest.TempPathFactory, measurement: Measurement) -> None:
    path = tmp_path_factory.mktemp("identity") / "result.h5"
    save(measurement, path)
    verify(path)
    assert same(load(path), measurement)


def test_a_second_save_replaces_the_first_and_leaves_nothing_else(tmp_path: Path) -> None:
    save(small(seed=1), tmp_path / "result.h5")
    save(small(seed=2), tmp_path / "result.h5")
    assert same(load(tmp_path / "result.h5"), small(seed=2))
    assert [item.name for item in tmp_path.iterdir()] == ["result.h5"]


def test_every_dataset_is_compressed_and_checksummed(tmp_path: Path) -> None:
    save(small(), tmp_path / "result.h5")
    with h5py.File(tmp_path / "result.h5") as file:
        seen: list[Any] = []
        file.visititems(lambda _, node: seen.append(node) if isinstance(node, h5py.Dataset) else None)
        assert len(seen) > 30
        assert all(node.fletcher32 and node.compression == "gzip" and "sha256" in node.attrs for node in seen)


def test_flipped_bytes_are_found_or_harmless(tmp_path: Path) -> None:
    measurement = small(200)
    save(measurement, tmp_path / "result.h5")
    content = (tmp_path / "result.h5").read_bytes()
    rng = np.random.default_rng(0)
    found = 0
    for place in rng.integers(0, len(content), 120):
        damaged = bytearray(content)
        damaged[place] ^= int(rng.integers(1, 256))
        (tmp_path / "damaged.h5").write_bytes(damaged)
        try:
            verify(tmp_path / "damaged.h5")
        except (ChecksumError, FormatError):
            found += 1
        else:  # padding between the parts of the file
            assert same(load(tmp_path / "damaged.h5"), measurement)
    assert found > 60


def test_verify_names_what_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "result.h5"
    save(small(), path)
    with h5py.File(path, "r+") as file:
        file["columns/amplitude"][3] = 7.0
        file["cells/flags"][0] = 1
    with pytest.raises(ChecksumError, match=r"damaged in cells/flags, columns/amplitude\n"):
        verify(path)
    save(small(), path)
    with h5py.File(path, "r+") as file:
        file["cells"].attrs["pixel_size_pm"] = np.bytes_(b"99.0")
    with pytest.raises(ChecksumError, match="damaged in attributes"):
        verify(path)
    save(small(), path)
    with h5py.File(path, "r+") as file:
        del file["cells/center"]
    with pytest.raises(ChecksumError, match="damaged in attributes"):
        verify(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ChecksumError, match=r"result\.h5"):
        verify(path)


def test_other_files_and_newer_versions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "result.h5"
    for content, words in ((None, "no such file"), (b"text", "is not")):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(FormatError, match=words):
            load(path)
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(FormatError, match="another HDF5 file"):
        verify(path)
    save(small(), path)
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(FormatError, match=r"has version 99\n.*pip install --upgrade dipolar"):
        load(path)
    with pytest.raises(OutputError, match="must be writable"):
        save(small(), tmp_path / "missing" / "result.h5")


def write_result(out: Path, *, note: str = "") -> None:
    with result_folder(out) as folder:
        save(small(), folder / "result.h5")
        (folder / "figures").mkdir()
        (folder / "figures" / "map.svg").write_text(f"<svg>{note}</svg>")
        write_run_json(folder, small().record, extra={"summary": {"median_pm": float("nan"), "cells": np.int64(30)}})


def test_a_result_folder_is_whole_and_verified(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "film.dipolar"
    write_result(out)
    verify(out)
    assert same(load(out), small())
    record = json.loads((out / "run.json").read_text())
    assert record["checksums"]["figures/map.svg"] == sha256_of(out / "figures" / "map.svg")
    assert record["summary"] == {"median_pm": None, "cells": 30} and record["settings"] == {"basis": "A"}
    (out / "figures" / "map.svg").write_text("<svg/>")
    with h5py.File(out / "result.h5", "r+") as file:
        file["cells/flags"][0] = 1
    with pytest.raises(ChecksumError, match=r"figures/map.svg, result.h5 \(cells/flags\)"):
        verify(out)
    (out / "figures" / "map.svg").unlink()
    with pytest.raises(ChecksumError, match=r"figures/map.svg \(missing\)"):
        verify(out)
    (out / "run.json").write_text((out / "run.json").read_text().replace('"basis": "A"', '"basis": "B"'))
    with pytest.raises(ChecksumError, match=r"run\.json"):
        verify(out)


def test_a_failure_leaves_no_trace_and_the_old_result(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), result_folder(tmp_path / "a" / "b" / "film.dipolar") as folder:
        (folder / "half.csv").write_text("1,")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    out = tmp_path / "film.dipolar"
    write_result(out, note="first")
    with pytest.raises(ZeroDivisionError), result_folder(out):
        1 / 0
    verify(out)
    write_result(out, note="second")
    assert "second" in (out / "figures" / "map.svg").read_text()
    assert [item.name for item in tmp_path.iterdir()] == ["film.dipolar"]


def test_what_is_not_a_result_is_never_replaced(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.png").write_bytes(b"meow")
    with pytest.raises(OutputError, match="is no result"), result_folder(photos):
        pass
    (photos / "run.json").write_text('{"by": "another program"}')
    with pytest.raises(OutputError, match="is no result"), result_folder(photos):
        pass
    with pytest.raises(OutputError, match="is a file"), result_folder(photos / "cat.png"):
        pass
    with pytest.raises(OutputError, match="must be writable"), result_folder(photos / "cat.png" / "film.dipolar"):
        pass
    out = tmp_path / "film.dipolar"
    write_result(out)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"also holds notes\.txt"), result_folder(out):
        pass
    assert (photos / "cat.png").read_bytes() == b"meow" and (out / "notes.txt").read_text() == "mine"


def test_tables_keep_their_names_and_values(tmp_path: Path) -> None:
    measurement = small()
    write_columns_csv(measurement.columns, tmp_path / "columns.csv")
    write_cells_csv(measurement.cells, tmp_path / "cells.csv")
    assert (tmp_path / "columns.csv").read_text().startswith(DESIGN_COLUMNS + ",")
    assert (tmp_path / "cells.csv").read_text().startswith(DESIGN_CELLS + ",")
    back = read_columns_csv(tmp_path / "columns.csv")
    np.testing.assert_allclose(back["y_px"], measurement.columns.positions_px[:, 0], rtol=1e-8)
    np.testing.assert_allclose(back["x_sigma_px"], 0.3)
    assert list(back["sublattice"][:3]) == ["?", "A", "B"]
    assert np.isnan(back["chi2"][1]) and back["flags"].dtype == np.int64
    table = read_cells_csv(tmp_path / "cells.csv")
    np.testing.assert_allclose(table["dx_pm"], 16.0 * table["dx_px"], rtol=1e-7)
    np.testing.assert_allclose(table["magnitude_pm"], np.hypot(table["dy_pm"], table["dx_pm"]), rtol=1e-7)
    for name, value in {"a_pm": 384.0, "b_pm": 400.0, "gamma_deg": 90.0, "area_pm2": 153600.0}.items():
        np.testing.assert_allclose(table[name], value)


def test_angles_of_the_table_are_those_on_the_screen(tmp_path: Path) -> None:
    cells = replace(small(4).cells, displacement_px=np.array([[-1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [np.nan, 0.0]]))
    cells = replace(cells, b_px=np.array([[24.0, 24.0], [24.0, -24.0], [24.0, 0.0], [np.nan, 0.0]]))
    write_cells_csv(cells, tmp_path / "cells.csv")
    table = read_cells_csv(tmp_path / "cells.csv")
    np.testing.assert_allclose(table["angle_deg"], [90.0, 0.0, -45.0, np.nan])
    np.testing.assert_allclose(table["gamma_deg"], [45.0, 135.0, 90.0, np.nan])


def test_without_calibration_only_pixels_are_told(tmp_path: Path) -> None:
    write_cells_csv(small(pixel_size_pm=None).cells, tmp_path / "cells.csv")
    table = read_cells_csv(tmp_path / "cells.csv")
    for name, values in table.items():
        if "_pm" in name:
            assert np.isnan(values).all(), name
    np.testing.assert_allclose(table["a_px"], 24.0)
    np.testing.assert_allclose(table["area_px2"], 600.0)
    assert "nan" not in (tmp_path / "cells.csv").read_text()


def test_nothing_found_is_an_empty_table(tmp_path: Path) -> None:
    write_columns_csv(small(0).columns, tmp_path / "columns.csv")
    assert len(read_columns_csv(tmp_path / "columns.csv")["y_px"]) == 0
    assert to_xarray(small(0).cells).sizes == {"row": 0, "col": 0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lacks y_px, x_px"),
        ("y_px,z\n1,2\n", "lacks x_px"),
        ("y_px,x_px\n1\n", "line 2"),
        ("y_px,x_px\n1,b\n", "fields must be numbers"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "columns.csv").write_text(text)
    with pytest.raises(FormatError, match=words):
        read_columns_csv(tmp_path / "columns.csv")


def test_a_large_table_is_written_in_seconds(tmp_path: Path) -> None:
    cells = small(100_000).cells
    start = time.process_time()
    write_cells_csv(cells, tmp_path / "cells.csv")
    assert time.process_time() - start < 3.0  # 1.5 s where nothing else runs; a loop over fields takes 10


def test_exports_agree_with_the_nouns() -> None:
    measurement = small()
    frame = to_pandas(measurement)
    assert list(frame["strain_xx"]) == [0.01] * 30 and list(frame["strain_xx_sigma"]) == [0.001] * 30
    assert len(to_pandas(measurement.columns)) == 30 and "dy_pm" in to_pandas(measurement.cells)
    dataset = to_xarray(replace(measurement.cells, row=measurement.cells.row - 2))
    assert dataset.sizes == {"row": 5, "col": 6}
    cell = dataset.sel(row=1, col=2)
    assert float(cell["dy_px"]) == measurement.cells.displacement_px[3 * 6 + 2, 0]
    assert cell["dy_pm"].attrs["units"] == "pm"


def test_missing_extras_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, call in {
        "pandas": lambda: to_pandas(small().cells),
        "xarray": lambda: to_xarray(small().cells),
        "hyperspy.signals": lambda: to_hyperspy(small().image),
    }.items():
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingExtraError, match=r"pip install dipolar\[export\]"):
            call()


def test_hyperspy_gets_a_copy_in_nm(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    fake = types.ModuleType("hyperspy.signals")
    fake.Signal2D = lambda data, **options: given.update(data=data, **options)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hyperspy", types.ModuleType("hyperspy"))
    monkeypatch.setitem(sys.modules, "hyperspy.signals", fake)
    image = replace(small().image, facts=(nouns.Fact(name="voltage_kv", value=300.0, source="file"),))
    to_hyperspy(image)
    assert [(axis["name"], axis["size"], axis["scale"], axis["units"]) for axis in given["axes"]] == [
        ("y", 64, 0.016, "nm"),
        ("x", 80, 0.016, "nm"),
    ]
    assert given["metadata"]["Acquisition_instrument"]["TEM"]["beam_energy"] == 300.0
    given["data"][0, 0] = -1.0
    assert image.data[0, 0] != -1.0


def test_the_strategies_cover_every_noun() -> None:
    """A new field must not slip past the identity law above; findings have theirs in test_findings_stored."""
    covered = {"image", "columns", "cells", "fields", "calibration", "reference", "gain_check", "summary", "record"}
    covered.add("findings")
    assert {field.name for field in fields(Measurement)} == covered


@pytest.mark.parametrize("said", ["another program", 3, np.array([1, 2])])
def test_hdf5_of_other_programs_is_no_result(tmp_path, said):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["format"] = said
    with pytest.raises(FormatError, match="another HDF5 file"):
        load(tmp_path / "other.h5")
