"""The root of the command line: help, options and their environment twins, exit codes, and what failures look like."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from stoker.operations.broker.embedded import EmbeddedBroker
from stoker.operations.cli import AppContext, main
from stoker.operations.cli.exit_codes import MEANINGS, ExitCode
from stoker.operations.cli.failures import EXPECTED, as_failure
from stoker.operations.cli.parameters import FromNow
from stoker.operations.cli.root import COMMANDS, LazyRoot
from stoker.operations.cli.variables import misspelt, variables_of
from stoker.topology import ClusterSettings
from stoker.topology.cluster.environment import is_of_a_service
from stoker.topology.cluster.settings import NoCluster
from support.scenes.shop_application import Shop, make_shop

NARRATED = ["worker", "enqueue", "queues", "doctor", "schemas export", "schemas check"]
UNREACHABLE = "127.0.0.1:1"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str) -> Shop:
    """An application without a cluster."""
    return make_shop(tmp_path, monkeypatch, namespace)


def commands() -> Iterator[tuple[str, click.Command]]:
    """Each command with its path, groups included."""
    context = click.Context(main)
    pending: list[tuple[str, click.Command | None]] = [(name, main.get_command(context, name)) for name in COMMANDS]
    while pending:
        path, command = pending.pop()
        assert command is not None, path
        yield path, command
        if isinstance(command, click.Group):
            pending += [(f"{path} {name}", sub) for name, sub in command.commands.items()]


def test_help_imports_neither_kafka_nor_avro() -> None:
    """`stoker --help` answers at once, since nothing heavy is imported for it."""
    program = (
        "import sys\nfrom stoker.operations.cli import main\nmain(['--help'], standalone_mode=False)\n"
        "print(sorted({'confluent_kafka', 'fastavro', 'pydantic', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.rstrip().endswith("[]")


def test_help_lists_every_command_and_exit_code() -> None:
    """A newcomer finds in the help what there is to call, and a script's author what comes back."""
    shown = CliRunner().invoke(main, ["--help"]).output
    assert all(name in shown for name in COMMANDS)
    assert all(f"{code.value}  " in shown and meaning in shown for code, meaning in MEANINGS.items())


def test_every_option_has_an_environment_twin_named_after_it() -> None:
    """Each option of each command can be set by STOKER_<COMMAND>_<OPTION>, and the help says so."""
    for path, command in commands():
        for option in (param for param in command.params if isinstance(param, click.Option)):
            assert option.show_envvar, f"{path} {option.opts}"
            twin = option.envvar if isinstance(option.envvar, str) else next(iter(option.envvar or ()))
            assert twin.startswith(f"STOKER_{path.upper().replace(' ', '_').replace('-', '_')}_")


def test_the_document_tells_what_each_json_is() -> None:
    """A program's author finds for each command whether `--json` prints one document or lines."""
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")
    section = page.partition("\n### JSON\n")[2].partition("\n### ")[0]
    rows = {name for row in section.splitlines() for name in re.findall(r"`([a-z -]+)`", row.split(" | ")[0])}
    with_json = {path for path, command in commands() if any("--json" in param.opts for param in command.params)}
    assert with_json - rows == set()
    told = [row.split(" | ")[1] for row in section.splitlines() if row.startswith("| `")]
    assert all(what.startswith(("one document", "lines")) for what in told)


SERVICES = (
    "stoker",
    "stoker-kafka",
    "stoker-kafka-0",
    "stoker-bootstrap-servers",
    "stoker-worker",
    "stoker-dead-replay",
)


def variables_of_services() -> dict[str, str]:
    """What Kubernetes puts into each container for Services of these names."""
    made: dict[str, str] = {}
    for service in SERVICES:
        name = service.upper().replace("-", "_")
        made |= {f"{name}_SERVICE_HOST": "10.0.0.1", f"{name}_SERVICE_PORT": "9092", f"{name}_SERVICE_PORT_HTTP": "80"}
        made |= {f"{name}_PORT": "tcp://10.0.0.1:9092", f"{name}_PORT_9092_TCP": "tcp://10.0.0.1:9092"}
        made |= {f"{name}_PORT_9092_TCP_{part}": part for part in ("PROTO", "PORT", "ADDR")}
    return made


