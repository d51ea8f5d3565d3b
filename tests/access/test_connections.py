"""TLS, certificates and logins on a real broker: who is known works; all others get the reason and the way out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from stoker.consumers import Worker
from stoker.operations.cli import main
from stoker.producers import AsyncProducer, Producer
from stoker.producers.errors import SettingRefused, UnreachableAtStart
from stoker.topology import ClientOptionRefused, ClusterSettings, ClusterUnreachable, NotAuthorized
from stoker.topology.cluster import handshake
from stoker.topology.cluster.admin import Administration
from stoker.topology.planning.rights import Duty
from support.kafka.authority import CLIENT_PRINCIPAL, Authority, make_authority
from support.kafka.duties import Scene, acls, make_scene, write_application
from support.kafka.guarded_broker import Guarded, credentials, password_of
from support.scenes.worker import running_worker

Connect = Callable[[Guarded], ClusterSettings]

KNOWN: Mapping[str, tuple[str, Connect]] = {
    "plain": ("User:bob", lambda guarded: guarded.user("bob")),
    "scram-256": ("User:bob", lambda guarded: guarded.user("bob", "SCRAM-SHA-256")),
    "scram-512": ("User:bob", lambda guarded: guarded.user("bob", "SCRAM-SHA-512")),
    "plain-tls": ("User:bob", lambda guarded: guarded.tls_user("bob")),
    "scram-tls": ("User:bob", lambda guarded: guarded.tls_user("bob", "SCRAM-SHA-512")),
    "tls": ("User:ANONYMOUS", Guarded.tls_client),
    "mtls": (CLIENT_PRINCIPAL, Guarded.certified_client),
}


@pytest.mark.parametrize("way", list(KNOWN))
def test_a_job_is_enqueued_and_run_over_each_kind_of_connection(
    guarded: Guarded, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """TLS, certificates of clients, PLAIN and SCRAM: a producer and a worker do their work with each."""
    scene = make_scene(guarded, namespace, tmp_path, monkeypatch)
    principal, connect = KNOWN[way]
    cluster = connect(guarded)
    rights = dict.fromkeys([*scene.rights(Duty.PRODUCER), *scene.rights(Duty.WORKER)])
    with guarded.granted(principal, acls(rights)):
        with Producer(scene.pipeline, cluster) as producer:
            producer.send(scene.pipeline.job_types["do"].call("fine"))
        with running_worker(scene.pipeline, cluster) as running:
            running.wait_outcomes(Done=2)


@pytest.mark.parametrize("way", ["scram-tls", "mtls"])
def test_statistics_are_kept_over_a_connection_with_tls(
    guarded: Guarded, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Faust has a client of its own, which takes passwords and certificates from the same options."""
    scene = make_scene(guarded, namespace, tmp_path, monkeypatch)
    principal, connect = KNOWN[way]
    cluster = connect(guarded)
    options = [f"--option={name}={value}" for name, value in cluster.options.items()]
    root = ["-A", scene.application, "--bootstrap-servers", cluster.bootstrap_servers, *options]
    with guarded.granted(principal, acls(scene.rights(Duty.STATISTICS))):
        ended = CliRunner().invoke(main, [*root, "statistics", "run", "--once"])
    assert (ended.exit_code, "0 events behind" in ended.output) == (0, True), ended.output


