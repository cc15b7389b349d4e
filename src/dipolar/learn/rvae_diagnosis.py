"""Whether the angle of an autoencoder means something; the loss does not tell, so figures and a verdict do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int64

from dipolar.core import units
from dipolar.core.circular import resultant
from dipolar.core.information import information_bit

CONSTANT = 0.98
"""An angle has collapsed when its mean is at least so long: a spread of 12° and less."""
ONE_WAY = 0.9
"""Dipoles point one way, and a constant angle is right, when the mean of their directions is at least so long."""
FOLLOWS = 0.6
"""Least share of the variance of the dipole's direction that the angle has to explain."""
CERTAIN = 0.5
"""Least length of the mean of a posterior, over all patches: less is a spread of 67° and more."""
BINS = 12
"""Sectors of the circle in which mutual information is counted."""

FEW_PATCHES = 100
"""With fewer, what is learned may be chance."""
FEW_STEPS = 40
"""A training of fewer steps has to have settled."""
AGREES = 0.3
"""Least correlation of drawn dipoles with measured ones, where there is more to these than their error."""
LEAST_POLAR = 0.05
"""Least share of patches whose dipole is told from zero."""

Verdict = Literal["good", "doubtful", "collapsed", "leaked", "noise"]

REMEDY = {
    "noise": "No direction stands out from the noise: average more (larger windows, a reference region of one domain, "
    "frames aligned and summed), or there is no dipole to be found; do not map this angle.",
    "collapsed": "The angle is the same everywhere although dipoles are not: use {choices}, or more epochs; do not map "
    "this angle.",
    "leaked": "The angle does not follow the dipole, other latents do: use {choices}; where composition or position "
    "vary more than the dipole does, one latent more.",
    "doubtful": "Check the angle against measured displacements before it is used.",
}
"""What to do, by verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What was told to the network, so that no one is told to do what was done, and how long it learned."""

    architecture: str
    """``equivariant`` or ``published``."""
    latents: int
    """Further latents."""
    translation: bool
    """Whether it has offsets."""
    steps: int
    """Of the training; 0 where none was needed."""
    settled: bool
    """Whether the loss had stopped falling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Figures and what follows from them."""

    figures: dict[str, float]
    """By name; nan where unknown."""
    verdict: Verdict
    """Whether the angle means something; if not, why."""
    remedy: str
    """What to do; empty where nothing has to be done."""


def diagnose(
    *,
    angle_deg: Float[np.ndarray, " patch"],
    sigma_deg: Float[np.ndarray, " patch"],
    dipole: Float[np.ndarray, "patch 2"],
    told: Bool[np.ndarray, " patch"],
    measured: Float[np.ndarray, "patch 2"],
    measured_sigma: Float[np.ndarray, "patch 2"],
    rest: Float[np.ndarray, "patch number"],
    evidence: float,
    network: Told,
) -> Diagnosis:
    """Return the verdict on an angle.

    Parameters
    ----------
    angle_deg, sigma_deg
        Angle of each patch, and its circular standard deviation.
    dipole
        Drawn by the decoder.
    told
        Whether it is told from zero.
    measured, measured_sigma
        Displacement that was measured; nan where none was. Where there is enough of it, it is what directions are
        held against, else the drawn dipole is.
    rest
        Further latents and offsets.
    evidence
        By how much a template with a direction is likelier than one without, over what its coefficients cost; nan
        where unknown.
    network
        What was told to it, and how it learned.
    """
    direction, weight, source = _directions(dipole, measured, measured_sigma)
    known = np.isfinite(direction)
    figures = {
        "evidence": evidence,
        "polar_share": float(np.mean(told)),
        "certainty": float(np.mean(np.exp(-0.5 * np.radians(sigma_deg) ** 2))),
        "angle_concentration": abs(resultant(angle_deg)),
        "dipole_concentration": abs(resultant(direction, weight)),
        "dipole_by_angle": np.nan,
        "dipole_by_rest": np.nan,
        "mutual_information_bit": np.nan,
        "dipole_about_angle_deg": np.nan,
        "dipole_agreement": _agreement(dipole, measured, measured_sigma),
        "held_against_measured": float(source == "measured"),
    }
    if known.sum() >= 20:
        turns = _units(direction[known])
        angles = _units(angle_deg[known])
        figures["dipole_by_angle"] = explained(turns, angles, weight[known])
        figures["dipole_by_rest"] = explained(turns, _quadratic(rest[known]), weight[known])
        figures["mutual_information_bit"] = information_bit(_sector(angle_deg[known]), _sector(direction[known]))
        drawn = np.where(told, units.angle_deg(dipole), np.nan)
        figures["dipole_about_angle_deg"] = _about((drawn if np.isfinite(drawn).any() else direction) - angle_deg)
    verdict = _verdict(figures)
    doubts = _doubts(figures, len(angle_deg), readable=bool(np.isfinite(dipole).any()), network=network)
    if verdict == "good" and doubts:
        verdict = "doubtful"
    remedy = _remedy(verdict, doubts, agreement=figures["dipole_agreement"], network=network)
    return Diagnosis(figures={name: float(value) for name, value in figures.items()}, verdict=verdict, remedy=remedy)


