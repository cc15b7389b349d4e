"""The lines that repeat a result: the command, the Python, and the settings that neither can hold."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from dipolar.core.measurement import Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """How to get the same result again."""

    command: str
    """One line for the shell."""
    python: str
    """The same in Python."""
    toml: str
    """Settings in groups, which no option can hold, to be saved as ``run.toml``; empty where there are none."""


def repeat_lines(measurement: Measurement) -> Repeat:
    """Return the lines that measure, or predict, the same image with the same settings.

    Every setting of the record that is not None is an option of ``dipolar image measure`` and a keyword of
    ``dipolar.measure_image``, or of their sisters. Defaults are spelled out too, as they may change from version to
    version.
    """
    verb = "measure" if measurement.findings.prediction is None else "predict"
    name = next(iter(measurement.record.inputs), measurement.image.name or "IMAGE")
    return lines_of(verb, name, measurement.record.settings)


def lines_of(
    verb: str,
    name: str,
    settings: Mapping[str, Any],
    *,
    noun: str = "image",
    files: Mapping[str, str] | None = None,
) -> Repeat:
    """Return the lines that do the same to a file again.

    Parameters
    ----------
    verb
        What was done, as in ``dipolar image VERB`` and ``dipolar.VERB_image``.
    name
        The file.
    settings
        All settings by name; those that are None are left out.
    noun
        What it was done to: "image" or "scan".
    files
        Other files that were read, each under the name of its option and keyword.
    """
    settings = {**(files or {}), **{key: value for key, value in settings.items() if value is not None}}
    words = ["dipolar", noun, verb, shlex.quote(name)]
    for key, value in settings.items():
        if not isinstance(value, Mapping):
            words += _option(key, value)
    toml = toml_text({key: value for key, value in settings.items() if isinstance(value, Mapping)})
    words += ["--settings", "run.toml"] if toml else []
    keywords = "".join(f"\n    {key}={_literal(value)}," for key, value in settings.items())
    python = f"import dipolar\n\nresult = dipolar.{verb}_{noun}(\n    {_literal(name)},{keywords}\n)"
    return Repeat(command=" ".join(words), python=python, toml=toml)


def _option(key: str, value: Any) -> list[str]:
    option = key.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{option}" if value else f"--no-{option}"]
    if isinstance(value, list | tuple):
        return [f"--{option}", shlex.quote(",".join(map(str, value)))]
    return [f"--{option}", shlex.quote(f"{value:g}" if _short(value) else str(value))]


def _short(value: Any) -> bool:
    """Return whether a float loses nothing in its shorter form, as 396.0 in 396."""
    return isinstance(value, float) and float(f"{value:g}") == value


def _literal(value: Any) -> str:
    """Return Python for a value, strings in double quotes as in the rest of the documents."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def toml_text(settings: Mapping[str, Any]) -> str:
    """Return nested settings as TOML; None, which TOML cannot say, is left out.

    >>> print(toml_text({"seed": 1, "locate": {"profile": "shared"}}))
    seed = 1
    <BLANKLINE>
    [locate]
    profile = "shared"
    """
    blocks: list[str] = []

    def block(part: Mapping[str, Any], path: tuple[str, ...]) -> None:
        plain = {k: v for k, v in part.items() if v is not None and not isinstance(v, Mapping)}
        lines = [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
        if lines:
            blocks.append("\n".join([*([f"[{'.'.join(map(_key, path))}]"] if path else []), *lines]))
        for key, value in part.items():
            if isinstance(value, Mapping):
                block(value, (*path, key))

    block(settings, ())
    return "\n\n".join(blocks)


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else json.dumps(key, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ("nan" if math.isnan(value) else f"{'-' * (value < 0)}inf")
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(one) for one in value if one is not None) + "]"
    if isinstance(value, Mapping):  # within a list
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None) + "}"
    text = value.as_posix() if isinstance(value, PurePath) else str(value)
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
