"""Settings that a test changes under running programs: they hold when the broker shows them, not when it answers."""

from __future__ import annotations

from collections.abc import Mapping

from stoker.topology import ClusterSettings
from stoker.topology.cluster.admin import Administration
from support.waiting import wait_until


def change_configs(cluster: ClusterSettings, configs: Mapping[str, Mapping[str, str]]) -> None:
    """Set topics' configs, {topic: {config: value}}, and return once the brokers show them.

    The controller answers first, and each broker puts a change to use a moment after that.
    """
    administration = Administration(cluster)
    assert administration.set_configs(configs) == {}

    def are_shown() -> bool:
        shown = {topic: found.values for topic, found in administration.configs(configs).items()}
        return all(wanted.items() <= shown.get(topic, {}).items() for topic, wanted in configs.items())

    wait_until(are_shown, what=f"the brokers to show {configs}")