def test_services_of_kubernetes_set_nothing(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a Service is named, its variables are neither client options nor options of commands."""
    made = variables_of_services()
    settings = ClusterSettings.from_environment({**made, "STOKER_BOOTSTRAP_SERVERS": "kafka:9092"})
    assert settings.client_config() == {"bootstrap.servers": "kafka:9092"}
    for path, command in [("", main), *commands()]:
        named = variables_of(command) | {f"STOKER{path}_{option.name}".upper() for option in command.params}
        assert not [name for name in named if is_of_a_service(name)], path

    shop.environment |= made
    assert shop.stoker("schemas", "export").exit_code == ExitCode.OK
    assert caplog.records == []


def test_a_variable_of_a_command_with_two_words_is_named() -> None:
    """Its variables have one more underscore, and a misspelt one is not passed over either."""
    called = main.get_command(click.Context(main), "audit-log")
    assert called is not None
    (note,) = misspelt({"STOKER_AUDIT_LOG_SINCEE": "2h"}, main, called)
    assert "did you mean STOKER_AUDIT_LOG_SINCE?" in note


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("STOKER_SCHEMAS_EXPORT_TOO", "no option of `stoker schemas` has it; did you mean STOKER_SCHEMAS_EXPORT_TO?"),
        ("STOKER_SCHEMAS_ZEBRA", "no option of `stoker schemas` has it"),
        ("STOKER_BOOTSTRAP_SERVER", "no setting has it; did you mean STOKER_BOOTSTRAP_SERVERS?"),
    ],
)
def test_a_variable_that_is_not_understood_is_named(
    shop: Shop, caplog: pytest.LogCaptureFixture, variable: str, said: str
) -> None:
    """A misspelt setting is not passed over in silence."""
    shop.environment |= {variable: "x", "STOKER_SHOP_DATABASE": "ours", "STOKER_WORKER_QUEUES": "of another command"}
    assert shop.stoker("schemas", "export").exit_code == ExitCode.OK
    assert [record.getMessage().partition(": ")[::2] for record in caplog.records] == [
        (f"the environment's {variable} was ignored", said)
    ]


def test_an_option_takes_its_value_from_the_environment(shop: Shop) -> None:
    """The environment twin does what the option does."""
    shop.environment["STOKER_SCHEMAS_EXPORT_TO"] = "elsewhere"
    assert shop.stoker("schemas", "export").exit_code == ExitCode.OK
    assert (shop.folder / "elsewhere" / "send_mail.avsc").exists()


@pytest.mark.parametrize("path", NARRATED)
def test_help_shows_an_example_and_the_exit_codes(path: str) -> None:
    """The help of a command can be worked from."""
    shown = CliRunner().invoke(main, [*path.split(), "--help"]).output
    assert "Example" in shown
    assert "Exit codes" in shown


@pytest.mark.parametrize("path", ["enqueue", "control reschedule"])
def test_at_takes_an_instant_or_a_length_of_time_in_each_command(path: str) -> None:
    """A person who knows the option of one command can use that of the other."""
    command, context = main, click.Context(main)
    for name in path.split():
        assert isinstance(command, click.Group)
        found = command.get_command(context, name)
        assert found is not None
        command = found  # type: ignore[assignment]  # a group until the last name
    (option,) = [found for found in command.params if found.name == "at"]
    assert isinstance(option.type, FromNow)


def test_a_mistyped_command_is_answered_with_near_ones() -> None:
    """Who mistypes a command is told the one that was meant."""
    result = CliRunner().invoke(main, ["quues"])
    assert result.exit_code == ExitCode.USAGE
    assert "Did you mean queues" in result.stderr


def test_a_root_option_after_the_command_is_reported_with_its_place() -> None:
    """Users of other tools put -A behind the command: the answer says where it goes."""
    result = CliRunner().invoke(main, ["queues", "-A", "shop:pipeline"])
    assert result.exit_code == ExitCode.USAGE
    assert "before the command" in result.stderr


def test_version_is_printed_even_when_a_variable_called_so_is_set() -> None:
    """STOKER_VERSION, a usual variable of containers, does not turn every command into `--version`."""
    assert CliRunner().invoke(main, ["--version"]).output.startswith("stoker ")
    result = CliRunner().invoke(main, ["queues", "--help"], env={"STOKER_VERSION": "1.0"})
    assert result.output.startswith("Usage")


@pytest.mark.parametrize("name", EXPECTED)
def test_each_expected_failure_is_a_class_that_exists(name: str) -> None:
    """A class that is renamed does not lose its exit code in silence."""
    module, _, kind = name.rpartition(".")
    assert issubclass(getattr(importlib.import_module(module), kind), BaseException)


def test_a_surprise_is_no_failure() -> None:
    """What nobody expected keeps its traceback."""
    assert as_failure(ZeroDivisionError("division by zero"), verbose=False) is None


def test_an_expected_failure_shows_a_paragraph_and_only_with_verbose_a_traceback(shop: Shop) -> None:
    """An operator reads what to do; who asks for more gets the traceback."""
    calm = shop.stoker("queues", "nonesuch")
    loud = shop.stoker("-v", "queues", "nonesuch")
    assert calm.exit_code == loud.exit_code == ExitCode.USAGE
    assert "has no queue 'nonesuch'; there is: bills, mails" in calm.stderr
    assert "Traceback" not in calm.stderr
    assert "Traceback" in loud.stderr


@pytest.mark.parametrize("command", ["queues", "status run", "statistics run"])
def test_an_unreachable_cluster_ends_a_command_in_bounded_time_with_its_own_code(
    command: str, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that is down is said to be down, with the address, and exit code 3."""
    monkeypatch.chdir(tmp_path)
    result = shop.stoker("--bootstrap-servers", UNREACHABLE, *command.split())
    assert result.exit_code == ExitCode.UNREACHABLE
    assert f"Kafka at {UNREACHABLE} does not answer" in result.stderr


def test_ctrl_c_ends_with_its_own_code() -> None:
    """A script can tell an interruption from a failure."""
    root = LazyRoot("probe", callback=_interrupt, invoke_without_command=True)
    result = CliRunner().invoke(root, [])
    assert result.exit_code == ExitCode.INTERRUPTED


def _interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("given", ["nothing", "=value"])
def test_an_option_without_key_and_value_is_refused(given: str) -> None:
    """A librdkafka option is written as key=value."""
    result = CliRunner().invoke(main, ["--option", given, "queues"])
    assert result.exit_code == ExitCode.USAGE
    assert "key=value" in result.stderr


def test_options_of_the_command_line_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is typed counts more than what is set."""
    monkeypatch.setenv("STOKER_BOOTSTRAP_SERVERS", "of-environment:9092")
    monkeypatch.setenv("STOKER_KAFKA_SECURITY_PROTOCOL", "SSL")
    monkeypatch.setenv("STOKER_KAFKA_CLIENT_RACK", "a")
    app = AppContext(bootstrap_servers="typed:9092", options={"security.protocol": "PLAINTEXT"})
    assert app.cluster.bootstrap_servers == "typed:9092"
    assert app.cluster.options == {"security.protocol": "PLAINTEXT", "client.rack": "a"}


def test_without_a_setting_the_embedded_broker_is_started_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broker: EmbeddedBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    """A newcomer's first command finds a broker, and says where it comes from."""
    monkeypatch.delenv("STOKER_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.setenv("STOKER_HOME", str(broker.folder.parent))
    with pytest.raises(NoCluster):
        _ = AppContext().cluster
    address = AppContext().start_cluster().bootstrap_servers
    running = broker.status()
    assert running is not None
    assert address == running.bootstrap_servers
    assert "embedded broker was started" in capsys.readouterr().err

    assert AppContext().cluster.bootstrap_servers == address
    assert f"this folder's embedded broker on {address} is used" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("queues",),
        ("dead", "list"),
        ("dead", "show", "mails", "0/0"),
        ("dead", "replay", "mails", "--yes"),
        ("dead", "discard", "mails", "--reason", "r", "--yes"),
        ("replay", "mails", "--from-offset", "0"),
        ("topology", "plan"),
        ("schemas", "check"),
        ("doctor",),
        ("enqueue", "send_mail", "order_id=1"),
    ],
    ids=" ".join,
)
def test_a_command_that_needs_a_cluster_starts_none(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """In a folder where no broker runs, the command names the ways to one, and leaves the folder as it is."""
    monkeypatch.setenv("STOKER_HOME", str(shop.folder / "home"))
    called = shop.stoker(*arguments)
    assert called.exit_code == ExitCode.UNREACHABLE
    assert "run `stoker broker start` in this folder" in called.stderr
    assert not (shop.folder / "home").exists()


def test_a_refused_contract_on_an_embedded_broker_hints_at_what_ran_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, broker: EmbeddedBroker
) -> None:
    """Where a tutorial's contract is in the way of one's own, the message says how to begin anew."""
    shop = make_shop(tmp_path, monkeypatch, namespace)
    monkeypatch.setenv("STOKER_HOME", str(broker.folder.parent))
    assert shop.stoker("topology", "apply").exit_code == ExitCode.OK
    module = shop.folder / f"{shop.module}.py"
    mine = module.with_name(f"{shop.module}_mine.py")
    mine.write_text(module.read_text().replace("order_id: int,", "order_id: int, must: bytes,"))
    own = Shop(folder=shop.folder, module=mine.stem, environment=shop.environment)
    for arguments in (("topology", "apply"), ("schemas", "check"), ("enqueue", "send_mail", "order_id=1", "must=AA==")):
        refused = own.stoker(*arguments)
        assert refused.exit_code != ExitCode.OK, arguments
        assert "`stoker broker reset`" in refused.stderr, arguments
