"""The verifier's own schema, against the values that the service signs."""

import pytest

from service.domain.certificates import PREDICATE_TYPE, Predicate
from service.domain.entries import ENTRIES, Corrected, KeyChanged
from service.ledger import schema
from service.ledger.schema import Each, Maybe, Named, Number, require
from service.ledger.untrusted import RefusedError
from tests.service.ledger_fixture import ERASED, FORGOTTEN, LEAKED

VALUES = {PREDICATE_TYPE: Predicate} | {each.type: each for each in ENTRIES if each is not KeyChanged}


def parts(shape, path=()):
    """(path, names) of every object with fields in a shape."""
    match shape:
        case Maybe(inner) | Each(inner) | Named(inner):
            return parts(inner, path)
        case dict():
            plain = {name.removesuffix("?"): inner for name, inner in shape.items()}
            inner = {k: v for name, each in plain.items() for k, v in parts(each, (*path, name)).items()}
            return {path: set(plain)} | inner
        case _:
            return {}


def fields(document, value, path=()):
    """The same of a JSON Schema."""
    value = document["$defs"][value["$ref"].rpartition("/")[2]] if "$ref" in value else value
    options = [each for each in value.get("anyOf", ()) if each.get("type") != "null"]
    if options:
        return fields(document, options[0], path)
    if value.get("type") == "array" and "items" in value:
        return fields(document, value["items"], path)
    if "properties" in value:
        known = value["properties"]
        return {path: set(known)} | {k: v for n, e in known.items() for k, v in fields(document, e, (*path, n)).items()}
    return {}


def test_every_kind_of_entry_about_a_request_has_a_shape():
    assert schema.PREDICATES.keys() == VALUES.keys()


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.split("/")[-2])
def test_a_shape_asks_for_every_field_and_for_no_other(kind):
    document = VALUES[kind].model_json_schema()

    assert parts(schema.PREDICATES[kind]) == fields(document, document)


@pytest.mark.parametrize("entry", [LEAKED, ERASED, FORGOTTEN])
def test_what_the_service_signs_is_of_its_shape(entry):
    require(entry.model_dump(mode="json"), schema.PREDICATES[entry.type], "predicate")


@pytest.mark.parametrize(
    ("shape", "good", "bad"),
    [
        ("[a-z]+", ["a", "abc"], ["", "A", "a\n", 1, None, ["a"], True]),
        (range(1, 3), [1, 2], [0, 3, 1.0, True, "1", None]),
        (Number(0, 1), [0, 0.5, 1], [-0.1, 1.1, True, "0", None, []]),
        (frozenset({"x"}), ["x"], ["y", None, ["x"], 0]),
        (bool, [True, False], [0, 1, None, "true"]),
        (dict, [{}, {"a": 1}], [[], None, "a"]),
        (Maybe(bool), [None, True], [0, "", []]),
        (Each(bool, 1, 2), [[True], [True, False]], [[], [True] * 3, True, {}, None, [None]]),
        (Named(bool), [{}, {"a": True}], [{"a": 1}, {"a b": True}, {"": True}, [], None]),
        ({"a": bool, "b?": bool}, [{"a": True}, {"a": True, "b": False}, {"a": True, "c": 1}], [{}, {"b": True}, []]),
    ],
)
def test_a_value_is_of_a_shape_or_it_is_refused(shape, good, bad):
    for value in good:
        require(value, shape, "value")
    for value in bad:
        with pytest.raises(RefusedError, match="value"):
            require(value, shape, "value")


def test_a_refusal_names_the_place_and_repeats_nothing():
    entry = Corrected.model_construct(reason="person-7").model_dump()

    with pytest.raises(RefusedError) as refused:
        require(entry, schema.PREDICATES[Corrected.type], "predicate")

    assert "person-7" not in str(refused.value)
    assert str(refused.value).startswith("predicate.")
