"""What README.md and docs/ show is true: their code compiles, and what they tell the reader to do works.

The info string of a fenced block says what a test does with it:

    ```python                   it compiles
    ```python file=jobs.py      it is saved under this name, beside the other files of its document
    ```python run               it is run as a script
    ```console run              its `$ ` lines are run as one bash script (`> ` continues a line) and must succeed; the
                                other lines are output, looked for in this order, where `…` stands for anything
    ```console run background   as above, but left running, as in the reader's second terminal; its output is looked
                                for, with a deadline, at the end of the document, and then it must end on SIGTERM

A document's blocks are worked through in order, in an empty folder of their own, with no setting for a cluster: so its
commands use the embedded broker of that folder, as a newcomer's would. Blocks in other languages (`text`, `toml`, `sh`)
are left alone.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from stoker.operations.broker.embedded import EmbeddedBroker
from support.code_blocks import CodeBlock, code_blocks, first_missing
from support.waiting import wait_until

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PYTHON = [block for document in DOCUMENTS for block in code_blocks(document) if block.language == "python"]
RUN = [document for document in DOCUMENTS if any(block.runs for block in code_blocks(document))]
_BLOCK_DEADLINE_S = 90.0
_END_DEADLINE_S = 60.0


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_a_python_block_compiles(block: CodeBlock) -> None:
    """A reader can paste it."""
    compile("\n" * block.line + block.text, str(block.document), "exec")


@pytest.mark.documents_run
@pytest.mark.timeout(300)
@pytest.mark.parametrize("document", RUN, ids=lambda document: str(document.relative_to(ROOT)))
def test_what_a_document_asks_for_works(document: Path, desk: Path) -> None:
    """A reader who types what is shown sees what is shown."""
    with ExitStack() as in_background:
        shown_in_background = []
        for number, block in enumerate(block for block in code_blocks(document) if block.runs):
            if block.file:
                (desk / block.file).write_text(block.text, encoding="utf-8")
            elif "background" in block.words:
                shown_in_background.append((block, desk / f"background-{number}.log"))
                in_background.enter_context(_Background(block, desk, desk / f"background-{number}.log"))
            else:
                _run(block, desk)
        for block, log in shown_in_background:
            _wait_shown(block, log)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Path]:
    """The reader's empty folder; its embedded broker is ended with the test."""
    folder = tmp_path / "desk"
    folder.mkdir()
    yield folder
    EmbeddedBroker(folder / ".stoker" / "broker").kill()


class _Background:
    """A command in the reader's second terminal."""

    def __init__(self, block: CodeBlock, desk: Path, log: Path) -> None:
        self._block, self._log = block, log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                _script(block),
                cwd=desk,
                env=_environment() | {"PYTHONUNBUFFERED": "1"},  # its output is looked for while it runs
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def __enter__(self) -> None:
        """It runs already."""

    def __exit__(self, *_failure: object) -> None:
        with self._process as process:
            with suppress(ProcessLookupError):  # ended already; what it should have shown is missed elsewhere
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(_END_DEADLINE_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise AssertionError(f"{self._block}: did not end on SIGTERM:\n{self._log.read_text()}") from None


def _run(block: CodeBlock, desk: Path) -> None:
    command = [sys.executable, "-c", block.text] if block.language == "python" else _script(block)
    done = subprocess.run(
        command,
        cwd=desk,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_BLOCK_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, f"{block}: exit code {done.returncode}:\n{done.stdout}"
    if block.language == "console":
        missing = first_missing(block.shown, done.stdout)
        assert missing is None, f"{block}: {missing!r} is not in the output:\n{done.stdout}"


def _wait_shown(block: CodeBlock, log: Path) -> None:
    try:
        wait_until(lambda: first_missing(block.shown, log.read_text()) is None, _BLOCK_DEADLINE_S, "the shown output")
    except AssertionError as missed:
        missing = first_missing(block.shown, log.read_text())
        raise AssertionError(f"{block}: {missing!r} is not in the output:\n{log.read_text()}") from missed


def _script(block: CodeBlock) -> list[str]:
    return ["bash", "-euo", "pipefail", "-c", block.commands]


def _environment() -> dict[str, str]:
    """The reader's activated environment, without settings of Stoker or of this test run.

    Output is buffered: `print` would write a line and its end apart, and those of two jobs that run at once get mixed.
    """
    ours = ("STOKER_", "PYTEST_", "PYTHONUNBUFFERED")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(ours) or name == "STOKER_CACHE"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{plain.get('PATH', '')}"
    return {**plain, "PATH": path}


LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
LAYERS = ("schemas", "topology", "databases", "producers", "consumers", "operations", "testing")
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PAGES = [*DOCUMENTS, ROOT / "CHANGELOG.md", ROOT / "examples" / "README.md"]


def _anchors(page: Path) -> set[str]:
    """The names of a page's headings, as its readers' links have them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_of_a_document_leads_somewhere(page: Path) -> None:
    """A reader who follows one finds the page, and the section."""
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        place, _, anchor = link.partition("#")
        if not link.startswith(("http:", "https:")):
            target = (page.parent / place) if place else page
            assert target.exists(), link
            assert not anchor or anchor in _anchors(target), link


def test_each_decision_has_its_number_alone_and_is_linked() -> None:
    """A number names one decision, and each is found from where it matters."""
    numbers = [int(decision.name[:4]) for decision in DECISIONS]
    assert numbers == sorted(set(numbers))
    assert all(
        decision.read_text(encoding="utf-8").startswith(f"# {number}. ")
        for number, decision in zip(numbers, DECISIONS, strict=True)
    )
    linked = {Path(link).name for page in set(PAGES) - set(DECISIONS) for link in LINK.findall(page.read_text())}
    assert not [decision.name for decision in DECISIONS if decision.name not in linked]


def test_the_glossary_is_in_order() -> None:
    """A reader finds a word where the alphabet has it, once."""
    words = re.findall(r"^\*\*(.+?)\*\*", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [word.lower() for word in words] == sorted({word.lower() for word in words})


def test_the_architecture_lists_every_folder_of_the_package() -> None:
    """The table of contents is complete: a reader finds each folder in it, once."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| (?:\*\*)?`([a-z_/]+)/`(?:\*\*)? \|", text, re.MULTILINE)
    folders = [path.parent for layer in LAYERS for path in (ROOT / layer).rglob("__init__.py")]
    assert sorted(listed) == sorted(folder.relative_to(ROOT).as_posix() for folder in folders)


def test_the_architecture_names_files_and_functions_that_exist() -> None:
    """Whoever reads the way of a job finds each file where it is named, and each function in it."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    files = {path.relative_to(ROOT).as_posix() for layer in LAYERS for path in (ROOT / layer).rglob("*.py")}
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", text))
    assert named
    assert not [name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in files)]
    code = "".join((ROOT / path).read_text(encoding="utf-8") for path in files)
    for path, name in re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py): (\w+)`", text):
        bodies = [(ROOT / each).read_text(encoding="utf-8") for each in files if f"/{each}".endswith(f"/{path}")]
        assert any(re.search(rf"\b(?:def|class) {name}\b|^ *{name}\b.*[:=]", body, re.MULTILINE) for body in bodies), (
            f"{path} has no {name}"
        )
    functions = {name.rpartition(".")[2] for name in re.findall(r"`((?:[A-Z]\w+\.|_)\w+)`", text)} - {"py"}
    assert not [
        name for name in functions if not re.search(rf"\b(?:def|class) {name}\b|^    {name}:", code, re.MULTILINE)
    ]
