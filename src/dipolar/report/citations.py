"""What to cite: the methods a measurement stands on and the libraries that did the work."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dipolar.core.measurement import Measurement

Citation = dict[str, str]

METHODS: tuple[Citation, ...] = (
    {
        "key": "smith2010",
        "kind": "article",
        "for": "maximum-likelihood fit with counting statistics, and its Cramér–Rao limit",
        "author": "Smith, Carlas S. and Joseph, Nikolai and Rieger, Bernd and Lidke, Keith A.",
        "title": "Fast, single-molecule localization that achieves theoretically minimum uncertainty",
        "journal": "Nature Methods",
        "year": "2010",
        "volume": "7",
        "pages": "373--375",
        "doi": "10.1038/nmeth.1449",
    },
    {
        "key": "mortensen2010",
        "kind": "article",
        "for": "why the likelihood, not least squares, reaches that limit",
        "author": "Mortensen, Kim I. and Churchman, L. Stirling and Spudich, James A. and Flyvbjerg, Henrik",
        "title": "Optimized localization analysis for single-molecule tracking and super-resolution microscopy",
        "journal": "Nature Methods",
        "year": "2010",
        "volume": "7",
        "pages": "377--381",
        "doi": "10.1038/nmeth.1447",
    },
    {
        "key": "laurence2010",
        "kind": "article",
        "for": "Levenberg–Marquardt for Poisson data",
        "author": "Laurence, Ted A. and Chromy, Brett A.",
        "title": "Efficient maximum likelihood estimator fitting of histograms",
        "journal": "Nature Methods",
        "year": "2010",
        "volume": "7",
        "pages": "338--339",
        "doi": "10.1038/nmeth0510-338",
    },
    {
        "key": "debacker2016",
        "kind": "article",
        "for": "model-based columns in STEM with overlapping neighbours",
        "author": "De Backer, A. and van den Bos, K. H. W. and Van den Broek, W. and Sijbers, J. and Van Aert, S.",
        "title": "StatSTEM: An efficient approach for accurate and precise model-based quantification of atomic "
        "resolution electron microscopy images",
        "journal": "Ultramicroscopy",
        "year": "2016",
        "volume": "171",
        "pages": "104--116",
        "doi": "10.1016/j.ultramic.2016.08.018",
    },
)
"""Of fitted columns."""

NETWORKS: tuple[Citation, ...] = (
    {
        "key": "ziatdinov2017",
        "kind": "article",
        "for": "columns by species from a fully convolutional network",
        "author": "Ziatdinov, Maxim and Dyck, Ondrej and Maksov, Artem and others",
        "title": "Deep Learning of Atomically Resolved Scanning Transmission Electron Microscopy Images: Chemical "
        "Identification and Tracking Local Transformations",
        "journal": "ACS Nano",
        "year": "2017",
        "volume": "11",
        "pages": "12742--12752",
        "doi": "10.1021/acsnano.7b07504",
    },
    {
        "key": "nelson2021",
        "kind": "article",
        "for": "displacement from a network that sees a window of the image",
        "author": "Nelson, Christopher T. and Ghosh, Ayana and Oxley, Mark and Zhang, Xiaohang and Ziatdinov, Maxim "
        "and Takeuchi, Ichiro and Kalinin, Sergei V.",
        "title": "Deep learning ferroelectric polarization distributions from STEM data via with and without atom "
        "finding",
        "journal": "npj Computational Materials",
        "year": "2021",
        "volume": "7",
        "pages": "149",
        "doi": "10.1038/s41524-021-00613-6",
    },
    {
        "key": "cohen2016",
        "kind": "article",
        "for": "networks that turn with the image",
        "author": "Cohen, Taco S. and Welling, Max",
        "title": "Group Equivariant Convolutional Networks",
        "journal": "arXiv:1602.07576",
        "year": "2016",
        "doi": "10.48550/arXiv.1602.07576",
    },
    {
        "key": "lakshminarayanan2017",
        "kind": "article",
        "for": "sigma of an ensemble of networks",
        "author": "Lakshminarayanan, Balaji and Pritzel, Alexander and Blundell, Charles",
        "title": "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles",
        "journal": "arXiv:1612.01474",
        "year": "2017",
        "doi": "10.48550/arXiv.1612.01474",
    },
    {
        "key": "lee2018",
        "kind": "article",
        "for": "what is unlike the training images",
        "author": "Lee, Kimin and Lee, Kibok and Lee, Honglak and Shin, Jinwoo",
        "title": "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks",
        "journal": "arXiv:1807.03888",
        "year": "2018",
        "doi": "10.48550/arXiv.1807.03888",
    },
)
"""Of predictions."""

LOOKS: tuple[Citation, ...] = (
    {
        "key": "kovesi2015",
        "kind": "article",
        "for": "the colour maps",
        "author": "Kovesi, Peter",
        "title": "Good Colour Maps: How to Design Them",
        "journal": "arXiv:1509.03700",
        "year": "2015",
        "doi": "10.48550/arXiv.1509.03700",
    },
)

LIBRARIES: dict[str, Citation] = {
    "numpy": {
        "key": "harris2020",
        "kind": "article",
        "for": "NumPy",
        "author": "Harris, Charles R. and others",
        "title": "Array programming with NumPy",
        "journal": "Nature",
        "year": "2020",
        "volume": "585",
        "pages": "357--362",
        "doi": "10.1038/s41586-020-2649-2",
    },
    "scipy": {
        "key": "virtanen2020",
        "kind": "article",
        "for": "SciPy",
        "author": "Virtanen, Pauli and others",
        "title": "SciPy 1.0: fundamental algorithms for scientific computing in Python",
        "journal": "Nature Methods",
        "year": "2020",
        "volume": "17",
        "pages": "261--272",
        "doi": "10.1038/s41592-019-0686-2",
    },
    "numba": {
        "key": "lam2015",
        "kind": "inproceedings",
        "for": "Numba",
        "author": "Lam, Siu Kwan and Pitrou, Antoine and Seibert, Stanley",
        "title": "Numba: a LLVM-based Python JIT compiler",
        "booktitle": "Proceedings of the Second Workshop on the LLVM Compiler Infrastructure in HPC",
        "year": "2015",
        "doi": "10.1145/2833157.2833162",
    },
    "torch": {
        "key": "paszke2019",
        "kind": "article",
        "for": "PyTorch",
        "author": "Paszke, Adam and others",
        "title": "PyTorch: An Imperative Style, High-Performance Deep Learning Library",
        "journal": "arXiv:1912.01703",
        "year": "2019",
        "doi": "10.48550/arXiv.1912.01703",
    },
    "matplotlib": {
        "key": "hunter2007",
        "kind": "article",
        "for": "Matplotlib",
        "author": "Hunter, John D.",
        "title": "Matplotlib: A 2D graphics environment",
        "journal": "Computing in Science & Engineering",
        "year": "2007",
        "volume": "9",
        "pages": "90--95",
        "doi": "10.1109/MCSE.2007.55",
    },
    "rosettasciio": {
        "key": "rosettasciio",
        "kind": "misc",
        "for": "RosettaSciIO, which reads the microscope's files",
        "author": "{The HyperSpy developers}",
        "title": "RosettaSciIO: reading and writing scientific file formats",
        "url": "https://hyperspy.org/rosettasciio",
    },
}


def citations(measurement: Measurement) -> list[Citation]:
    """Return what a paper that uses this measurement should cite: dipolar, its methods, the libraries it records.

    Matplotlib draws every report and is always among them.
    """
    used = {name.lower() for name in measurement.record.versions} | {"matplotlib"}
    version = measurement.record.versions.get("dipolar", "")
    itself = {
        "key": "dipolar",
        "kind": "software",
        "for": "this program",
        "author": "{The dipolar developers}",
        "title": "dipolar: maps of polar displacement from atomically resolved STEM",
        **({"version": version} if version else {}),
    }
    found = measurement.findings
    fitted = found.fitted is not None or bool(np.isfinite(measurement.columns.widths_px).any())
    methods = [
        *(METHODS if fitted or found.prediction is None else ()),
        *(NETWORKS if found.prediction is not None else ()),
        *LOOKS,
    ]
    return [itself, *methods, *(entry for name, entry in LIBRARIES.items() if name in used)]


def bibtex(entries: Iterable[Citation]) -> str:
    """Return the entries as BibTeX."""
    return "\n\n".join(_bibtex(entry) for entry in entries) + "\n"


def _bibtex(entry: Citation) -> str:
    fields = [f"  {name} = {{{_tex(value)}}}" for name, value in entry.items() if name not in ("key", "kind", "for")]
    return f"@{entry['kind']}{{{entry['key']},\n" + ",\n".join(fields) + "\n}"


def _tex(text: str) -> str:
    return text.replace("&", r"\&").replace("%", r"\%")
