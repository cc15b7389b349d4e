"""``dipolar demo``: one simulated film, measured end to end, and held against its truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dipolar.cli import show


def demo(*, out: Path = Path("demo.dipolar"), json: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Simulate a BiFeO3 film on SrTiO3 with a domain wall, measure it, and say how near the truth that comes.

    Parameters
    ----------
    out
        Folder for the film, its truth and the result, written whole or not at all.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    from dipolar.cli.image import report
    from dipolar.recipes.demo import run_demo

    with show.progress_bars() as progress:
        measurement, truth = run_demo(out, progress=progress)
    if not json:
        show.line(
            f"against the truth: error {truth['rmse_pm']:.2f} pm per component, gain {truth['gain']:.3f}, "
            f"{100 * truth['within_one_sigma']:.1f} % within one sigma (68.3 % is honest)"
        )
    report(measurement, out, json=json, extra={"truth": truth})
