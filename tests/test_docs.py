"""The docs: generated pages are current, links lead somewhere, and nothing that a user can set is missing."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from dipolar.cli.main import app
from dipolar.core.flags import Flag
from dipolar.io.images import READERS
from dipolar.io.scans import SCAN_READERS
from dipolar.recipes.align_settings import AlignSettings
from dipolar.recipes.predict_settings import PredictSettings
from dipolar.recipes.scan_label_settings import LabelSettings, SuggestSettings
from dipolar.recipes.scan_settings import ScanMapSettings, ScanTrainSettings
from dipolar.recipes.scan_settings_simulate import SimulateScanSettings
from dipolar.recipes.settings import MeasureSettings, SimulateSettings
from dipolar.recipes.study_settings import LabelsSettings
from dipolar.recipes.unmix_settings import UnmixSettings

CHECKOUT = Path(__file__).resolve().parents[1]
DOCS = CHECKOUT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md"])

spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)


@pytest.mark.parametrize("name", generate.PAGES)
def test_generated_pages_are_current(name):
    assert (DOCS / name).read_text(encoding="utf-8") == generate.PAGES[name](), "do: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_folder_is_on_its_floor():
    text = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    folders = [path.parent.name for path in (CHECKOUT / "src" / "dipolar").glob("*/__init__.py")]
    assert [name for name in folders if f"| `{name}/` |" not in text] == []


def test_every_page_can_be_reached_from_the_readme():
    reached, waiting = set(), [CHECKOUT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        links = re.findall(r"\]\(([^)#\s]+\.md)\)", page.read_text(encoding="utf-8"))
        waiting += [path for path in ((page.parent / link).resolve() for link in links) if path not in reached]
    assert set(PAGES) <= reached


def test_every_command_setting_flag_and_format_is_mentioned():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    models = (MeasureSettings, PredictSettings, SimulateSettings, AlignSettings, UnmixSettings, LabelSettings)
    models += (SuggestSettings, ScanTrainSettings, ScanMapSettings, SimulateScanSettings, LabelsSettings)
    settings = [name for model in models for name in model.model_fields]
    assert [name for name in settings if f"`{name}`" not in text] == []
    assert [flag.name for flag in Flag if f"`{flag.name.lower()}`" not in text] == []
    assert [
        suffix for suffix in {**READERS, **SCAN_READERS} if suffix.removeprefix(".") not in re.findall(r"\w+", text)
    ] == []
    for path in generate.commands(app):
        assert f"## dipolar {' '.join(path)}\n" in text


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in generate.PAGES], ids=lambda page: page.name
)
def test_options_that_the_hand_written_pages_name_exist(page):
    known = set(re.findall(r"--[a-z][a-z-]+", (DOCS / "cli.md").read_text(encoding="utf-8")))
    assert set(re.findall(r"--[a-z][a-z-]+", page.read_text(encoding="utf-8"))) <= known
