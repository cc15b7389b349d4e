"""What `import dipolar` and `dipolar --help` take: the least of several fresh processes, CPU and wall clock.

The interpreter's own start is measured too and taken off the import; `--help` is what a user waits for, start included.
Neither may import numpy or torch.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

from harness.machine import announce
from harness.process import Cost
from harness.table import Score, Table, Target

IMPORT_S, HELP_S = Target(high=0.10, form="{:.2f}"), Target(high=0.40, form="{:.2f}")
HEAVY = ("numpy", "scipy", "numba", "matplotlib", "torch")


def fresh(command: list[str], *, repeats: int) -> Cost:
    """Return the least CPU and the least wall clock of several runs."""
    runs = []
    for _ in range(repeats):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        runs.append(Cost(cpu_s=cpu, wall_s=wall))
    return Cost(cpu_s=min(run.cpu_s for run in runs), wall_s=min(run.wall_s for run in runs))


def heavy_after(statement: str) -> str:
    """Return which heavy libraries are loaded after a statement ran in a fresh process."""
    code = f"import sys\n{statement}\nprint(*(n for n in {HEAVY!r} if n in sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stderr.strip() or "none"


def command_line() -> list[str]:
    """Return the command `dipolar`, as installed beside this interpreter, else as a module."""
    script = Path(sys.executable).with_name("dipolar")
    return [str(script)] if script.exists() else [sys.executable, "-m", "dipolar"]


def main() -> None:
    """Print both, beside the bare interpreter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="fresh processes for each figure (default 5)")
    options = parser.parse_args()
    announce()
    score = Score()
    table = Table("what".ljust(28), "CPU s", f"wall s (import {IMPORT_S}, help {HELP_S})", "heavy libraries loaded")
    bare = fresh([sys.executable, "-c", "pass"], repeats=options.repeats)
    table.row("python alone", f"{bare.cpu_s:.3f}", f"{bare.wall_s:.3f}", "")
    whole = fresh([sys.executable, "-c", "import dipolar"], repeats=options.repeats)
    wall = score.judge("import dipolar, wall s", [whole.wall_s - bare.wall_s], IMPORT_S)
    loaded = heavy_after("import dipolar")
    table.row("import dipolar, start taken off", f"{whole.cpu_s - bare.cpu_s:.3f}", wall, loaded)
    shown = fresh([*command_line(), "--help"], repeats=options.repeats)
    wall = score.judge("dipolar --help, wall s", [shown.wall_s], HELP_S)
    loaded = heavy_after("from dipolar.cli.main import main\nmain(['--help'])")
    table.row("dipolar --help, start included", f"{shown.cpu_s:.3f}", wall, loaded)
    score.close()


if __name__ == "__main__":
    main()
