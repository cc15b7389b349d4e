"""What is found can be kept: every noun of findings, edits and material comes back from a file as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import films
from dipolar.core.edits import Addition, Assignment, Edits, EditsRecord, Mask, Removal
from dipolar.core.nouns import Columns, same
from dipolar.io.codec import read_noun, write_noun
from dipolar.measure import (
    antipolar_order,
    build_cells,
    calibrate_scan,
    load_material,
    mistilt_suspicion,
    polarization,
    propose_reference,
    remove_row_jitter,
    tetragonality,
    tetragonality_profile,
)
from dipolar.simulate import FilmSettings, waved


def columns() -> Columns:
    layers = (films.layer("SrTiO3", 0.4), films.layer("BiFeO3", 0.6))
    truth = films.film(FilmSettings(shape_px=(400, 400), layers=layers)).truth_columns
    told = replace(
        truth,
        covariance_px2=np.tile(np.eye(2) * 0.01, (len(truth.flags), 1, 1)),
        row_reach_px=np.full((len(truth.flags), 2), 2.5),
        noise=replace(truth.noise, row_jitter_px=(0.1, 0.1)),
    )
    return waved(told, amplitude_px=0.6, wavevector=(0.25, 0.25), sublattice="A")


def found() -> list[object]:
    told = columns()
    cells = build_cells(told, pixel_size_pm=17.25)
    ratio = tetragonality(cells, told)
    edits = Edits(
        ignore=(Mask(polygon_px=((0.0, 0.0), (0.0, 9.0), (9.0, 9.0)), why="glue"),),
        remove=(Removal(at_px=(1.0, 2.0)),),
        add=(Addition(at_px=(3.0, 4.0), why="seen"),),
        assign=(Assignment(at_px=(5.0, 6.0), sublattice="B", whole_crystal=True),),
        tolerance_px=2.0,
    )
    order = antipolar_order(cells, told)
    assert order.modulation is not None
    return [
        order,
        replace(order, modulation=None),
        propose_reference(cells, told),
        mistilt_suspicion(cells, told),
        ratio,
        tetragonality_profile(cells, told, ratio),
        remove_row_jitter(told)[1],
        calibrate_scan(cells, told, lattice_pm=390.5),
        calibrate_scan(cells, told, lattice_pm=390.5, region=(300, 400, 0, 400)),
        polarization(cells, load_material("bfo")),
        EditsRecord(edits=edits, removed=1, ignored=2, added=1, reassigned=7),
        EditsRecord(edits=Edits(), removed=0, ignored=0, added=0, reassigned=0),
    ]


@pytest.mark.parametrize("noun", found(), ids=lambda noun: type(noun).__name__)
def test_there_and_back_is_identity(noun, tmp_path: Path):
    with h5py.File(tmp_path / "noun.h5", "w") as file:
        write_noun(file.create_group("noun"), noun)
    with h5py.File(tmp_path / "noun.h5") as file:
        assert same(read_noun(file["noun"], type(noun)), noun)
