"""Tables that print row by row, and figures held against their targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

MET, MISSED = "✓", "✗"


@dataclass(frozen=True, kw_only=True)
class Target:
    """The range in which a figure should lie, both ends included."""

    low: float = -math.inf
    high: float = math.inf
    form: str = "{:g}"

    def __str__(self) -> str:
        """Say the range as people write it."""
        if math.isinf(self.low):
            return f"≤ {self.form.format(self.high)}"
        if math.isinf(self.high):
            return f"≥ {self.form.format(self.low)}"
        return f"{self.form.format(self.low)}–{self.form.format(self.high)}"


@dataclass
class Score:
    """Every figure that was held against a target."""

    met: int = 0
    missed: list[str] = field(default_factory=list)

    def judge(self, what: str, values: Sequence[float], target: Target | None, *, form: str = "{:.3f}") -> str:
        """Return the figures with a tick or a cross where there is a target, and remember the verdict.

        Parameters
        ----------
        what
            Names the figure in the list of those missed.
        values
            Each has to lie in the range; nan never does.
        target
            None: only shown.
        form
            How a figure is written.
        """
        text = " ".join(form.format(value) for value in values)
        if target is None:
            return text
        good = all(target.low <= value <= target.high for value in values)
        self.met += good
        if not good:
            self.missed.append(f"{what}: {text}, target {target}")
        return f"{text} {MET if good else MISSED}"

    def close(self) -> None:
        """Print how many targets were met, and each that was not."""
        print(f"\nTargets met: {self.met} of {self.met + len(self.missed)}")
        for line in self.missed:
            print(f"  not met: {line}")
        print(flush=True)


class Table:
    """A table in Markdown that prints each row when it is known."""

    def __init__(self, *headings: str) -> None:
        """Print the headings; columns grow to the right where a row needs it."""
        self.widths = [len(heading) for heading in headings]
        self.row(*headings)
        print("|" + "|".join("-" * (width + 2) for width in self.widths) + "|", flush=True)

    def row(self, *cells: object) -> None:
        """Print one row."""
        texts = [str(cell) for cell in cells]
        self.widths = [max(width, len(text)) for width, text in zip(self.widths, texts, strict=True)]
        padded = (text.ljust(width) for text, width in zip(texts, self.widths, strict=True))
        print("| " + " | ".join(padded) + " |", flush=True)
