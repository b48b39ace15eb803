"""The direction of imports, held by import-linter; and the proof that its contracts bite."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    # A process of its own: the package is looked up in the working folder, and this one has imported it already.
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=25, check=False
    )


def test_imports_point_one_way() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("room", "line", "contract"),
    [
        pytest.param("contracts", "import streams.lane", "Imports point one way", id="contracts know nobody"),
        pytest.param("lane", "import streams.kafka", "Imports point one way", id="a lane knows no Kafka"),
        pytest.param("intake", "import streams.lane", "Imports point one way", id="intake and lane are apart"),
        pytest.param("lane", "import time", "Audit, intake, lane and plan are pure", id="a lane has no clock"),
        pytest.param("intake", "import structlog", "Audit, intake, lane and plan are pure", id="intake writes no log"),
        pytest.param("plan", "import time", "Audit, intake, lane and plan are pure", id="a plan has no clock"),
        pytest.param("lane", "import streams.plan", "Imports point one way", id="a lane knows no plan"),
        pytest.param("audit", "import streams.lane", "Imports point one way", id="the auditor knows no lane"),
        pytest.param("worker", "import httpx", "speaks HTTP to the API", id="only the client imports httpx"),
        pytest.param("kafka", "import streams.truecaller", "do not know each other", id="Kafka knows no API"),
    ],
)
def test_a_breach_is_found(tmp_path: Path, room: str, line: str, contract: str) -> None:
    shutil.copytree(ROOT / "streams", tmp_path / "streams", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "streams" / room / "breach.py").write_text(line + "\n", encoding="utf-8")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert any(contract in said and "BROKEN" in said for said in done.stdout.splitlines()), done.stdout
