"""Nouns ↔ HDF5 groups: arrays become datasets, nouns become groups, everything else one attribute of JSON text.

Generic over frozen dataclasses: a noun with a new field needs nothing here. A field that has a default may be missing
in a file: a dipolar that did not know of it wrote that.
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

import h5py
import numpy as np

from dipolar.core.errors import OutputError

_TUPLE = "(tuple)"
"""Marks tuples inside settings, where JSON would make them lists."""
_NAMES = "names of arrays"
"""Marks a group that holds arrays by name."""


def write_noun(group: Any, noun: object) -> None:
    """Write every field of a noun into an HDF5 group."""
    group.attrs["noun"] = np.bytes_(type(noun).__name__)
    for field in fields(noun):  # type: ignore[arg-type]
        _write(group, field.name, getattr(noun, field.name))


def _write(group: Any, name: str, value: object) -> None:
    if isinstance(value, np.ndarray):
        _write_array(group, name, value)
    elif is_dataclass(value):
        write_noun(group.create_group(name), value)
    elif isinstance(value, tuple) and value and all(is_dataclass(item) for item in value):
        row = group.create_group(name)
        for number, item in enumerate(value):
            write_noun(row.create_group(f"{number:04d}"), item)
    elif isinstance(value, Mapping) and any(isinstance(item, np.ndarray) for item in value.values()):
        _write_arrays(group.create_group(name), value)
    else:
        items = list(value) if isinstance(value, tuple) else value
        plain = [_plain(item) for item in items] if isinstance(items, list) else _plain(items)
        # ASCII of fixed length lies inside the checksummed object header, and has no trouble with "\0" in names.
        group.attrs[name] = np.bytes_(json.dumps(plain, ensure_ascii=True).encode("ascii"))


def _write_array(group: Any, name: str, array: np.ndarray) -> None:
    if array.dtype.kind not in "biuf":
        raise OutputError("arrays of numbers can be stored", got=f"{name}: {array.dtype}")
    if array.size == 0 or array.ndim == 0:  # HDF5 filters chunks, and there is none to filter
        group.create_dataset(name, data=array)
    else:
        group.create_dataset(
            name, data=array, chunks=True, compression="gzip", compression_opts=4, shuffle=True, fletcher32=True
        )


def _write_arrays(group: Any, arrays: Mapping[str, Any]) -> None:
    """Write arrays by name; names are attributes, as they may hold what no name of a dataset can."""
    group.attrs[_NAMES] = np.bytes_(json.dumps(list(arrays), ensure_ascii=True).encode("ascii"))
    for number, array in enumerate(arrays.values()):
        _write_array(group, f"{number:04d}", np.asarray(array))


def _plain(value: object) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, tuple):
        return {_TUPLE: [_plain(item) for item in value]}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    raise OutputError("settings are numbers, text, lists and mappings of them", got=f"{type(value).__name__}")


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_TUPLE}:
            return tuple(_restored(item) for item in value[_TUPLE])
        return {key: _restored(item) for key, item in value.items()}
    return [_restored(item) for item in value] if isinstance(value, list) else value


def read_noun(group: Any, kind: type) -> Any:
    """Return the noun of class `kind` that an HDF5 group holds."""
    hints = get_type_hints(kind)
    known = set(group.attrs) | set(group)
    there = [field.name for field in fields(kind) if field.name in known or not _optional(field)]
    return kind(**{name: _read(group, name, hints[name]) for name in there})


def _optional(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def _read(group: Any, name: str, hint: Any) -> Any:
    if name in group.attrs:
        value = _restored(json.loads(bytes(group.attrs[name]).decode("ascii")))
        return tuple(value) if isinstance(value, list) else value
    node = group[name]
    if isinstance(node, h5py.Dataset):
        return node[()] if node.ndim else np.array(node[()])
    if _NAMES in node.attrs:
        names = json.loads(bytes(node.attrs[_NAMES]).decode("ascii"))
        return {key: node[f"{number:04d}"][()] for number, key in enumerate(names)}
    kind = _noun_class(hint)
    if kind is None:
        raise TypeError(f"the file holds a group for {name}, and {hint} is no noun")
    if _is_row(hint):
        return tuple(read_noun(node[number], kind) for number in sorted(node))
    return read_noun(node, kind)


def _noun_class(hint: Any) -> type | None:
    """Return the dataclass inside ``Noun``, ``Noun | None`` or ``tuple[Noun, ...]``."""
    if isinstance(hint, type) and is_dataclass(hint):
        return hint
    found = (_noun_class(part) for part in get_args(hint))
    return next((kind for kind in found if kind is not None), None)


def _is_row(hint: Any) -> bool:
    if get_origin(hint) in (Union, types.UnionType):
        return any(_is_row(part) for part in get_args(hint))
    return get_origin(hint) is tuple
