"""The house: what `import dipolar` offers and weighs, and where things may import from."""

from __future__ import annotations

import ast
import importlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import dipolar
from dipolar.core import errors
from dipolar.core.flags import MEANING, Flag, names

PACKAGE = Path(dipolar.__file__).parent
HEAVY = ("numpy", "torch", "scipy", "numba", "matplotlib", "h5py")
EAGER = os.environ.get("EAGER_IMPORT", "0") not in ("", "0")


LAZY = {key: value for key, value in os.environ.items() if key != "EAGER_IMPORT"}


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=LAZY)
    return done.stdout.strip()


def test_all_is_what_is_exported():
    assert dipolar.__all__ == sorted(dipolar.__all__)
    for name in dipolar.__all__:
        assert getattr(dipolar, name).__module__.startswith("dipolar."), name
    assert set(dipolar.__all__) <= set(dir(dipolar))


def test_the_stub_lists_the_same_names():
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    listed = next(n for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "__all__")
    assert ast.literal_eval(listed.value) == dipolar.__all__


def test_torch_lives_where_networks_live():
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] in ("torch", "safetensors") for name in named):
                found.add(path.relative_to(PACKAGE).parts[0])
    assert found <= {"learn", "run", "simulate"}


def test_every_public_name_has_a_docstring():
    for name in dipolar.__all__:
        assert getattr(dipolar, name).__doc__, name


def test_report_stays_the_function_when_the_stage_is_imported():
    code = "import dipolar.report, dipolar; from dipolar.report import write_report; print(callable(dipolar.report))"
    assert run_python(code) == "True"


def test_eager_import_finds_every_name():
    code = "import os; os.environ['EAGER_IMPORT'] = '1'; import dipolar; print(callable(dipolar.report))"
    assert run_python(code) == "True"
    if EAGER:  # the second run of `make test`
        assert set(dipolar.__all__) <= set(vars(dipolar))


@pytest.mark.parametrize("code", ["import dipolar", "from dipolar.cli.main import main; main(['--help'])"])
def test_the_door_is_light(code):
    loaded = run_python(f"{code}\nimport sys; print('LOADED', *sys.modules)").split("LOADED")[-1].split()
    assert not set(HEAVY) & set(loaded)


def test_import_takes_less_than_a_tenth_of_a_second():
    code = "import time; start = time.process_time(); import dipolar; print(time.process_time() - start)"
    assert min(float(run_python(code)) for _ in range(3)) < 0.10


def test_help_takes_less_than_four_tenths_of_a_second():
    def once() -> float:  # CPU time, from start to end: the tests share their machine
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "dipolar", "--help"], capture_output=True, check=True, env=LAZY)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(once() for _ in range(4)) < 0.40


def test_the_error_tree_is_drawn_as_it_is():
    classes = {name for name, item in vars(errors).items() if isinstance(item, type) and issubclass(item, Exception)}
    drawn = {word for word in errors.__doc__.split() if word.endswith("Error")}
    assert drawn == classes


def test_every_flag_has_its_own_bit_and_a_meaning():
    assert list(MEANING) == list(Flag)
    assert all(flag.value == 1 << bit for bit, flag in enumerate(Flag))
    assert names(Flag.EDGE | Flag.WEAK) == ["edge", "weak"]


def test_every_module_says_what_it_is_for():
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(("dipolar", *path.relative_to(PACKAGE).with_suffix("").parts))
        if path.name != "__main__.py":
            assert importlib.import_module(module.removesuffix(".__init__")).__doc__, path
