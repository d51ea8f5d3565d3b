"""The contracts of jobs: Avro from Python types, payloads checked and encoded, schemas kept and compared."""

from .compatibility import Break, Compatibility, check
from .contract import Contract
from .decode import Decoder
from .derive import Digits
from .errors import (
    ContractRefused,
    DecodeError,
    IncompatibleSchema,
    PayloadRefused,
    RegistryMissing,
    SchemaError,
    SchemaMismatch,
    SchemaStoreUnreachable,
    SchemaTopicMissing,
    StoreError,
    Undecodable,
    UnknownSchema,
)
from .store import MemorySchemaStore, SchemaStore, StoredSchema

__all__ = [
    "Break",
    "Compatibility",
    "Contract",
    "ContractRefused",
    "DecodeError",
    "Decoder",
    "Digits",
    "IncompatibleSchema",
    "MemorySchemaStore",
    "PayloadRefused",
    "RegistryMissing",
    "SchemaError",
    "SchemaMismatch",
    "SchemaStore",
    "SchemaStoreUnreachable",
    "SchemaTopicMissing",
    "StoreError",
    "StoredSchema",
    "Undecodable",
    "UnknownSchema",
    "check",
]