def _doubts(figures: dict[str, float], patches: int, *, readable: bool, network: Told) -> list[str]:
    """Return what speaks against an angle that looks good, in sentences."""
    doubts = []
    if patches < FEW_PATCHES:
        doubts.append(f"{patches} patches are few: what is learned from fewer than {FEW_PATCHES} may be chance.")
    if not network.settled and network.steps < FEW_STEPS:
        doubts.append(f"The loss was still falling after {network.steps} steps: more epochs are needed.")
    if np.isnan(figures["dipole_by_angle"]):
        doubts.append("Too few directions are known, measured or drawn, to hold the angle against.")
    elif not readable and np.isnan(figures["evidence"]):
        doubts.append("No dipole can be read in what is drawn.")
    if figures["dipole_concentration"] <= ONE_WAY and figures["dipole_by_rest"] > figures["dipole_by_angle"]:
        doubts.append("Other latents tell more of the dipole's direction than the angle does: it may be composition.")
    if figures["dipole_agreement"] < AGREES:
        doubts.append("Drawn dipoles do not agree with the measured displacements.")
    if figures["polar_share"] < LEAST_POLAR:
        doubts.append("Hardly any drawn dipole is told from zero.")
    return doubts


def _remedy(verdict: Verdict, doubts: list[str], *, agreement: float, network: Told) -> str:
    """Return what speaks against an angle and what to do, without what was done already."""
    if verdict == "good":
        return ""
    choices = [] if network.architecture == "equivariant" else ["architecture 'equivariant'"]
    choices += ["fewer latents"] if network.latents else []
    if verdict == "collapsed" and network.translation:
        choices.append("freedom 'rotation'")
    if verdict == "leaked":
        choices.append("a smaller shift_sigma_px" if network.translation else "freedom 'rotation+translation'")
    words = REMEDY[verdict].format(choices=", ".join(choices) or "larger patches")
    if verdict == "doubtful":
        return " ".join([*doubts, words])
    if verdict == "leaked" and agreement < AGREES:
        return f"{words} Do not map the dipole that is drawn either: it does not agree with the measured displacements."
    return f"{words} Map the dipole that is drawn in its place." if verdict == "leaked" else words


