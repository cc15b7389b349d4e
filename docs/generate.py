"""Writes the pages of the docs that come from the code: the command line, the settings, the flags.

Run it with ``make docs``; ``tests/test_docs.py`` fails while a page on disk differs from what it would write.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from cyclopts import App
from rich.console import Console

from dipolar.cli.main import app
from dipolar.core.flags import MEANING
from dipolar.recipes.align_settings import AlignSettings
from dipolar.recipes.inside_settings import InsideSettings
from dipolar.recipes.predict_settings import PredictSettings
from dipolar.recipes.scan_label_settings import LabelSettings, SuggestSettings
from dipolar.recipes.scan_settings import ReadSettings, ScanMapSettings, ScanSeriesSettings, ScanTrainSettings
from dipolar.recipes.scan_settings_simulate import SimulateScanSettings
from dipolar.recipes.settings import MeasureSettings, Settings, SimulateSettings
from dipolar.recipes.study_settings import CrossSettings, LabelsSettings, NoiseSettings
from dipolar.recipes.study_tilt_settings import TiltSettings
from dipolar.recipes.tilt_library_settings import TiltLibrarySettings
from dipolar.recipes.train_settings import TrainSettings
from dipolar.recipes.unmix_settings import UnmixSettings

HERE = Path(__file__).parent
MADE = "<!-- Made by `make docs`; edit the code it comes from. -->"


def commands(of: App, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every command that does something, in order of name."""
    for name in sorted(name for name in of if not name.startswith("-")):
        below = [inner for inner in of[name] if not inner.startswith("-")]
        if below:
            yield from commands(of[name], (*path, name))
        else:
            yield (*path, name)


def help_text(path: tuple[str, ...]) -> str:
    """Return what ``dipolar ... --help`` prints, 100 characters wide."""
    out = io.StringIO()
    app.help_print(list(path), console=Console(file=out, width=100, color_system=None, legacy_windows=False))
    return "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())


def cli_page() -> str:
    """Return the page of the command line."""
    parts = [
        "# The command line",
        MADE,
        "Exit status: 0 done; 1 bad data or settings, with one message; 2 wrong usage; 130 interrupted. With\n"
        "`--json`, one JSON object is on standard output and everything else on standard error. Where there is\n"
        "`--settings`, options that set something can stand in a TOML file, with `_` for `-`; options win over it.",
    ]
    for path in ((), *commands(app)):
        parts += [f"## {' '.join(('dipolar', *path))}", f"```\n{help_text(path)}\n```"]
    return "\n\n".join(parts) + "\n"


def settings_table(model: type[Settings]) -> str:
    """Return a table of every setting of a model: name, default, meaning."""
    rows = ["| setting | default | what it is |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        default = "not given" if field.default is None else f"`{str(field.default).lower()}`"
        default = f"`{field.default}`" if isinstance(field.default, str) else default
        rows.append(f"| `{name}` | {default} | {field.description} |")
    return "\n".join(rows)


def settings_page() -> str:
    """Return the page of settings."""
    parts = [
        "# Settings",
        MADE,
        "## Measuring an image",
        "Options of `dipolar image measure`, keys of `--settings run.toml`, and keywords of `dipolar.measure_image`.",
        settings_table(MeasureSettings),
        "## Predicting an image",
        "Options of `dipolar image predict`, keys of `--settings run.toml`, and keywords of `dipolar.predict_image`.",
        settings_table(PredictSettings),
        "## Training networks",
        "Options of `dipolar image train`, keys of `--settings run.toml`, and keywords of `dipolar.train_on_image`.",
        settings_table(TrainSettings),
        "## Unmixing an image",
        "Options of `dipolar image unmix`, keys of `--settings run.toml`, and keywords of `dipolar.unmix_image`.",
        settings_table(UnmixSettings),
        "## Looking inside a network",
        "Options of `dipolar image inside`.",
        settings_table(InsideSettings),
        "## Studies of networks",
        "Options of `dipolar study noise`, and keys of `--settings run.toml`.",
        settings_table(NoiseSettings),
        "Options of `dipolar study cross`, likewise.",
        settings_table(CrossSettings),
        "Options of `dipolar study labels`, likewise, on 4D-STEM scans.",
        settings_table(LabelsSettings),
        "Options of `dipolar study tilt`, likewise, of a crystal under a tilted beam.",
        settings_table(TiltSettings),
        "## Simulating an image",
        "Options of `dipolar simulate image`, and keywords of `dipolar.simulate_image`.",
        settings_table(SimulateSettings),
        "## Simulating a library of tilt",
        "Options of `dipolar simulate tilt`, and keys of `--settings run.toml`.",
        settings_table(TiltLibrarySettings),
        "## Reading a scan",
        "Options of `dipolar scan info`; all other commands on scans have them too.",
        settings_table(ReadSettings),
        "## Labelling a scan",
        "Options of `dipolar scan suggest`, and keys of `--settings run.toml`.",
        settings_table(SuggestSettings),
        "Options of `dipolar scan label`.",
        settings_table(LabelSettings),
        "## Training on a scan",
        "Options of `dipolar scan train`, keys of `--settings run.toml`, and keywords of `dipolar.train_on_scan`.",
        settings_table(ScanTrainSettings),
        "## Mapping a scan",
        "Options of `dipolar scan map`, keys of `--settings run.toml`, and keywords of `dipolar.map_scan`.",
        settings_table(ScanMapSettings),
        "Options of `dipolar scan series`.",
        settings_table(ScanSeriesSettings),
        "## Simulating a scan",
        "Options of `dipolar simulate scan`, and keywords of `dipolar.simulate_scan`.",
        settings_table(SimulateScanSettings),
        "## Aligning frames",
        "Options of `dipolar image align`, and keywords of `dipolar.align_images`.",
        settings_table(AlignSettings),
    ]
    return "\n\n".join(parts) + "\n"


def flags_page() -> str:
    """Return the page of flags."""
    rows = ["| bit | value | name | meaning |", "|---|---|---|---|"]
    rows += [
        f"| {flag.value.bit_length() - 1} | {flag.value} | `{str(flag.name).lower()}` | {meaning} |"
        for flag, meaning in MEANING.items()
    ]
    head = "The column `flags` of every table is the sum of the values below; 0 means that nothing is wrong."
    return "\n\n".join(["# Flags", MADE, head, "\n".join(rows)]) + "\n"


PAGES = {"cli.md": cli_page, "settings.md": settings_page, "flags.md": flags_page}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (HERE / name).write_text(page(), encoding="utf-8")
        print(HERE / name)


if __name__ == "__main__":
    main()
