"""docs/operations.md leaves nothing out: each command, each option and each error that a user can meet is in it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import click
import pytest

from stoker.consumers.settings import WorkerSettings
from stoker.operations.cli import main
from stoker.operations.cli.exit_codes import ExitCode
from stoker.operations.cli.parameters import with_all
from stoker.operations.commands.doctor import doctor
from stoker.operations.commands.topology import rights_command
from stoker.operations.commands.worker import worker
from stoker.operations.control_commands.giving import GIVING
from stoker.operations.doctor.checks import CHECKABLE
from stoker.operations.doctor.outbox_checks import GUARANTEE
from stoker.topology import Pipeline, format_duration
from stoker.topology.declaration.pipeline import QueueShape
from stoker.topology.planning.rights import Duty

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
LAYERS = ("schemas", "topology", "databases", "producers", "consumers", "operations")
NEVER_MET = {
    "CannotFire",
    "OffsetMissing",
    "TransactionFailed",
    "Withdrawn",
    "Misfit",
    "Unfit",
    "CommandFailure",
    "RegistryRefusal",
    "SchemaAwaited",
    "HandlerNotFound",
}
"""`CommandFailure` is how commands print the rest, the others never leave their layer."""


def commands(group: click.Group, path: tuple[str, ...] = ("stoker",)) -> Iterator[tuple[str, click.Command]]:
    """Each command with its words."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        yield " ".join((*path, name)), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def option_names(command: click.Command) -> Iterator[str]:
    """The long form of each option that --help shows."""
    for param in command.params:
        if isinstance(param, click.Option) and not param.hidden:
            yield max(param.opts, key=len)


def errors_of(layer: str) -> set[type[BaseException]]:
    """The errors that a layer's modules define."""
    package = import_module(f"stoker.{layer}")
    modules = [module.name for module in walk_packages(package.__path__, f"{package.__name__}.")]
    found = [value for name in modules if not name.endswith("__main__") for value in vars(import_module(name)).values()]
    errors = [value for value in found if inspect.isclass(value) and issubclass(value, BaseException)]
    return {error for error in errors if error.__module__.startswith(package.__name__)}


def error_names(layer: str) -> set[str]:
    """The names of the public ones."""
    return {name for error in errors_of(layer) if not (name := error.__name__).startswith("_")}


def roots() -> Iterator[tuple[str, set[str]]]:
    """Each root of the tables of errors that counts those below it, with their names."""
    numbers = {"three": 3, "five": 5, "six": 6}
    for table in TEXT.split("\n## Error messages\n", 1)[1].split("\n\n"):
        rows = [row.split(" | ") for row in table.splitlines() if row.startswith("| `")]
        for at, row in enumerate(rows):
            if found := re.search(r"root of the next (\w+)", row[1]):
                names = [name for below in rows[at + 1 :] for name in re.findall(r"`(\w+)`", below[0])]
                yield re.findall(r"`(\w+)`", row[0])[0], set(names[: numbers[found[1]]])


def orders_options() -> list[click.Option]:
    """The options that all orders have."""

    @click.command()
    @with_all(*GIVING)
    def order(**_options: object) -> None:
        pass

    return [param for param in order.params if isinstance(param, click.Option)]