def _wrong(guarded: Guarded, foreign: Authority) -> dict[str, tuple[ClusterSettings, str, str]]:
    """{what is wrong: (settings, what was met, what to do)}."""
    ada = credentials("ada", "PLAIN", "SASL_PLAINTEXT")
    own = {
        "ssl.certificate.location": str(foreign.client_certificate),
        "ssl.key.location": str(foreign.client_key),
    }
    at = ClusterSettings(bootstrap_servers=guarded.tls)
    named = replace(guarded.tls_client(), bootstrap_servers=guarded.tls.replace("127.0.0.1", "localhost"))
    mutual = replace(guarded.tls_client(), bootstrap_servers=guarded.mutual)
    return {
        "plaintext to TLS": (at, "brokers are down", "set security.protocol to SSL"),
        "login to TLS": (replace(at, options=ada), "brokers are down", "set security.protocol to SASL_SSL"),
        "TLS to plaintext": (
            replace(guarded.tls_client(), bootstrap_servers=guarded.open),
            "PLAINTEXT broker listener",
            "take TLS out of security.protocol",
        ),
        "no login": (ClusterSettings(bootstrap_servers=guarded.sasl), "brokers are down", "the SASL options"),
        "a login nobody wants": (replace(at, bootstrap_servers=guarded.open, options=ada), "SASL", "take SASL out"),
        "wrong password": (
            guarded.user("ada", **{"sasl.password": "not-the-word"}),
            "Authentication failed",
            "fix sasl.username, sasl.password",
        ),
        "wrong SCRAM password": (
            guarded.user("ada", "SCRAM-SHA-256", **{"sasl.password": "not-the-word"}),
            "Authentication failed",
            "fix sasl.username, sasl.password",
        ),
        "unknown mechanism": (
            guarded.user("ada", "SCRAM-SHA-1"),
            "SCRAM-SHA-512",
            "set sasl.mechanism to one that the brokers support",
        ),
        "unknown authority": (
            guarded.tls_client(**{"ssl.ca.location": str(foreign.ca)}),
            "certificate",
            "set ssl.ca.location",
        ),
        "wrong host name": (named, "mismatch", "use the host name that the certificate is for"),
        "no certificate": (mutual, "certificate required", "set ssl.certificate.location"),
        "a foreign certificate": (
            replace(mutual, options={**mutual.options, **own}),
            "alert",
            "the brokers refuse this client's certificate",
        ),
    }


WRONG = [
    *("plaintext to TLS", "login to TLS", "TLS to plaintext", "no login", "a login nobody wants", "wrong password"),
    *("wrong SCRAM password", "unknown mechanism", "unknown authority", "wrong host name", "no certificate"),
    "a foreign certificate",
]


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look at a port waits for a broker that does much else."""
    monkeypatch.setattr(handshake, "PROBE_TIMEOUT_S", 30.0)


@pytest.mark.usefixtures("_patient")
@pytest.mark.parametrize("what", WRONG)
def test_brokers_that_do_not_answer_are_explained(guarded: Guarded, tmp_path: Path, what: str) -> None:
    """The error says what was met and how to fix it, within the given time, and holds no secret."""
    cluster, met, fix = _wrong(guarded, make_authority(tmp_path))[what]
    said = ""
    for timeout_s in (1.5, 20.0):  # a busy machine takes longer to be refused
        with pytest.raises(ClusterUnreachable) as silence:
            Administration(cluster, timeout_s=timeout_s).all_topics()
        said = str(silence.value)
        if met in said and fix in said:
            break
    assert met in said
    assert fix in said
    assert "not-the-word" not in said
    assert password_of("ada") not in said


def test_the_client_error_that_shows_the_fix_is_shown() -> None:
    """A client that was hung up on first, and understood why later, tells why."""
    said = ("Disconnected: SSL connection closed by peer", "SSL handshake failed: PLAINTEXT broker listener?")
    assert "PLAINTEXT broker listener" in str(handshake.unreachable(ClusterSettings(bootstrap_servers="there:1"), said))


REFUSED: Mapping[str, tuple[dict[str, str], str, str]] = {
    "unknown": ({"nonsense": "1"}, "nonsense", "No such configuration property"),
    "a bad value": ({"socket.timeout.ms": "long"}, "socket.timeout.ms", "Invalid value"),
    "out of range": ({"socket.timeout.ms": "1"}, "socket.timeout.ms", "outside allowed range"),
    "a bad protocol": ({"security.protocol": "TLS"}, "security.protocol", "Invalid value"),
    "no such key": (
        {"security.protocol": "SSL", "ssl.key.location": "/no/such/key"},
        "ssl.key.location",
        "/no/such/key cannot be read: No such file",
    ),
    "no such authority": (
        {"security.protocol": "SSL", "ssl.ca.location": "/no/such/ca"},
        "ssl.ca.location",
        "/no/such/ca cannot be read: No such file",
    ),
    "no key": ({"security.protocol": "SSL", "ssl.key.pem": "top-secret"}, "ssl.key.pem", "not in PEM format"),
    "no user": ({"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}, "sasl.", "must be set"),
}


@pytest.mark.parametrize("what", list(REFUSED))
def test_an_option_that_the_client_refuses_is_named_everywhere(
    namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Producers, workers and commands say which option is wrong and why, connect to nothing, and show no secret."""
    options, option, reason = REFUSED[what]
    scene = _unapplied(namespace, tmp_path, monkeypatch)
    cluster = ClusterSettings(bootstrap_servers="127.0.0.1:1", options=options)
    job = scene.pipeline.job_types["do"].call("fine")

    def enqueue() -> None:
        with Producer(scene.pipeline, cluster) as producer:
            producer.send(job)

    async def enqueue_async() -> None:
        async with AsyncProducer(scene.pipeline, cluster) as producer:
            await producer.send(job)

    tried = [
        pytest.raises(SettingRefused),
        pytest.raises(SettingRefused),
        pytest.raises(ClientOptionRefused),
    ]
    actions: list[Callable[[], object]] = [
        enqueue,
        lambda: asyncio.run(enqueue_async()),
        lambda: Worker(scene.pipeline, cluster),
    ]
    for expected, action in zip(tried, actions, strict=True):
        with expected as refused:
            action()
        _assert_told(str(refused.value), option, reason)


