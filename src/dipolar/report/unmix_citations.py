"""What to cite for a run of unmixing: dipolar, the method, the libraries that did the work."""

from __future__ import annotations

from collections.abc import Mapping

from dipolar.core.unmixing import Method, Unmixed

from .citations import LIBRARIES, LOOKS, Citation


def _article(key: str, what: str, author: str, title: str, **more: str) -> Citation:
    return {"key": key, "kind": "article", "for": what, "author": author, "title": title, **more}


SKLEARN = _article(
    "pedregosa2011",
    "scikit-learn",
    "Pedregosa, Fabian and Varoquaux, Gaël and Gramfort, Alexandre and others",
    "Scikit-learn: Machine Learning in Python",
    journal="Journal of Machine Learning Research",
    year="2011",
    volume="12",
    pages="2825--2830",
    url="https://jmlr.org/papers/v12/pedregosa11a.html",
)
RVAE = _article(
    "kalinin2021",
    "variational autoencoders that set a rotation apart from all else",
    "Kalinin, Sergei V. and Dyck, Ondrej and Jesse, Stephen and Ziatdinov, Maxim",
    "Exploring order parameters and dynamic processes in disordered systems via variational autoencoders",
    journal="Science Advances",
    year="2021",
    volume="7",
    pages="eabd5084",
    doi="10.1126/sciadv.abd5084",
)
METHODS: Mapping[Method, Citation] = {
    "nmf": _article(
        "lee1999",
        "non-negative matrix factorisation",
        "Lee, Daniel D. and Seung, H. Sebastian",
        "Learning the parts of objects by non-negative matrix factorization",
        journal="Nature",
        year="1999",
        volume="401",
        pages="788--791",
        doi="10.1038/44565",
    ),
    "ica": _article(
        "hyvarinen2000",
        "independent components by FastICA",
        "Hyvärinen, Aapo and Oja, Erkki",
        "Independent component analysis: algorithms and applications",
        journal="Neural Networks",
        year="2000",
        volume="13",
        pages="411--430",
        doi="10.1016/S0893-6080(00)00026-5",
    ),
    "gmm": _article(
        "schwarz1978",
        "the number of clusters by the Bayesian information criterion",
        "Schwarz, Gideon",
        "Estimating the dimension of a model",
        journal="The Annals of Statistics",
        year="1978",
        volume="6",
        pages="461--464",
        doi="10.1214/aos/1176344136",
    ),
    "kmeans": _article(
        "lloyd1982",
        "k-means",
        "Lloyd, Stuart P.",
        "Least squares quantization in PCM",
        journal="IEEE Transactions on Information Theory",
        year="1982",
        volume="28",
        pages="129--137",
        doi="10.1109/TIT.1982.1056489",
    ),
    "tsne": _article(
        "vandermaaten2008",
        "t-SNE",
        "van der Maaten, Laurens and Hinton, Geoffrey",
        "Visualizing data using t-SNE",
        journal="Journal of Machine Learning Research",
        year="2008",
        volume="9",
        pages="2579--2605",
        url="https://jmlr.org/papers/v9/vandermaaten08a.html",
    ),
    "mds": _article(
        "kruskal1964",
        "multidimensional scaling",
        "Kruskal, Joseph B.",
        "Multidimensional scaling by optimizing goodness of fit to a nonmetric hypothesis",
        journal="Psychometrika",
        year="1964",
        volume="29",
        pages="1--27",
        doi="10.1007/BF02289565",
    ),
    "isomap": _article(
        "tenenbaum2000",
        "Isomap",
        "Tenenbaum, Joshua B. and de Silva, Vin and Langford, John C.",
        "A Global Geometric Framework for Nonlinear Dimensionality Reduction",
        journal="Science",
        year="2000",
        volume="290",
        pages="2319--2323",
        doi="10.1126/science.290.5500.2319",
    ),
    "umap": _article(
        "mcinnes2018",
        "UMAP",
        "McInnes, Leland and Healy, John and Saul, Nathaniel and Großberger, Lukas",
        "UMAP: Uniform Manifold Approximation and Projection",
        journal="Journal of Open Source Software",
        year="2018",
        volume="3",
        pages="861",
        doi="10.21105/joss.00861",
    ),
    "rvae": RVAE,
}


def unmix_citations(unmixed: Unmixed) -> list[Citation]:
    """Return what a paper that uses this result should cite: dipolar, the method, the libraries it records."""
    used = {name.lower() for name in unmixed.record.versions} | {"matplotlib"}
    version = unmixed.record.versions.get("dipolar", "")
    itself: Citation = {
        "key": "dipolar",
        "kind": "software",
        "for": "this program",
        "author": "{The dipolar developers}",
        "title": "dipolar: maps of polar displacement from atomically resolved STEM",
        **({"version": version} if version else {}),
    }
    method = unmixed.components.method
    methods = [METHODS[method]] if method in METHODS else []
    sklearn = [SKLEARN] if "scikit-learn" in used and method != "rvae" else []
    return [itself, *methods, *sklearn, *LOOKS, *(entry for name, entry in LIBRARIES.items() if name in used)]
