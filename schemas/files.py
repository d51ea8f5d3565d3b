"""Contracts as files: `<job type>.avsc`, committed beside the code, and compared with it and with the cluster."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fastavro.schema import SchemaParseException, UnknownType

from .codec.codec import Codec
from .codec.schema import FieldSchema, RecordSchema
from .contracts.compatibility import Compatibility, violations
from .contracts.contract import Contract
from .errors import SchemaError
from .stores.store import StoredSchema

SUFFIX = ".avsc"

Schemas = Mapping[str, RecordSchema]


class SchemaFileBroken(SchemaError):
    """A committed schema file cannot be read as one."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path} is not an Avro schema ({self.reason}); write it anew with `stoker schemas export`"


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaFinding:
    """One difference that `stoker schemas check` reports.

    `against`: what the code was compared with. `rule` is "drift" for files; for the cluster, the rule of
    compatibility that breaks. `field` is its dotted path, "" for the contract as a whole.
    """

    job_type: str
    against: Literal["files", "cluster"]
    rule: str
    field: str
    explanation: str


def export(contracts: Iterable[Contract], folder: Path) -> list[Path]:
    """Write each contract as `<job type>.avsc`, the same bytes for the same contract; return the paths written."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(contract, folder) for contract in sorted(contracts, key=lambda contract: contract.job_type)]


def _write(contract: Contract, folder: Path) -> Path:
    path = folder / f"{contract.job_type}{SUFFIX}"
    path.write_text(json.dumps(contract.schema, indent=2, ensure_ascii=False) + "\n", "utf-8", newline="\n")
    return path


def load(folder: Path) -> dict[str, RecordSchema]:
    """Read the schemas of a folder by job type; none when the folder does not exist.

    Raises:
        SchemaFileBroken: a file is not an Avro schema.
    """
    return {path.name.removesuffix(SUFFIX): _load(path) for path in sorted(folder.glob(f"*{SUFFIX}"))}


def _load(path: Path) -> RecordSchema:
    try:
        schema: RecordSchema = json.loads(path.read_text("utf-8"))
        Codec(schema)
    except (ValueError, LookupError, TypeError, SchemaParseException, UnknownType) as error:
        raise SchemaFileBroken(str(path), str(error)) from error
    return schema


def compare(
    contracts: Iterable[Contract],
    files: Schemas,
    stored: Mapping[str, Sequence[StoredSchema]],
    mode: Compatibility,
) -> list[SchemaFinding]:
    """Compare the code's contracts with committed files and with the versions the cluster holds.

    Args:
        contracts: of all job types in the code.
        files: {job type: schema}, from `load`.
        stored: {job type: versions, oldest first}; a type without any is new to the cluster.
        mode: what a changed contract owes to the versions before it.
    """
    known = {contract.job_type: contract for contract in contracts}
    findings = [finding for contract in known.values() for finding in _drift(contract, files)]
    findings += [_finding(job_type, "is committed, but the code has no such job type") for job_type in files
                 if job_type not in known]  # fmt: skip
    for contract in known.values():
        findings += _breaks(contract, stored.get(contract.job_type, ()), mode)
    return sorted(findings, key=lambda finding: (finding.job_type, finding.against, finding.field))


def _finding(job_type: str, explanation: str, field: str = "") -> SchemaFinding:
    again = f"{explanation}; run `stoker schemas export` and commit the result"
    return SchemaFinding(job_type=job_type, against="files", rule="drift", field=field, explanation=again)


def _drift(contract: Contract, files: Schemas) -> list[SchemaFinding]:
    committed = files.get(contract.job_type)
    if committed is None:
        return [_finding(contract.job_type, "is not committed")]
    if committed == contract.schema:
        return []
    fields, written = _by_name(contract.schema), _by_name(committed)
    names = [name for name in {**fields, **written} if fields.get(name) != written.get(name)]
    return [_finding(contract.job_type, _difference(name, fields, written), name) for name in names] or [
        _finding(contract.job_type, "differs from the committed file")
    ]


def _by_name(schema: RecordSchema) -> dict[str, FieldSchema]:
    return {field["name"]: field for field in schema.get("fields", ())}


def _difference(name: str, fields: Mapping[str, FieldSchema], written: Mapping[str, FieldSchema]) -> str:
    if name not in written:
        return "is in the code, but not in the committed file"
    return "differs from the committed file" if name in fields else "is in the committed file, but not in the code"


def _breaks(contract: Contract, versions: Sequence[StoredSchema], mode: Compatibility) -> list[SchemaFinding]:
    schemas = [version.schema for version in versions]
    if any(Codec(schema).canonical == contract.canonical for schema in schemas):
        mode = Compatibility.NONE  # it is one of them; only a clash of logical types is left to find
    return [
        SchemaFinding(
            job_type=contract.job_type,
            against="cluster",
            rule=found.rule,
            field=found.field,
            explanation=found.explanation,
        )
        for found in violations(schemas, contract.schema, mode)
    ]
