"""Measurements, components, maps of scans and models to disk, whichever of them is given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dipolar.core.errors import DataError
from dipolar.core.measurement import Measurement
from dipolar.core.scanning import ScanResult, ScanSeries
from dipolar.core.unmixing import Unmixed
from dipolar.io import load as load_result
from dipolar.io import save as save_measurement

if TYPE_CHECKING:
    from dipolar.io.result_file import Result
    from dipolar.learn.patterns import AbstractPatternClassifier
    from dipolar.learn.predictor import Model
    from dipolar.recipes.scan_train import TrainedScan
    from dipolar.recipes.train import TrainedModel


def save(
    result: Measurement
    | Unmixed
    | ScanResult
    | ScanSeries
    | TrainedModel
    | Model
    | TrainedScan
    | AbstractPatternClassifier,
    path: str | Path,
) -> None:
    """Write a measurement, components or a mapped scan as one HDF5 file; or a model as NAME.safetensors with its card.

    A model that was just trained gets its picture and every validation too, as `dipolar image train` writes them. What
    was there is replaced only once what is new is complete.

    Parameters
    ----------
    result
        What `dipolar.measure_image`, `predict_image`, `unmix_image`, `map_scan`, `train_on_image` or `train_on_scan`
        returned, or a model.
    path
        The file; of a model ``NAME`` or ``NAME.safetensors``.

    Raises
    ------
    OutputError
        Where it cannot be written, or something that is not dipolar's would be replaced.
    DataError
        If it is nothing that can be saved.
    """
    if isinstance(result, (Measurement, Unmixed, ScanResult, ScanSeries)):
        save_measurement(result, path)
        return

    from dipolar.learn.pattern_store import save_classifier
    from dipolar.learn.patterns import AbstractPatternClassifier
    from dipolar.learn.predictor import Model  # torch is not needed before
    from dipolar.learn.store import write_model
    from dipolar.recipes.scan_train import TrainedScan, write_classifier
    from dipolar.recipes.train import TrainedModel
    from dipolar.recipes.train_result import check_target, write_trained

    if isinstance(result, TrainedModel):
        write_trained(result, path)
    elif isinstance(result, Model):
        write_model(result, check_target(path))
    elif isinstance(result, TrainedScan):
        write_classifier(result, check_target(path))
    elif isinstance(result, AbstractPatternClassifier):
        save_classifier(result, check_target(path))
    else:
        raise DataError(
            "measurements, components, maps of scans and models can be saved.",
            got=type(result).__name__,
            do="give what a function of dipolar returned: measure_image, unmix_image, map_scan, train_on_image, ...",
        )


def load(path: str | Path) -> Result | Model | AbstractPatternClassifier:
    """Return what `save` or the command line wrote: a measurement, components, a mapped scan, a series, or a model.

    Parameters
    ----------
    path
        A result file, or the folder that holds one; of a model ``NAME``, ``NAME.safetensors`` or ``NAME.json``.

    Raises
    ------
    FormatError
        If it is nothing that dipolar wrote, or of a newer dipolar.
    ChecksumError
        If something in it is not what was written.
    """
    path = Path(path)
    named = not path.exists() and path.with_name(f"{path.name}.safetensors").is_file()
    if not named and path.suffix not in (".safetensors", ".json"):
        return load_result(path)

    from dipolar.learn.model_file import load_model  # torch is not needed before
    from dipolar.learn.pattern_store import load_classifier
    from dipolar.learn.store import read_model

    _, _, card = load_model(path)
    return load_classifier(path) if card.kind.startswith("pattern ") else read_model(path)