COMMANDS = (
    ("worker",),
    ("enqueue", "do", "what=fine"),
    ("queues",),
    ("dead", "list"),
    ("dead", "show", "work", "0/0"),
    ("dead", "replay", "work", "--yes"),
    ("dead", "discard", "work", "--reason", "tests", "--yes"),
    ("replay", "work", "--from-offset", "0", "--yes"),
    ("doctor",),
    ("topology", "plan"),
    ("topology", "apply"),
    ("schemas", "check"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_each_command_names_the_option_that_the_client_refuses(
    namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """Each command ends with the code for wrong usage, and names the option; none shows a traceback."""
    scene = _unapplied(namespace, tmp_path, monkeypatch)
    root = ["-A", scene.application, "--bootstrap-servers", "127.0.0.1:1", "--option", "nonsense=1"]
    done = CliRunner().invoke(main, [*root, *command])
    assert done.exit_code == 2, done.output
    _assert_told(done.output, "nonsense", "No such configuration property")
    assert "Traceback" not in done.output


@pytest.mark.usefixtures("_patient")
def test_producers_and_workers_report_a_port_that_speaks_tls(
    guarded: Guarded, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plaintext client at a TLS port is recognised, by a producer, an async producer and a worker alike."""
    scene = _unapplied(namespace, tmp_path, monkeypatch)
    cluster = ClusterSettings(bootstrap_servers=guarded.tls)
    job, soon = scene.pipeline.job_types["do"].call("fine"), timedelta(seconds=5)

    async def enqueue_async() -> None:
        async with AsyncProducer(scene.pipeline, cluster, confirm_timeout=soon) as producer:
            await producer.send(job)

    with (
        pytest.raises(UnreachableAtStart, match="the port speaks TLS") as told,
        Producer(scene.pipeline, cluster, confirm_timeout=soon) as producer,
    ):
        producer.send(job)
    assert "whether the cluster is up" not in str(told.value), "it is, and the message has a better advice"
    with pytest.raises(UnreachableAtStart, match="the port speaks TLS"):
        asyncio.run(enqueue_async())
    with pytest.raises(ClusterUnreachable, match="the port speaks TLS"):
        Worker(scene.pipeline, cluster)


def test_a_command_reports_a_wrong_password_and_hides_it(
    guarded: Guarded, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code is that of brokers which cannot be reached, and the password is in no line."""
    scene = _unapplied(namespace, tmp_path, monkeypatch)
    options = credentials("ada", "PLAIN", "SASL_PLAINTEXT") | {"sasl.password": "not-the-word"}
    given = [f"--option={name}={value}" for name, value in options.items()]
    root = ["-A", scene.application, "--bootstrap-servers", guarded.sasl, *given]
    done = CliRunner().invoke(main, [*root, "doctor", "--timeout", "5s"])
    assert done.exit_code == 3, done.output
    assert "fix sasl.username, sasl.password" in done.output
    assert "not-the-word" not in done.output


def test_the_principal_of_a_certificate_is_shown_as_its_subject(guarded: Guarded, namespace: str) -> None:
    """The client does not know by which name the brokers know its certificate, and does not make one up."""
    with pytest.raises(NotAuthorized, match="the subject of its certificate"):
        Administration(guarded.certified_client()).topics([f"{namespace}.work"])


def _assert_told(said: str, option: str, reason: str) -> None:
    assert option in said
    assert reason in said
    assert "Fix it where it is given: `--option`" in said
    assert "top-secret" not in said


def _unapplied(namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """The application, without any topics on a cluster."""
    nowhere = Guarded(open="", tls="", mutual="", sasl="", sasl_tls="", files=Authority(tmp_path))
    return write_application(nowhere, namespace, tmp_path, monkeypatch)
