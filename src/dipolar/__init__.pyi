from .core.domains import Domains
from .core.learning import Patches, Prediction
from .core.measurement import Measurement
from .core.nouns import Cells, Columns, Field, Image
from .core.scanning import Labels, Scan, ScanMap
from .core.unmixing import Components, Unmixed
from .io import open_image, open_scan
from .recipes.align import align_images
from .recipes.keep import load, save
from .recipes.measure import measure_image
from .recipes.predict import predict_image
from .recipes.results import report
from .recipes.scan_map import map_scan
from .recipes.scan_series import follow_scans
from .recipes.scan_train import train_on_scan
from .recipes.simulate import simulate_image
from .recipes.simulate_scan import simulate_scan
from .recipes.train import train_on_image
from .recipes.unmix import unmix_image

__version__: str

__all__ = [
    "Cells",
    "Columns",
    "Components",
    "Domains",
    "Field",
    "Image",
    "Labels",
    "Measurement",
    "Patches",
    "Prediction",
    "Scan",
    "ScanMap",
    "Unmixed",
    "align_images",
    "follow_scans",
    "load",
    "map_scan",
    "measure_image",
    "open_image",
    "open_scan",
    "predict_image",
    "report",
    "save",
    "simulate_image",
    "simulate_scan",
    "train_on_image",
    "train_on_scan",
    "unmix_image",
]
