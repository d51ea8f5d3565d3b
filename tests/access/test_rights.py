"""Each part of Stoker does its work with exactly the rights of the table, and says which one is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stoker.topology.planning.rights import RIGHTS, Duty, Operation, Right
from support.kafka.duties import PRINCIPAL, QUEUE, WORK, Scene, acls, make_drifted_scene, make_scene
from support.kafka.guarded_broker import Guarded

DRIFTED = {Duty.PLAN, Duty.APPLY}
"""They look at what differs, or there is nothing to do for them."""
IMPLIED = {
    Operation.READ: Operation.DESCRIBE,
    Operation.WRITE: Operation.DESCRIBE,
    Operation.ALTER_CONFIGS: Operation.DESCRIBE_CONFIGS,
}
"""What Kafka grants along, and what may be missed first."""


MakeScene = Callable[[Duty], Scene]


@pytest.fixture
def make(guarded: Guarded, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeScene:
    """Makes the scene for the work of a part."""

    def scene_for(duty: Duty) -> Scene:
        return (make_drifted_scene if duty in DRIFTED else make_scene)(guarded, namespace, tmp_path, monkeypatch)

    return scene_for


@pytest.mark.parametrize("duty", list(Duty))
def test_a_part_does_its_work_with_the_rights_of_the_table(make: MakeScene, duty: Duty) -> None:
    """With the rights that are documented for it, and no others, each part of Stoker works."""
    scene = make(duty)
    with scene.guarded.granted(PRINCIPAL, acls(scene.rights(duty))):
        WORK[duty](scene)


@pytest.mark.expected_errors("Kafka forbids", "authorization failed", "the worker of queue")
@pytest.mark.parametrize(
    ("duty", "right"),
    [pytest.param(duty, right, id=f"{duty}-{right}") for duty, rights in RIGHTS.items() for right in rights],
)
def test_a_missing_right_is_named(make: MakeScene, duty: Duty, right: Right) -> None:
    """With any one right taken away the work fails soon, and the error names operation, resource and principal."""
    scene = make(duty)
    missing = right.of(scene.pipeline.namespace, QUEUE)
    rest = [other for other in scene.rights(duty) if other != missing]
    with scene.guarded.granted(PRINCIPAL, acls(rest)), pytest.raises(Exception) as refused:  # noqa: PT011  # of any kind
        WORK[duty](scene)
    said = str(refused.value)
    named = "cluster" if missing.resource == "cluster" else f"{missing.resource} {missing.name}"
    operations = [missing.operation, IMPLIED.get(missing.operation, missing.operation)]
    assert any(f"{operation} on {named}" in said for operation in operations), said
    assert PRINCIPAL in said
