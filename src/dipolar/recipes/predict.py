"""From an image and two networks to a measurement: columns found, displacement told with sigma and familiarity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.comparison import Comparison
from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import SettingsError
from dipolar.core.learning import Prediction
from dipolar.core.measurement import Fitted, Measurement
from dipolar.core.nouns import Cells, Columns, GainCheck, Image
from dipolar.learn.predictor import Model
from dipolar.maps.comparison import compare, places
from dipolar.measure import build_cells, reference_offset, subtract_reference
from dipolar.recipes.gain_check import check_gain
from dipolar.recipes.measure import SEED, Found, conclude, open_or_take
from dipolar.recipes.models import open_model
from dipolar.recipes.network_says import network_notes, prediction_of
from dipolar.recipes.networks import Networks, View, find, focus, look, tell
from dipolar.recipes.plan import Plan, prepare
from dipolar.recipes.predict_settings import PredictSettings
from dipolar.recipes.record import Clock, versions
from dipolar.recipes.settings import change
from dipolar.recipes.train import TrainedModel

UNSAVED = "just-trained"
"""Name of a model that was trained and not yet saved."""


def predict_image(
    image: str | Path | Image,
    *,
    model: str | Path | Model | TrainedModel | None = None,
    finder: str | Path | Model | TrainedModel | None = None,
    settings: PredictSettings | None = None,
    progress: Progress = silent,
    **changes: Any,
) -> Measurement:
    """Return columns, cells and displacement of one image as networks tell them, with sigma and familiarity.

    One network finds the columns, by species; they are put on their lattice and make the cells. The other tells the
    displacement, with its sigma, at every fourth pixel and at every cell. Cells in surroundings that are unlike all
    that it was trained on are flagged. All else follows as in `measure_image`.

    Parameters
    ----------
    image
        A file, or an image already open.
    model
        The network that tells displacement: a file, a model already open, or what `dipolar.train_on_image` returned;
        None: the one that dipolar brings along.
    finder
        The network that finds columns, likewise.
    settings
        How to predict; None takes the defaults.
    progress
        Told how far each step has come.
    **changes
        Settings to change by name, for example ``lattice_pm=396.0, compare=True``.

    Raises
    ------
    FormatError, SelectionError, ChecksumError
        If the file cannot be read as one image, or a model not as a whole one.
    ImageError, NoLatticeError
        If no lattice or no columns can be found, or networks cannot see such an image.
    SettingsError
        If a setting is unknown or not allowed.
    """
    model, finder = _untied(model), _untied(finder)
    settings = change(settings or PredictSettings(), {**changes, **_named(model=model, finder=finder)})
    _check_basis(settings)
    clock = Clock(progress)
    with clock("opening the image and the networks"):
        opened, inputs = open_or_take(image, settings.measuring)
        plan = prepare(settings.measuring, opened)
        networks = Networks(
            finder=open_model(settings.finder if finder is None else finder, "finder"),
            regressor=open_model(settings.model if model is None else model, "regressor"),
        )
    with clock("finding the lattice"):
        view = look(opened, contrast=settings.contrast)
    with clock("finding columns", announce=False):
        columns, probability = find(networks.finder, view, refine=settings.refine, progress=progress)
        first, view = view.seen, focus(view, columns)
    with clock("predicting", announce=False):
        built = build_cells(columns)
        cells, said = tell(networks.regressor, view, built, progress=progress)

    def again(twin: Image) -> tuple[Columns, Cells]:
        return networks.again(twin, contrast=settings.contrast)

    def check() -> GainCheck | None:
        return check_gain(opened, columns, built, again, rng=np.random.default_rng(SEED))

    found = Found(
        image=opened, inputs={**inputs, **plan.inputs, **networks.sums}, columns=columns, cells=cells,
        material=plan.material, fitted=settings.refine,
    )  # fmt: skip
    measurement = conclude(found, settings.measuring, clock, check=check)
    fitted, comparison = None, None
    if settings.compare:
        with clock("measuring by fitting", announce=False):
            fitted = _fitted(plan, opened, measurement, progress)
        comparison = compare(fitted.cells, measurement.cells)
    prediction = prediction_of(
        networks.regressor, view, said, first, probability, measurement.cells, comparison, measurement.reference
    )
    return _with(measurement, settings, networks, view, prediction, fitted, comparison)


def _fitted(plan: Plan, image: Image, measurement: Measurement, progress: Progress) -> Fitted:
    """Return the image measured by fitting columns, with the same reference and pixel size."""
    columns, _ = plan.locate(image, progress)
    cells = build_cells(columns, pixel_size_pm=measurement.cells.pixel_size_pm)
    if plan.settings.region_px is not None:
        cells = subtract_reference(cells, reference_offset(cells, columns, plan.settings.region_px))
    return Fitted(columns=columns, cells=cells)


def _with(
    measurement: Measurement,
    settings: PredictSettings,
    networks: Networks,
    view: View,
    prediction: Prediction,
    fitted: Fitted | None,
    comparison: Comparison | None,
) -> Measurement:
    """Return the measurement with what the networks said, and with what made it."""
    maps, record = measurement.findings.maps, measurement.record
    look_next = places(
        measurement.cells,
        unfamiliar=prediction.cell_unfamiliar,
        anomalies=None if maps is None else maps.anomalies,
        pixel_size_pm=measurement.cells.pixel_size_pm,
    )
    findings = replace(
        measurement.findings,
        prediction=prediction,
        cards=(networks.regressor.card, networks.finder.card),
        places=look_next,
        fitted=fitted,
        comparison=comparison,
    )
    walls = 0 if maps is None else len(maps.walls)
    told = network_notes(networks, view, prediction, refined=settings.refine, walls=walls)
    return replace(
        measurement,
        findings=findings,
        summary={**measurement.summary, "cells_unfamiliar": int(np.count_nonzero(prediction.flagged))},
        record=replace(
            record,
            settings=settings.model_dump(),
            versions=versions(networks=True),
            notes=(*told, *record.notes),
        ),
    )


def _untied(model: str | Path | Model | TrainedModel | None) -> str | Path | Model | None:
    """Return the model of a training, which has no name before it is saved; all else as it is."""
    if not isinstance(model, TrainedModel):
        return model
    return replace(model.model, name=model.model.name or UNSAVED)


def _named(**models: str | Path | Model | None) -> Mapping[str, str]:
    """Return models as settings have them: by path, or by name where they are open."""
    return {
        option: model.name if isinstance(model, Model) else str(model)
        for option, model in models.items()
        if model is not None
    }


def _check_basis(settings: PredictSettings) -> None:
    if settings.basis != "A":
        raise SettingsError(
            "networks tell the displacement of B in its cage of A (basis A), not that of A in its cage of B.",
            got=f"basis {settings.basis}",
            do="leave --basis out, or measure by fitting: dipolar image measure --basis B",
        )
