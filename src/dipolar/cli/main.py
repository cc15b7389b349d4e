"""The ``dipolar`` command: finds the command asked for, runs it, and turns errors into messages and exit statuses."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from dipolar import __version__
from dipolar.cli import demo, show, verify
from dipolar.core.errors import DipolarError

DONE, BAD_DATA, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

app = App(
    name="dipolar",
    help="Maps of polar displacement from atomically resolved STEM images, with an uncertainty on every value.",
    help_format="plaintext",
    version=__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
app.command(demo.demo)
# By name: what they need is imported when one of them is called, and not for --help.
app.command("dipolar.cli.image:app", name="image", help="Measure one atomically resolved image.")
app.command("dipolar.cli.scan:app", name="scan", help="Map domains from a 4D-STEM scan and a few labels.")
app.command("dipolar.cli.simulate:app", name="simulate", help="Make data with its truth beside it.")
app.command("dipolar.cli.study:app", name="study", help="Repeat published studies of networks on films of known truth.")
app.command(verify.verify)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 bad data or settings, 2 wrong usage, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        app(
            arguments,
            exit_on_error=False,
            print_error=False,
            help_on_error=False,
        )
    except CycloptsError as error:
        show.note(f"dipolar: {_usage(error)}\n  do:   {' '.join(('dipolar', *_commands(arguments), '--help'))}")
        return WRONG_USAGE
    except DipolarError as error:
        show.note(f"{type(error).__name__}: {error}")
        if "--json" in arguments:
            kept = {"results": error.results} if error.results else {}
            show.as_json({"status": "error", "error": type(error).__name__, "message": str(error), **kept})
        return BAD_DATA
    except KeyboardInterrupt as error:
        show.note(str(error) or "interrupted; nothing was left half-written")
        return INTERRUPTED
    except Exception as error:
        error.add_note("This is a fault in dipolar: please report the lines above, and the command, to its developers.")
        raise
    return DONE


def _usage(error: CycloptsError) -> str:
    cause = error.__cause__ or error.__context__
    from pydantic import ValidationError

    from dipolar.recipes.settings import offenders

    return offenders(cause, prefix="--") if isinstance(cause, ValidationError) else str(error)


def _commands(arguments: Sequence[str]) -> list[str]:
    """Return the leading words that name a command, for a hint at the right help page."""
    words: list[str] = []
    here = app
    for word in arguments:
        if word.startswith("-") or word not in here:
            break
        words.append(word)
        here = here[word]
    return words
