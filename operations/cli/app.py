"""`AppContext` of every command: the application's pipeline and the cluster, each found when it is first asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import click

from .output import echo_line

if TYPE_CHECKING:
    from ...topology import ClusterSettings, Pipeline, Queue
    from ...topology.actor import Actor


@dataclass(kw_only=True)
class AppContext:
    """The root's options, and what follows from them. Not frozen, because what is found once is kept.

    Attributes:
        application: `module:pipeline`; None when none was named.
        bootstrap_servers, schema_registry_url: None leaves them to the environment.
        options: librdkafka options of the command line; they win over those of the environment.
        verbose: whether expected failures show their traceback, and the log its details.
        log_level: name of a level of `logging`; None leaves it to the command.
        note: takes notes for people, such as which broker is used.
        has_started: whether this command has started the embedded broker, and printed that.
    """

    application: str | None = None
    bootstrap_servers: str | None = None
    schema_registry_url: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    verbose: bool = False
    log_level: str | None = None
    note: Callable[[str], None] = field(default_factory=lambda: _print_on_stderr)
    has_started: bool = False

    @cached_property
    def pipeline(self) -> Pipeline:
        """The application's pipeline.

        Raises:
            ApplicationError: it is not named or cannot be loaded.
        """
        from ..application import load_pipeline

        return load_pipeline(self.application)

    def find_queues(self, names: Iterable[str]) -> list[Queue]:
        """The named queues; all of the pipeline's when none is named.

        Raises:
            UnknownName: the pipeline has no queue of that name.
        """
        return [self.pipeline.find_queue(name) for name in names] or list(self.pipeline.queues.values())

    @property
    def registry_url(self) -> str | None:
        """The Schema Registry's address, of the option or the environment; no cluster need be configured."""
        from ...topology.cluster.settings import REGISTRY_VARIABLE

        return self.schema_registry_url or os.environ.get(REGISTRY_VARIABLE) or None

    @cached_property
    def cluster(self) -> ClusterSettings:
        """The cluster: of the options, of the environment, else this folder's embedded broker, if it runs.

        Raises:
            NoCluster: there is none; a command that only looks would find a cluster of its own making empty.
        """
        found = self.configured_cluster()
        if self.is_embedded and not self.has_started:
            self.note(f"no cluster is configured: this folder's embedded broker on {found.bootstrap_servers} is used")
        return found

    def start_cluster(self) -> ClusterSettings:
        """The cluster, where this folder's embedded broker is started if need be.

        Raises:
            BrokerError: nothing is configured, and the embedded broker cannot be started.
        """
        from ...topology import NoCluster

        try:
            return self.cluster
        except NoCluster:
            _start_embedded_broker(self.note)
            self.has_started = True
            return self.cluster

    @property
    def is_embedded(self) -> bool:
        """Whether no cluster is configured, so that it can only be this folder's embedded broker."""
        from ...topology.cluster.settings import BOOTSTRAP_VARIABLE

        return not (self.bootstrap_servers or os.environ.get(BOOTSTRAP_VARIABLE))

    def hint_at_reset(self) -> None:
        """After a contract was refused: on an embedded broker it may be a forgotten program's that is in the way."""
        if self.is_embedded:
            self.note(
                "this folder's embedded broker keeps the contracts of all that ran here before, such as a tutorial; "
                "if none of its jobs is needed any more, `stoker broker reset` deletes them with their contracts"
            )

    def actor(self, operator: str | None = None) -> Actor:
        """Who runs this command, and which one it is, for the audit trail."""
        from ...topology.actor import Actor

        return Actor.of_process(operator, command_path())

    def configured_cluster(self) -> ClusterSettings:
        """The cluster that is configured or runs already; nothing is started.

        Raises:
            NoCluster: there is none.
        """
        from ...topology import ClusterSettings
        from ...topology.cluster.settings import BOOTSTRAP_VARIABLE, REGISTRY_VARIABLE

        named = {BOOTSTRAP_VARIABLE: self.bootstrap_servers, REGISTRY_VARIABLE: self.schema_registry_url}
        given = {name: value for name, value in named.items() if value}
        found = ClusterSettings.from_environment({**os.environ, **given})
        return replace(found, options={**found.options, **self.options})


def command_path() -> str:
    """The command that runs, such as `stoker dead replay`, without its options and arguments."""
    return click.get_current_context().command_path


def _print_on_stderr(what: str) -> None:
    echo_line(what, err=True)


def _start_embedded_broker(note: Callable[[str], None]) -> None:
    from ..broker.embedded import EmbeddedBroker, project_folder

    address = EmbeddedBroker(project_folder(), note).start()
    note(
        f"no cluster is configured, so the embedded broker was started on {address}; "
        "it stays up until `stoker broker stop`"
    )


pass_app = click.make_pass_decorator(AppContext)
"""Decorates a command whose first parameter is the `AppContext`."""
