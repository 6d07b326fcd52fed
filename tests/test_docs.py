"""What the documents say is run, parsed, or compared with the code."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.errors import ExpungeError, JobError
from service.settings import Settings
from service.stack import Stack, stack
from tests.test_production_files import SERVICES, TARGETS, parsed

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
FILES = r"bundle\.zip|\.expunge/keys/expunge\.pub|\w+\.safetensors|ids\.txt|examples/.*"     # that an example names
NEED_WORDS = ("train", "unlearn", "audit", "verify")


def blocks(*kinds: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind in kinds]


def rows(text: str, first: str) -> list[list[str]]:
    """The cells of the table whose first heading this is."""
    table = re.search(rf"^\| {first} \|.*\n\|[-:| ]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)[1]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]


def test_the_readme_begins_with_its_two_commands():
    assert blocks("console")[0] == "$ make demo\n$ make test\n"


def test_every_make_target_in_the_readme_exists():
    assert set(re.findall(r"(?:^\$ |`)make ([a-z]+)", README, re.MULTILINE)) <= set(TARGETS)


def test_every_command_in_the_readme_exists():
    lines = "".join(blocks("console", "bash")).replace("\\\n", " ")
    blocked = re.findall(r"^\.venv/bin/(expunge.*)$", lines, re.MULTILINE)
    quoted = re.findall(r"`(expunge(?:-worker)? (?:keys new FOLDER|[a-z]+))`", README)

    assert any(call.startswith("expunge-worker audit") for call in blocked)
    for call in blocked:
        assert parsed([__file__ if re.fullmatch(FILES, word) else word for word in call.split()])
    assert {"expunge api", "expunge scheduler", "expunge-worker run", "expunge migrate"} <= set(quoted)
    for call in quoted:
        assert parsed([*call.split(), *(["--help"] if call.endswith(NEED_WORDS) else [])])


def test_every_process_in_the_readme_is_one_of_the_compose_file():
    told = {cells[1].strip("`").removesuffix(" FOLDER") for cells in rows(README, "process")}

    assert told - {"expunge keys new"} == {" ".join(SERVICES[name]["command"])
                                           for name in ("api", "scheduler", "worker", "monitor", "migrate")}


def test_every_setting_is_documented_and_every_documented_setting_exists():
    told = [tuple(cells) for cells in rows(README, "variable")]

    assert told == [
        (f"`EXPUNGE_{name.upper()}`", "–" if field.default is None else f"`{field.default}`", field.description)
        for name, field in Settings.model_fields.items()
    ]


def test_every_problem_is_documented():
    told = [cells[:2] + cells[2:4] for cells in rows((ROOT / "docs" / "problems.md").read_text(), "slug")]

    assert told == sorted(
        [f'<a id="{kind.slug}"></a>`{kind.slug}`', str(kind.status), kind.title, kind.hint]
        for kind in {kind.slug: kind for kind in reversed(answers())}.values()
    )


def answers() -> list[type[ExpungeError]]:
    """All errors that a client can be told of, a class before its subclasses."""
    found: list[type[ExpungeError]] = [ExpungeError]
    for kind in found:
        found += [sub for sub in kind.__subclasses__() if sub.__module__ == "service.errors" and sub is not JobError]
    return found


def test_the_library_example_is_the_file():
    assert blocks("python") == [(ROOT / "examples" / "library.py").read_text()]


def test_code_in_the_readme_can_be_parsed():
    assert all(ast.parse(text) for text in blocks("python"))
    assert all(json.loads(text) for text in blocks("json"))
    for text in blocks("bash"):
        assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


def test_the_map_of_the_house_shows_what_exists():
    lines = re.findall(r"^( *)(\S+)", blocks("text")[-1], re.MULTILINE)
    room = ""
    for indent, name in lines:
        room = room if indent else name
        assert (ROOT / (room + name if indent else name)).exists(), name


def test_every_link_of_the_documents_leads_somewhere():
    documents = [ROOT / "README.md", *ROOT.glob("docs/*.md")]
    named = [(path, name) for path in documents
             for name in re.findall(r"`((?:docs|examples|service|tests)/[\w/.]+)`", path.read_text())]

    assert [name for _, name in named if not (ROOT / name).exists()] == []


# ---- the HTTP example -----------------------------------------------------------------------------------------------


@pytest.fixture
def running() -> Iterator[Stack]:
    """The service as `make up` runs it, in a folder that looks like a checkout; PostgreSQL must be able to enter it."""
    with tempfile.TemporaryDirectory(prefix="expunge-docs-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "examples").symlink_to(ROOT / "examples")
        (folder / ".venv").symlink_to(sys.prefix)
        with stack(Settings(home=folder / ".expunge", port=0, database_url=None, broker_url=None)) as stacked:
            yield stacked


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_http_example_does_what_it_says(running):
    example = "".join(text for text in blocks("bash") if "curl" in text)
    folder = running.home.parent
    script = "set -euo pipefail\n" + example.replace("http://127.0.0.1:8000", running.url)

    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False, timeout=240)

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert "event: certified" in done.stdout
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF")
    assert (folder / "bundle.zip").exists()
    assert "ok   10 receipt: the sample is one of the 14 of the request" in done.stdout
