"""What can be searched by: for each kind of object its entities, attributes and operators."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

EQUALITY = ("=", "!=")
PATTERNS = (*EQUALITY, "LIKE", "ILIKE")
LISTS = ("IN", "NOT IN")
NULLS = ("IS NULL", "IS NOT NULL")
NUMERIC = (">", ">=", "=", "!=", "<", "<=")


@dataclass(frozen=True)
class Attribute:
    """One key of an entity: its operators, and whether it holds numbers."""

    operators: tuple[str, ...] = PATTERNS
    is_number: bool = False

    @property
    def takes_lists(self) -> bool:
        return "IN" in self.operators


@dataclass(frozen=True)
class Entity:
    """What stands before the dot of an identifier, by all of its names.

    Without `attributes`, people choose its keys, and all are like `any_key`.
    """

    name: str
    names: frozenset[str]
    any_key: Attribute = field(default_factory=Attribute)
    attributes: Mapping[str, Attribute] | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchGrammar:
    """What one kind of object can be searched and ordered by.

    `is_plural` is MLflow's later grammar, which has one name for each entity.
    """

    entities: tuple[Entity, ...]
    order_keys: tuple[str, ...] | None = None
    is_plural: bool = False

    @property
    def attributes(self) -> Entity:
        return next(entity for entity in self.entities if entity.name == "attribute")

    def entity(self, name: str) -> Entity | None:
        return next((entity for entity in self.entities if name in entity.names), None)


TEXT = Attribute()
TEXT_OR_NULL = Attribute((*PATTERNS, *NULLS))
TEXT_OR_LIST = Attribute((*PATTERNS, *LISTS))
NUMBER = Attribute(NUMERIC, is_number=True)


def _names(*names: str) -> frozenset[str]:
    return frozenset(names)


def _attributes(
    attributes: Mapping[str, Attribute],
    *,
    names: Iterable[str] = ("attribute", "attributes", "attr"),
    aliases: Mapping[str, str] | None = None,
) -> Entity:
    return Entity("attribute", frozenset(names), attributes=attributes, aliases=aliases or {})


METRICS = Entity("metric", _names("metric", "metrics"), NUMBER)
PARAMETERS = Entity("parameter", _names("parameter", "parameters", "param", "params"), TEXT_OR_NULL)
TAGS = Entity("tag", _names("tag", "tags"), TEXT_OR_NULL)

RUNS = SearchGrammar(
    (
        METRICS,
        PARAMETERS,
        TAGS,
        _attributes(
            {
                "run_id": TEXT_OR_LIST,
                "run_name": TEXT,
                "user_id": TEXT,
                "status": TEXT,
                "artifact_uri": TEXT,
                "start_time": NUMBER,
                "end_time": NUMBER,
            },
            names=("attribute", "attributes", "attr", "run"),
            aliases={
                "run name": "run_name",
                "Run name": "run_name",
                "Run Name": "run_name",
                "created": "start_time",
                "Created": "start_time",
            },
        ),
        Entity(
            "dataset",
            _names("dataset", "datasets"),
            attributes=dict.fromkeys(("name", "digest", "context"), TEXT_OR_LIST),
        ),
    )
)
EXPERIMENTS = SearchGrammar(
    (
        TAGS,
        _attributes(
            {
                "name": TEXT,
                "experiment_id": TEXT_OR_LIST,
                "creation_time": NUMBER,
                "last_update_time": NUMBER,
            }
        ),
    ),
    order_keys=("name", "experiment_id", "creation_time", "last_update_time"),
)
REGISTERED_MODELS = SearchGrammar(
    (TAGS, _attributes({"name": TEXT_OR_LIST})),
    order_keys=("name", "creation_timestamp", "last_updated_timestamp"),
)
MODEL_VERSIONS = SearchGrammar(
    (
        TAGS,
        _attributes(
            {
                "name": TEXT_OR_LIST,
                "run_id": TEXT_OR_LIST,
                "version_number": NUMBER,
                "source_path": TEXT,
            }
        ),
    ),
    order_keys=("name", "version_number", "creation_timestamp", "last_updated_timestamp"),
)
LOGGED_MODELS = SearchGrammar(
    (
        _attributes(
            {
                **dict.fromkeys(
                    ("name", "model_id", "model_type", "status", "source_run_id"), TEXT_OR_LIST
                ),
                "creation_timestamp": NUMBER,
                "last_updated_timestamp": NUMBER,
            },
            names=("attributes",),
            aliases={
                "creation_timestamp_ms": "creation_timestamp",
                "creation_time": "creation_timestamp",
                "last_updated_timestamp_ms": "last_updated_timestamp",
            },
        ),
        Entity("metric", _names("metrics"), NUMBER),
        Entity("parameter", _names("params"), TEXT_OR_LIST),
        Entity("tag", _names("tags"), TEXT_OR_LIST),
    ),
    is_plural=True,
)