def _agreement(
    dipole: Float[np.ndarray, "patch 2"],
    measured: Float[np.ndarray, "patch 2"],
    sigma: Float[np.ndarray, "patch 2"],
) -> float:
    """Return the correlation of drawn with measured components about zero; nan where these are few or all error."""
    known = np.isfinite(measured).all(axis=1) & np.isfinite(dipole).all(axis=1)
    one, other = dipole[known].ravel(), measured[known].ravel()
    error = np.where(np.isfinite(sigma[known]), sigma[known], 0.0).ravel()
    if known.sum() < 20 or np.sum(other**2) < 2 * np.sum(error**2):
        return float("nan")
    return float(np.sum(one * other) / max(np.sqrt(np.sum(one**2) * np.sum(other**2)), 1e-300))


def _verdict(figures: dict[str, float]) -> Verdict:
    if figures["evidence"] < 1.0 or figures["certainty"] < CERTAIN:
        return "noise"
    one_way = figures["dipole_concentration"] > ONE_WAY
    if figures["angle_concentration"] > CONSTANT and not one_way:
        return "collapsed"
    if not one_way and figures["dipole_by_angle"] < FOLLOWS:
        return "leaked"
    return "good"


def _directions(
    dipole: Float[np.ndarray, "patch 2"],
    measured: Float[np.ndarray, "patch 2"],
    sigma: Float[np.ndarray, "patch 2"],
) -> tuple[Float[np.ndarray, " patch"], Float[np.ndarray, " patch"], str]:
    """Return directions to hold against, by what they count, and where they come from."""
    error = np.where(np.isfinite(sigma), sigma, 0.0)
    sure = np.isfinite(measured).all(axis=1) & (np.linalg.norm(measured, axis=1) > 3 * np.linalg.norm(error, axis=1))
    if sure.sum() >= max(20, 0.2 * len(measured)):
        return np.where(sure, units.angle_deg(measured), np.nan), sure.astype(float), "measured"
    length = np.linalg.norm(dipole, axis=1)
    direction = np.where(length > 0, units.angle_deg(dipole), np.nan)
    return direction, np.where(np.isfinite(length), length, 0.0), "drawn"


def _units(angle_deg: Float[np.ndarray, " patch"]) -> Float[np.ndarray, "patch 2"]:
    angle = np.radians(angle_deg)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _quadratic(rest: Float[np.ndarray, "patch number"]) -> Float[np.ndarray, "patch feature"]:
    spread = rest.std(axis=0)
    scaled = (rest - rest.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    pairs = [scaled[:, i] * scaled[:, j] for i in range(scaled.shape[1]) for j in range(i + 1)]
    return np.concatenate([scaled, *(pair[:, None] for pair in pairs)], axis=1)


def explained(
    values: Float[np.ndarray, "patch value"],
    features: Float[np.ndarray, "patch feature"],
    weight: Float[np.ndarray, " patch"],
) -> float:
    """Return the share of the variance of values that a linear function of features explains, adjusted for chance."""
    root = np.sqrt(weight / max(float(weight.mean()), 1e-300))[:, None]
    design = np.concatenate([np.ones((len(values), 1)), features], axis=1)
    fitted, *_ = np.linalg.lstsq(design * root, values * root, rcond=None)
    left = float((((values - design @ fitted) * root) ** 2).sum())
    mean = (values * root**2).sum(axis=0) / (root**2).sum()
    total = float((((values - mean) * root) ** 2).sum())
    free = max(len(values) - design.shape[1], 1)
    return 1.0 - (left / free) / max(total / max(len(values) - 1, 1), 1e-300)


def _sector(angle_deg: Float[np.ndarray, " patch"]) -> Int64[np.ndarray, " patch"]:
    """Return the sector of the circle in which each angle is."""
    return np.floor(np.mod(angle_deg, 360.0) * BINS / 360.0).astype(np.int64) % BINS


def _about(difference_deg: Float[np.ndarray, " patch"]) -> float:
    """Return the spread of directions about the angle: half the width that holds 68 % of them, from their mean."""
    known = difference_deg[np.isfinite(difference_deg)]
    off = np.degrees(np.angle(np.exp(1j * np.radians(known)) / resultant(known)))
    return float(np.quantile(np.abs(off), 0.6827))
