"""MLflow's grammar: what its clients write is read, and what is wrong is named in their words."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.search import entities
from runs.search.entities import SearchGrammar
from runs.search.grammar import (
    MAX_CHARACTERS,
    MAX_CLAUSES,
    Clause,
    Identifier,
    InvalidSearch,
    Ordering,
    Value,
    looks_like_filter,
    parse_columns,
    parse_filter,
    parse_order,
)
from tests.property_tests import EXAMPLES

GRAMMARS = [
    entities.RUNS,
    entities.EXPERIMENTS,
    entities.REGISTERED_MODELS,
    entities.MODEL_VERSIONS,
    entities.LOGGED_MODELS,
]


def clause(entity: str, key: str, operator: str, value: Value = None) -> Clause:
    return Clause(Identifier(entity, key), operator, value)


ACCEPTED: list[tuple[str, list[Clause]]] = [
    ("metrics.`val acc` >= 1e-3", [clause("metric", "val acc", ">=", 0.001)]),
    ('metrics."val acc" < -1', [clause("metric", "val acc", "<", -1.0)]),
    ("metrics.a<-.5", [clause("metric", "a", "<", -0.5)]),
    ('params.lr = "0.1"', [clause("parameter", "lr", "=", "0.1")]),
    ("params.'x' = 'y'", [clause("parameter", "x", "=", "y")]),
    ("params.lr like '0.%'", [clause("parameter", "lr", "LIKE", "0.%")]),
    ("params.lr = 'it''s'", [clause("parameter", "lr", "=", "it''s")]),
    ("""params.a = "it's" """, [clause("parameter", "a", "=", "it's")]),
    ("param.learning-rate ILIKE 'A_'", [clause("parameter", "learning-rate", "ILIKE", "A_")]),
    ("parameter.a IS NULL", [clause("parameter", "a", "IS NULL")]),
    ("tags.a is not null", [clause("tag", "a", "IS NOT NULL")]),
    ("tags.mlflow.runName = 'x'", [clause("tag", "mlflow.runName", "=", "x")]),
    ("tag.a != 'AND; OR (x)'", [clause("tag", "a", "!=", "AND; OR (x)")]),
    ("created > 100", [clause("attribute", "start_time", ">", 100.0)]),
    ("run.status='FINISHED'", [clause("attribute", "status", "=", "FINISHED")]),
    ("attr.`Run Name` != 'x'", [clause("attribute", "run_name", "!=", "x")]),
    ("\"run name\" = 'x'", [clause("attribute", "run_name", "=", "x")]),
    ("run_id IN ('a, b','c')", [clause("attribute", "run_id", "IN", ("a, b", "c"))]),
    ("attributes.run_id not in ('1')", [clause("attribute", "run_id", "NOT IN", ("1",))]),
    ("datasets.name IN ('x')", [clause("dataset", "name", "IN", ("x",))]),
    ("dataset.context LIKE 'tr%'", [clause("dataset", "context", "LIKE", "tr%")]),
    ("metrics.a = 1 AND", [clause("metric", "a", "=", 1.0)]),
    (
        "metrics.a = 1 and params.b='2' AND end_time <= 5",
        [
            clause("metric", "a", "=", 1.0),
            clause("parameter", "b", "=", "2"),
            clause("attribute", "end_time", "<=", 5.0),
        ],
    ),
    ("", []),
]


@pytest.mark.parametrize(("text", "expected"), ACCEPTED)
def test_what_clients_write_is_read(text: str, expected: list[Clause]) -> None:
    assert parse_filter(text, entities.RUNS) == expected


QUOTED = "Expected a quoted string value for"
NUMERIC = "{'>', '>=', '=', '!=', '<', '<='}"
PATTERNS = "{'=', '!=', 'LIKE', 'ILIKE', 'IS NULL', 'IS NOT NULL'}"
ENTITIES = "['metric', 'parameter', 'tag', 'attribute', 'dataset']"
REFUSED = [
    ("metrics.a == 1", f"Invalid comparator '==' not one of '{NUMERIC}'"),
    ("metrics.acc > '0.9'", "Expected numeric value type for metric. Found '0.9'"),
    ("metrics.a = NaN", "Expected numeric value type for metric. Found NaN"),
    (
        "metrics.a LIKE 1",
        "Invalid comparator 'LIKE' not one of '{'>', '>=', '=', '!=', '<', '<='}'",
    ),
    ("params.lr = 0.1", f"{QUOTED} parameter (e.g. 'my-value'). Got value 0.1"),
    ("tags.a = 1", f"{QUOTED} tag (e.g. 'my-value'). Got value 1"),
    ("params.lr > '0.1'", f"Invalid comparator '>' not one of '{PATTERNS}'"),
    ("params.a IN ('1','2')", f"{QUOTED} parameter (e.g. 'my-value'). Got value ('1','2')"),
    (
        "metrics.a IS NULL",
        "IS NULL / IS NOT NULL is only supported for tags and params, not for 'metric' 'a'",
    ),
    (
        "start_time > '100'",
        "Expected numeric value type for numeric attribute: start_time. Found '100'",
    ),
    (
        "status IN ('a')",
        "Only ['run_id'] attributes support comparison with a list of quoted string values.",
    ),
    ("status = 1", f"{QUOTED} attributes. Got value 1"),
    ("dataset.name = x", f"{QUOTED} dataset attributes. Got value x"),
    (
        "run_id IN 'a'",
        "Expected a list of quoted string values for run_id, such as ('a', 'b'). Got value 'a'",
    ),
    (
        "run_id IN ('a' 'b')",
        "Expected a list of quoted string values, such as ('a', 'b'). Got value ('a' 'b')",
    ),
    ("run_id IN (", "Expected a list of quoted string values, such as ('a', 'b'). Got value ("),
    ("run_id = ('a')", f"{QUOTED} attributes. Got value ('a')"),
    ("metrics.a > 1 OR metrics.b > 1", "Invalid clause(s) in filter string: 'OR'"),
    ("(metrics.a > 1)", "Invalid clause(s) in filter string: '(metrics.a > 1)'"),
    ("metrics.a", "Invalid clause(s) in filter string: 'metrics.a'"),
    ("metrics.a = 1 metrics.b = 2", "Invalid clause(s) in filter string: 'metrics.b = 2'"),
    ("metrics.a = ", "Invalid clause(s) in filter string: 'metrics.a', '='"),
    ("params.a = 'x", f"{QUOTED} parameter (e.g. 'my-value'). Got value 'x"),
    ("params.a = 'x''", f"{QUOTED} parameter (e.g. 'my-value'). Got value 'x''"),
    ("foo.bar = 'x'", f"Invalid entity type 'foo'. Valid values are {ENTITIES}"),
    (
        "foo = 'x'",
        "Invalid attribute key 'foo' specified. Valid keys are '{'run_id', 'run_name', 'user_id',"
        " 'status', 'artifact_uri', 'start_time', 'end_time'}'",
    ),
    (
        "dataset.foo='x'",
        "Invalid dataset key 'foo' specified. Valid keys are '{'name', 'digest', 'context'}'",
    ),
    (
        "end_time <= 5 ; drop",
        "Search filter contained multiple expression 'end_time <= 5 ; drop'."
        " Provide AND-ed expression list.",
    ),
    ("   ", "Invalid filter '   '. Could not be parsed."),
    ("metrics.a = 1\0", "Filters have no NUL characters."),
    ("a" * (MAX_CHARACTERS + 1), "Filters have at most 16,000 characters."),
    (" AND ".join(["metrics.a = 1"] * (MAX_CLAUSES + 1)), "Filters have at most 50 comparisons."),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(InvalidSearch) as caught:
        parse_filter(text, entities.RUNS)
    assert str(caught.value) == message


OTHERS: list[tuple[SearchGrammar, str, Clause]] = [
    (entities.EXPERIMENTS, "name ILIKE 'a%'", clause("attribute", "name", "ILIKE", "a%")),
    (
        entities.EXPERIMENTS,
        "attribute.experiment_id IN ('1')",
        clause("attribute", "experiment_id", "IN", ("1",)),
    ),
    (entities.EXPERIMENTS, "creation_time > 1", clause("attribute", "creation_time", ">", 1.0)),
    (entities.EXPERIMENTS, "tags.a IS NULL", clause("tag", "a", "IS NULL")),
    (
        entities.REGISTERED_MODELS,
        "tag.`mlflow.prompt.is_prompt` != 'true'",
        clause("tag", "mlflow.prompt.is_prompt", "!=", "true"),
    ),
    (entities.REGISTERED_MODELS, "name IN ('m')", clause("attribute", "name", "IN", ("m",))),
    (
        entities.MODEL_VERSIONS,
        "version_number >= 2",
        clause("attribute", "version_number", ">=", 2.0),
    ),
    (entities.MODEL_VERSIONS, "run_id IN ('1')", clause("attribute", "run_id", "IN", ("1",))),
    (entities.LOGGED_MODELS, "params.a IN ('1', '2')", clause("parameter", "a", "IN", ("1", "2"))),
    (entities.LOGGED_MODELS, "metrics.loss < 1", clause("metric", "loss", "<", 1.0)),
    (
        entities.LOGGED_MODELS,
        "creation_time > 1",
        clause("attribute", "creation_timestamp", ">", 1.0),
    ),
]


@pytest.mark.parametrize(("grammar", "text", "expected"), OTHERS)
def test_other_objects_have_their_own_attributes(
    grammar: SearchGrammar, text: str, expected: Clause
) -> None:
    assert parse_filter(text, grammar) == [expected]


PLURAL = "Expected one of ['attributes', 'metrics', 'params', 'tags']."
REFUSED_OF_OTHERS = [
    (entities.EXPERIMENTS, "metrics.a > 1", "Invalid entity type 'metrics'. Valid values are"),
    (entities.EXPERIMENTS, "status = 'x'", "Invalid attribute key 'status' specified."),
    (entities.REGISTERED_MODELS, "description = 'x'", "Invalid attribute key 'description'"),
    (entities.MODEL_VERSIONS, "stage = 'x'", "Invalid attribute key 'stage' specified."),
    (entities.LOGGED_MODELS, "metric.a > 1", f"Invalid entity type: 'metric'. {PLURAL}"),
    (entities.LOGGED_MODELS, "params.a IS NULL", "Invalid comparison: params.a IS NULL. Expected"),
    (entities.LOGGED_MODELS, "params.a", "Invalid comparison: 'params.a'. Expected a comparison"),
]


@pytest.mark.parametrize(("grammar", "text", "message"), REFUSED_OF_OTHERS)
def test_what_other_objects_do_not_have_is_refused(
    grammar: SearchGrammar, text: str, message: str
) -> None:
    with pytest.raises(InvalidSearch) as caught:
        parse_filter(text, grammar)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metric.`a b`", Ordering(Identifier("metric", "a b"))),
        ("attributes.start_time desc", Ordering(Identifier("attribute", "start_time"), True)),
        ("run_name", Ordering(Identifier("attribute", "run_name"))),
        ("dataset.name", Ordering(Identifier("dataset", "name"))),
        ("params.lr ASC", Ordering(Identifier("parameter", "lr"))),
    ],
)
def test_orders_are_read(text: str, expected: Ordering) -> None:
    assert parse_order(text, entities.RUNS) == expected


@pytest.mark.parametrize(
    ("grammar", "text", "message"),
    [
        (
            entities.RUNS,
            "metrics.acc DESCENDING",
            "Invalid ordering key in order_by clause 'metrics.acc DESCENDING'.",
        ),
        (entities.RUNS, "foo.x", "Invalid entity type 'foo'. Valid values are"),
        (entities.RUNS, "", "Invalid order_by clause ''. Could not be parsed."),
        (entities.RUNS, "= DESC", "Invalid order_by clause '= DESC'. Could not be parsed."),
        (entities.RUNS, "run_id DESC, x", "Invalid order_by clause 'run_id DESC, x'."),
        (entities.REGISTERED_MODELS, "description", "Invalid attribute key 'description'"),
        (entities.REGISTERED_MODELS, "tags.a", "Invalid order_by entity 'tag'."),
    ],
)
def test_orders_that_cannot_be_read_are_refused(
    grammar: SearchGrammar, text: str, message: str
) -> None:
    with pytest.raises(InvalidSearch) as caught:
        parse_order(text, grammar)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "is_filter"),
    [
        ("metrics.loss < 1", True),
        ("foo.bar = 'x'", True),
        ("params.lr = 0.1", True),
        ("status LIKE 'x'", True),
        ("`Run Name` = 'x'", True),
        ("params.lr is null", True),
        ("lr=0.1", False),
        ("run.py", False),
        ("train.py like", False),
        ("what is new", False),
        ("digits", False),
        ("", False),
    ],
)
def test_filters_are_told_from_plain_words(text: str, is_filter: bool) -> None:
    assert looks_like_filter(text, entities.RUNS) is is_filter


PIECES = st.sampled_from(
    [
        *(
            "metrics.a",
            "params.`b c`",
            "tags.'d'",
            "run_id",
            "status",
            "start_time",
            "dataset.name",
        ),
        *("=", "!=", ">", "<=", "==", "LIKE", "ilike", "IN", "NOT IN", "IS NULL", "IS NOT NULL"),
        *("AND", "OR", "NOT", "IS", "(", ")", ",", ";", "'x'", '"y"', "1", "-2e5", "1e999", "NaN"),
        *("'", '"', "`", ".", "-", "\\", "\n", "é", "\0", "("),
    ]
)
TEXTS = st.one_of(st.text(), st.lists(PIECES).map(" ".join), st.lists(PIECES).map("".join))


@settings(max_examples=EXAMPLES)
@given(TEXTS, st.sampled_from(GRAMMARS))
def test_no_text_is_answered_with_another_error(text: str, grammar: SearchGrammar) -> None:
    for parse in (parse_filter, parse_order, parse_columns, looks_like_filter):
        with suppress(InvalidSearch):
            parse(text, grammar)


@pytest.mark.parametrize("piece", ["'", "''", "(", "`a.", "a.", "- ", "1", "a = (", "\"'", "is "])
def test_hostile_texts_are_refused(piece: str) -> None:
    with pytest.raises(InvalidSearch):
        parse_filter(piece * (MAX_CHARACTERS // len(piece)), entities.RUNS)
