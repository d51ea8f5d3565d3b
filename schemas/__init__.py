"""The contracts of jobs: Avro schemas from Python types, encoding, decoding, compatibility, schema stores."""

from .contracts.compatibility import Break, Compatibility, check
from .contracts.contract import Contract
from .decode import Decoder
from .errors import (
    ContractRefused,
    DecodeError,
    IncompatibleSchema,
    PayloadRefused,
    RegistryMissing,
    RegistrySettingRefused,
    RegistryUnreachable,
    SchemaError,
    SchemaMismatch,
    SchemaStoreForbidden,
    SchemaStoreUnreachable,
    SchemaTopicMissing,
    StoreError,
    Undecodable,
    UnknownSchema,
)
from .files import SchemaFileBroken, SchemaFinding, compare, export, load
from .own_records.own import decode_own, encode_own, is_own, own_schema
from .shapes.annotations import Alias, Digits
from .stores.memory_store import MemorySchemaStore
from .stores.registry_store import RegistrySchemaStore
from .stores.store import SchemaStore, StoredSchema
from .stores.topic_store import TopicSchemaStore
from .wire_text import LONGEST_DETAIL, wire_text

__all__ = [
    "LONGEST_DETAIL",
    "Alias",
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
    "RegistrySchemaStore",
    "RegistrySettingRefused",
    "RegistryUnreachable",
    "SchemaError",
    "SchemaFileBroken",
    "SchemaFinding",
    "SchemaMismatch",
    "SchemaStore",
    "SchemaStoreForbidden",
    "SchemaStoreUnreachable",
    "SchemaTopicMissing",
    "StoreError",
    "StoredSchema",
    "TopicSchemaStore",
    "Undecodable",
    "UnknownSchema",
    "check",
    "compare",
    "decode_own",
    "encode_own",
    "export",
    "is_own",
    "load",
    "own_schema",
    "wire_text",
]
