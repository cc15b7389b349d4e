"""Titles of the figures, and how to read each of them."""

from __future__ import annotations

import numpy as np

from dipolar.core.measurement import Measurement

from .displacement import full_radius
from .scene import unit_of
from .wording import basis_words, number, reference_words, sentence

TITLES = {
    "map": "Polar displacement",
    "polarization": "Polarization",
    "sigma": "Sigma",
    "histogram": "Distribution of the displacements",
    "prediction": "What the network says at every point",
    "comparison": "Predicted beside measured",
    "domains": "Domains and walls",
    "walls": "Profiles of the walls",
    "reference": "Reference region and tilt",
    "tilt": "Tilt of the crystal",
    "order": "Polar, antipolar or modulated",
    "lattice": "Lattice, strain and rotation",
    "layers": "Tetragonality, layer by layer",
    "planes": "Planes of atoms",
    "scan": "The scan, corrected",
    "octahedra": "Columns on all sites",
    "columns": "Columns over the image",
    "anomalies": "Places to look next",
    "gain": "Gain check on this image",
}


def caption(measurement: Measurement, name: str) -> str:
    """Return how to read the figure `name`, in plain text."""
    unit = unit_of(measurement).name
    words = {
        "map": (
            "Each quadrilateral is one unit cell; its colour is the polar displacement, "
            f"{basis_words(measurement.cells.basis)}. Hue is the direction as seen on the screen, counted "
            "counter-clockwise from the right (90° is up); colour deepens from white at zero to its full hue at "
            f"{number(full_radius(measurement))} {unit}, the radius of the wheel, and stays there beyond. Grey cells "
            "are flagged or have no displacement. An arrow is the mean of the cells around it. "
            f"{sentence(reference_words(measurement))} This is a displacement, not a polarization: no charges and "
            f"no factor of a material enter it.{_told_by(measurement)}"
        ),
        "polarization": (
            "The displacement of B in its cage of A times the signed factor of the material named. Hue is the "
            "direction of the polarization on the screen. The error of the factor is the same for every cell, and "
            "apart from sigma; an offset of mistilt or scan that no reference has taken off is in it like any other "
            "displacement."
        ),
        "prediction": (
            "Displacement, one standard error per component and unfamiliarity at every point of the network's grid; "
            "the offset of a reference region, where there is one, is taken off as from the cells. Within the black "
            "lines the image is unlike all that the network was trained on (score above 1, which 2 % of the cells held "
            "out of its training exceed): cells there are flagged. What a point shows is told from the window around "
            "it, so that details smaller than a cell are no measurement."
        ),
        "comparison": (
            "The displacement measured by fitting, the one predicted and their difference, in the cells of the fit. "
            "Histograms: predicted against measured for each component, and both components as measured and as "
            "predicted. The width of error / sigma is below 1 where both err alike, as they look at one image."
        ),
        "domains": (
            "Connected regions of like direction in the colour of their mean displacement, light grey where it is not "
            "told from zero or is within what instruments make. Lines are walls, named by the turn of the displacement "
            "as it is seen: along [100] of a rhombohedral crystal, a 71° and a 109° wall both turn it by 90°. Right: "
            "bound charge, minus the divergence; circles are vortices and triangles antivortices that noise does not "
            "explain."
        ),
        "walls": (
            "The component of the displacement along the difference of the two domains, against the distance from the "
            "wall, with the fitted tanh; the band and the histogram are its posterior, from which width and interval "
            "come. Unequal lengths on both sides are the mark of a tilt or of an offset that was not removed. A wall "
            "narrower than about half a cell gives a bound and no width."
        ),
        "reference": (
            "The largest rectangle in which the displacement is small and the same everywhere, proposed and never "
            "applied; and whether offset and elongation of the columns point along one line, as a tilt of the crystal "
            "would have it."
        ),
        "tilt": (
            "Where the beam leans against the crystal, told by comparing the mean cell of each region (and of each "
            "kind of domain in it) with multislice images of tilted crystals; and the displacement with and without "
            "what that fakes. The error of a tilt is shared by all cells of a region and does not average out in it."
        ),
        "order": (
            "Mean displacement, means with alternating signs (rows, columns, checkerboard) and the strongest wave of a "
            "few cells, each with its sigma; where a wave is significant, the map shows its local amplitude."
        ),
        "layers": (
            "The ratio of the cell's edges, and its mean in every layer with one standard error. With a reference "
            "region all ratios are divided by the one found there, which takes the stretch of the scan out."
        ),
        "planes": (
            "Rotation of the rows of A columns along a and along b against the mean (or the reference region), and "
            "their curvature. Slow shifts of scan rows bend rows of atoms in the same way."
        ),
        "scan": (
            "Shifts of single scan rows that were told from the crystal and taken off the columns, with one standard "
            "error; and the shape of the scan, told from a crystal whose cell is known, before and after."
        ),
        "octahedra": (
            "Columns on every site of the unit cell, fitted together: how far they stand from where their neighbours "
            "say, and the rotation of the oxygen columns about every B column. Sigma of a tilt does not know slow scan "
            "distortion: small patterns of tilts want a second scan, turned by 90°."
        ),
        "anomalies": (
            "Cells whose neighbourhood is unlike the rest of the image, the strangest first: dislocations, vacancies, "
            "poor fits. One such place may be there by chance. Their distances in nm from the middle of the image, to "
            "be added to the position of the stage (along the axes of the scan), are in anomalies.csv."
        ),
        "sigma": (
            "One standard error per component: the square root of the mean of the variances of y and x. Left: of the "
            "displacement of each cell. Right: of the positions of A and B columns and of the displacement, as shares "
            "of their number. What differs by less than a few sigma from its surroundings may be noise."
        ),
        "histogram": (
            "Every unflagged cell by its displacement as it points on the screen: up is up, which is negative dy. "
            "Domains are separate clouds. The ellipse is one standard error of one cell, from the median covariance; "
            "a cloud that is wider holds true variation. The cross is the mean: where domains balance, its distance "
            "from zero may be an instrumental offset."
        ),
        "lattice": (
            "a runs from left to right, b from top to bottom, gamma is the angle between them. Lattice parameters are "
            "centred on their median, strain and rotation on zero; the limits hold 98 % of the cells. Scan drift and "
            "distortion appear here too, as strain that follows the scan direction."
        ),
        "columns": (
            f"{_centres(measurement)} over the image: A columns as vermillion discs, B columns as blue squares, with a "
            "yellow ring where a flag concerns the position. a: the middle of the image; b: where most columns are "
            "flagged, else far from the middle. Where columns stand too close on paper, the overview marks only "
            "flagged ones."
        ),
        "gain": (
            "The image was simulated anew from its own fit, with its own noise, and measured again. Gain is the slope "
            "of the displacement found against the one put in: 1 is true, less means that displacements come out too "
            "small. The width of (found − put in) / sigma is 1 where sigma is honest."
        ),
    }
    return words[name]


def _told_by(measurement: Measurement) -> str:
    said = measurement.findings.prediction
    return "" if said is None else f" It was told by the network {said.model}, not measured by fitting."


def _centres(measurement: Measurement) -> str:
    fitted = bool(np.isfinite(measurement.columns.widths_px).any()) or measurement.findings.prediction is None
    return "Fitted centres" if fitted else "Centres as a network found them,"
