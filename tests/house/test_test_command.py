"""The README's test command is the one that CI runs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPEN, CLOSE = "<!-- test-command -->", "<!-- /test-command -->"


def run_ci(tmp_path: Path, readme: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / "README.md").write_text(readme, encoding="utf-8")
    return subprocess.run(
        [tmp_path / ".ci" / "run"], cwd=os.sep, capture_output=True, text=True, timeout=10, check=False
    )


def test_the_readme_has_one_test_command_and_it_checks_everything() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.count(OPEN) == 1
    block = readme.split(OPEN)[1].split(CLOSE)[0]
    (command,) = [line for line in block.splitlines() if line and not line.startswith("```")]
    assert command.endswith("uv run --locked poe check")


def test_ci_runs_the_command_of_the_readme_in_the_root(tmp_path: Path) -> None:
    done = run_ci(tmp_path, f"# Title\n\n{OPEN}\n```bash\n(exit 0) && pwd\n```\n{CLOSE}\n\n```bash\nfalse\n```\n")
    assert (done.returncode, done.stdout.strip()) == (0, str(tmp_path))


@pytest.mark.parametrize(
    ("command", "code"),
    [
        pytest.param("(exit 7); true", 7, id="a failing part ends it"),
        pytest.param("exit 4", 4, id="the command's own code"),
        pytest.param("", 2, id="no command"),
    ],
)
def test_ci_fails_with_the_command(tmp_path: Path, command: str, code: int) -> None:
    assert run_ci(tmp_path, f"{OPEN}\n```bash\n{command}\n```\n{CLOSE}\n").returncode == code
