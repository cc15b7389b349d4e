"""Maps of polar displacement from atomically resolved STEM images, with an honest uncertainty on every value.

Every name below is imported when it is first used; ``__init__.pyi`` lists them.
"""

import sys
from types import ModuleType

import lazy_loader

__version__ = "0.1.0"


class _Door(ModuleType):
    """This package: `dipolar.report` stays the function when the folder of the same name is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if name != "report" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Door
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
