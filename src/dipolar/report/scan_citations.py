"""What to cite for a mapped scan: dipolar, the methods it stands on, and the libraries that did the work."""

from __future__ import annotations

from dipolar.core.scanning import ScanResult

from .citations import LIBRARIES, LOOKS, Citation

OPHUS: Citation = {
    "key": "ophus2019",
    "kind": "article",
    "for": "scanning diffraction: virtual detectors and what else is in a 4D-STEM scan",
    "author": "Ophus, Colin",
    "title": "Four-Dimensional Scanning Transmission Electron Microscopy (4D-STEM): From Scanning Nanodiffraction to "
    "Ptychography and Beyond",
    "journal": "Microscopy and Microanalysis",
    "year": "2019",
    "volume": "25",
    "pages": "563--582",
    "doi": "10.1017/S1431927619000497",
}
CALIBRATION: Citation = {
    "key": "guo2017",
    "kind": "inproceedings",
    "for": "probabilities that hold, and their expected calibration error",
    "author": "Guo, Chuan and Pleiss, Geoff and Sun, Yu and Weinberger, Kilian Q.",
    "title": "On Calibration of Modern Neural Networks",
    "booktitle": "Proceedings of the 34th International Conference on Machine Learning",
    "year": "2017",
    "url": "https://proceedings.mlr.press/v70/guo17a.html",
}
CONTOURS: Citation = {
    "key": "lorensen1987",
    "kind": "article",
    "for": "walls between probe positions, by marching squares",
    "author": "Lorensen, William E. and Cline, Harvey E.",
    "title": "Marching cubes: A high resolution 3D surface construction algorithm",
    "journal": "ACM SIGGRAPH Computer Graphics",
    "year": "1987",
    "volume": "21",
    "pages": "163--169",
    "doi": "10.1145/37402.37422",
}
LIBERTEM: Citation = {
    "key": "clausen2020",
    "kind": "article",
    "for": "reading and spreading the work by LiberTEM",
    "author": "Clausen, Alexander and Weber, Dieter and Ruzaeva, Karina and others",
    "title": "LiberTEM: Software platform for scalable multidimensional data processing in transmission electron "
    "microscopy",
    "journal": "Journal of Open Source Software",
    "year": "2020",
    "volume": "5",
    "pages": "2006",
    "doi": "10.21105/joss.02006",
}


def scan_citations(result: ScanResult) -> list[Citation]:
    """Return what a paper that uses this map should cite."""
    used = {name.lower() for name in result.record.versions} | {"matplotlib"}
    version = result.record.versions.get("dipolar", "")
    itself: Citation = {
        "key": "dipolar",
        "kind": "software",
        "for": "this program",
        "author": "{The dipolar developers}",
        "title": "dipolar: maps of domains from 4D-STEM, and of polar displacement from atomically resolved STEM",
        **({"version": version} if version else {}),
    }
    methods = [OPHUS, CALIBRATION, *([CONTOURS] if result.domains.walls else [])]
    others = [LIBERTEM] if "libertem" in used else []
    return [itself, *methods, *others, *LOOKS, *(entry for name, entry in LIBRARIES.items() if name in used)]