def parameters_of_table(head: str) -> list[str]:
    """The parameters in the first column of the table that begins with these words, one entry for each mention."""
    rows = TEXT.split(f"\n| {head} | default | what it sets |\n", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    return [name for row in rows for name in re.findall(r"`(\w+)`", row.split(" | ", 1)[0])]


def codes_of_table(head: str) -> set[int]:
    """The exit codes in the first column of the table that begins so."""
    rows = TEXT.split(f"\n| {head} | meaning |\n", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    return {int(row.split(" | ", 1)[0].removeprefix("| ")) for row in rows}


def test_each_exit_code_has_its_row() -> None:
    """A script that finds another one would not know whether to try again."""
    assert codes_of_table("code") == set(ExitCode)


def test_the_exit_codes_of_a_worker_are_all_named() -> None:
    """A supervisor goes by them. The two others come of a terminal, and a worker takes its Ctrl+C for a shutdown."""
    codes = set(ExitCode) - {ExitCode.INTERRUPTED, ExitCode.OUTPUT_CLOSED}
    assert codes_of_table("exit code") == codes
    shown = (worker.help or "").split("Exit codes: ", 1)[1]
    assert {int(code) for code in re.findall(r"\d+", shown)} == codes


def guarantees_in(text: str) -> set[str]:
    """The guarantees that a text names, such as `P1 to P3, P5`."""
    found = re.findall(r"P(\d+)(?: to P(\d+))?", text)
    return {f"P{number}" for first, last in found for number in range(int(first), int(last or first) + 1)}


def test_the_guarantees_that_the_doctor_checks_are_named() -> None:
    """The document and the help claim no check that the doctor does not make."""
    section = TEXT.split("\n### stoker doctor\n", 1)[1].split("\n## ", 1)[0]
    checked = {*CHECKABLE, GUARANTEE}
    assert guarantees_in(section) == checked
    assert guarantees_in(doctor.help or "") == checked


def test_the_help_of_rights_names_each_duty() -> None:
    """A duty that the help leaves out is one whose rights nobody asks for."""
    help_text = " ".join((rights_command.help or "").split())
    duties = help_text.split("The duties are ", 1)[1].split(". ", 1)[0]
    assert set(re.split(", | and ", duties)) == set(Duty)


def test_each_parameter_of_a_queue_has_its_row() -> None:
    """A parameter that the table leaves out is one that nobody finds; one too many is one that nobody can give."""
    assert sorted(parameters_of_table("queue")) == sorted(QueueShape.__annotations__)


def test_each_parameter_of_a_job_type_has_its_row() -> None:
    """As with queues; the queue itself comes before the options."""
    options = [
        name for name, given in inspect.signature(Pipeline.job).parameters.items() if given.kind is given.KEYWORD_ONLY
    ]
    assert sorted(parameters_of_table("job type")) == sorted(options)


@pytest.mark.parametrize(("words", "command"), list(commands(main)), ids=str)
def test_each_command_is_described_with_all_its_options(words: str, command: click.Command) -> None:
    """An option that nobody documented is one that nobody finds."""
    assert words in TEXT or f"`{words.removeprefix('stoker ')}" in TEXT
    assert not [name for name in option_names(command) if not re.search(rf"(?<![\w-]){name}(?![\w-])", TEXT)]


def test_all_orders_but_one_have_the_options_of_orders() -> None:
    """Those that the document gives to orders are with each command that gives one; `list` and `log` give none."""
    sentence = TEXT.split("All orders but `worker inspect` have ", 1)[1].split("\n\n", 1)[0]
    named = set(re.findall(r"`(--[\w-]+)`", sentence))
    assert named == {max(option.opts, key=len) for option in orders_options()}
    for words, command in commands(main):
        if re.fullmatch("stoker control (?!list$|log$|worker).*|stoker control worker (?!inspect$).+", words):
            assert named <= set(option_names(command)), words


def test_the_names_of_variables_follow_the_rule() -> None:
    """Who sets an option by the document's rule sets that option."""
    for words, command in commands(main):
        for option in (param for param in command.params if isinstance(param, click.Option)):
            named = max(option.opts, key=len).lstrip("-")
            rule = f"{words} {named}".replace(" ", "_").replace("-", "_").upper()
            given = [option.envvar] if isinstance(option.envvar, str) else option.envvar or []
            assert (f"{rule}_NUMBER" if named.endswith("-port") else rule) in given
    assert "STOKER_WORKER_METRICS_PORT_NUMBER" in TEXT


def default_of_worker(option: str) -> str:
    """The default in the table of the worker's options."""
    section = TEXT.split("\n### stoker worker\n", 1)[1]
    found = re.search(rf"^\| `{option}` \| (.*?) \|", section, re.M)
    assert found is not None
    return found[1]


def test_the_defaults_of_a_worker_are_those_of_its_settings() -> None:
    """The help shows none of these: the document is where an operator finds them."""
    settings = WorkerSettings()
    assert default_of_worker("--concurrency") == str(settings.concurrency)
    assert default_of_worker("--async-concurrency") == str(settings.async_concurrency)
    assert default_of_worker("--grace") == format_duration(settings.grace)
    assert default_of_worker("--revoke-grace") == format_duration(settings.revoke_grace)
    assert default_of_worker("--commit-interval") == format_duration(settings.commit_interval)
    bounds = default_of_worker("--max-in-flight`, `--max-in-flight-bytes")
    assert bounds == f"{settings.max_in_flight:,} · {settings.max_in_flight_bytes // 1024**2} MiB"


def test_each_log_message_that_has_a_row_is_one_of_the_code() -> None:
    """Who searches the document for the message of a log finds it; `…` stands for what differs."""
    layers = (path.read_text(encoding="utf-8") for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))
    code = re.sub(r'"\s*\n\s*f?"', "", "".join(layers))
    first_cells = (row.split(" | ")[0] for row in TEXT.splitlines() if row.startswith('| "'))
    quoted = [words for cell in first_cells for words in re.findall(r'"([^"]+)"', cell)]
    assert quoted
    assert not [words for words in quoted if not all(part.strip() in code for part in words.split("…"))]


@pytest.mark.parametrize(("root", "names"), list(roots()))
def test_the_errors_below_a_root_are_those_of_the_code(root: str, names: set[str]) -> None:
    """Who catches the root catches these, and no others."""
    errors = [error for layer in LAYERS for error in errors_of(layer)]
    own = {error.__name__ for error in errors if root in (base.__name__ for base in error.__mro__[1:])}
    assert {name for name in own if not name.startswith("_")} == names


@pytest.mark.parametrize("layer", LAYERS)
def test_each_error_is_listed_with_what_to_do(layer: str) -> None:
    """Whoever meets an error finds its name."""
    names = error_names(layer)
    assert names
    assert not [name for name in names if f"`{name}`" not in TEXT and name not in NEVER_MET]


def test_the_loggers_are_those_of_the_code() -> None:
    """A logger of another name would pass by the level and the handlers that somebody has set."""
    rows = TEXT.split("\n| logger | lines about |\n", 1)[1].split("\n\n", 1)[0]
    layers = ("consumers", "databases", "operations", "producers", "schemas", "testing", "topology")
    code = [path.read_text(encoding="utf-8") for layer in layers for path in (ROOT / layer).rglob("*.py")]
    used = {name for text in code for name in re.findall(r'getLogger\("(stoker\.\w+)"\)', text)}
    assert set(re.findall(r"`(stoker\.\w+)`", rows)) == used
