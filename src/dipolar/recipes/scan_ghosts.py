"""Where ghosts can be, as the settings say: the rule that a bank of virtual detectors is made by."""

from __future__ import annotations

from pathlib import Path

from dipolar.core.errors import SettingsError
from dipolar.measure.bank_rules import AbstractRule, Clicked, FromCif, Parity
from dipolar.recipes.parse import parse_zone_axis
from dipolar.recipes.scan_settings import LookSettings, parse_clicks

NEEDS = {"parity": (), "clicks": ("clicks",), "cif": ("parent", "child")}
"""What each choice of ghosts needs to be given."""
BELONGS = {"clicks": ("clicks",), "cif": ("parent", "child", "parent_axis", "child_axis")}
"""Settings that say something only with that choice."""


def rule_for(settings: LookSettings) -> AbstractRule:
    """Return the rule that says where ghosts can be.

    Raises
    ------
    SettingsError
        If something is missing that it needs, or something is given that it does not.
    """
    missing = [name for name in NEEDS[settings.ghosts] if not getattr(settings, name)]
    if missing:
        examples = {"clicks": '--clicks "100,120;156,120"', "cif": "--parent cubic.cif --child orthorhombic.cif"}
        raise SettingsError(
            f"ghosts = {settings.ghosts} needs {' and '.join(NEEDS[settings.ghosts])}.",
            got=f"no {', no '.join(missing)}",
            do=examples[settings.ghosts],
        )
    for choice, names in BELONGS.items():
        idle = [name for name in names if name in settings.changed()]
        if idle and choice != settings.ghosts:
            raise SettingsError(
                f"{idle[0]} says where ghosts are with --ghosts {choice}.",
                got=f"ghosts = {settings.ghosts}",
                do=f"--ghosts {choice}, or leave {idle[0]} out",
            )
    if settings.ghosts == "clicks":
        return Clicked(parse_clicks(settings.clicks or ""))
    if settings.ghosts == "cif":
        return FromCif(
            Path(settings.parent or ""),
            Path(settings.child or ""),
            parse_zone_axis(settings.parent_axis),
            parse_zone_axis(settings.child_axis),
        )
    return Parity()


def check_no_ghosts(settings: LookSettings, *, why: str) -> None:
    """Refuse a choice of ghosts that would have no effect.

    Raises
    ------
    SettingsError
        If one was made.
    """
    names = ("ghosts", *(name for names in BELONGS.values() for name in names))
    chosen = [name for name in names if name in settings.changed()]
    if chosen:
        raise SettingsError(why, got=f"{chosen[0]} = {getattr(settings, chosen[0])}", do=f"leave {chosen[0]} out")
