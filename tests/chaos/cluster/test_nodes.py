"""The harness's cluster comes up, also where a port that was free is taken in the last moment."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest

from chaos.cluster import nodes
from chaos.cluster.nodes import Doors, start_nodes
from stoker.operations.broker.settings import HOST


def test_a_cluster_whose_port_was_taken_meanwhile_is_given_up_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The second cluster answers, and the output holds what the first one's node wrote before it ended."""
    choose, chosen = nodes._choose_doors, list[Doors]()

    with socket.create_server((HOST, 0)) as stranger:

        def choose_taken_first(draw: random.Random, count: int) -> list[Doors]:
            doors = choose(draw, count)
            if not chosen:
                ours = doors[0]
                doors[0] = Doors(
                    clients=stranger.getsockname()[1],
                    internal=ours.internal,
                    controller=ours.controller,
                    advertised=ours.advertised,
                )
            chosen.extend(doors)
            return doors

        monkeypatch.setattr(nodes, "_choose_doors", choose_taken_first)
        cluster = start_nodes(tmp_path, 1, random.Random())
        cluster.kill()

    assert cluster.nodes[0].doors == chosen[1]
    assert "Address already in use" in capfd.readouterr().err
