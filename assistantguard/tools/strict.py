"""Which JSON schemas the API takes in strict mode, and how a schema is brought into the shape that it wants."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["allows_strict", "tidy"]

_DEFINITIONS = "#/$defs/"
_MAPS_OF_SCHEMAS = frozenset({"properties", "$defs", "patternProperties", "dependentSchemas"})
_LISTS_OF_SCHEMAS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_SCHEMAS = frozenset({"items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"})

_ALLOWED = frozenset(
    {
        "$defs",
        "$ref",
        "additionalProperties",
        "anyOf",
        "const",
        "description",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "items",
        "maxItems",
        "maximum",
        "minItems",
        "minimum",
        "multipleOf",
        "pattern",
        "properties",
        "required",
        "type",
    }
)
_ALLOWED_FORMATS = frozenset(
    {
        "date",
        "date-time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "time",
        "uuid",
    }
)
_MAX_DEPTH = 5
_MAX_PROPERTIES = 100
_MAX_ENUM_VALUES = 500


def tidy(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema without titles, which cost tokens and say what the names say.

    A reference that has other keywords beside it, which strict mode refuses, is replaced by what it refers to,
    and so is one whose definition is used nowhere else.
    """
    definitions = schema.get("$defs", {})
    uses = Counter(_references(schema))
    for definition in definitions.values():
        uses.update(_references(definition))
    tidying = _Tidying(definitions, frozenset(name for name, times in uses.items() if times == 1))
    tidied: dict[str, Any] = tidying.schema({key: value for key, value in schema.items() if key != "$defs"}, ())
    kept: dict[str, Any] = {}
    wanted = list(_references(tidied))
    while wanted:
        name = wanted.pop()
        if name not in kept:
            kept[name] = tidying.schema(definitions[name], (name,))
            wanted += _references(kept[name])
    return {**tidied, "$defs": dict(sorted(kept.items()))} if kept else tidied


def allows_strict(schema: Mapping[str, Any]) -> bool:
    """Whether a function with these parameters can be declared ``strict``.

    Where the API's rules have changed over time, the narrower ones are taken: a schema that is refused fails
    every request, one that is not strict only loses the guarantee.
    """
    if schema.get("type") != "object":
        return False
    schemas = list(_subschemas(schema))
    properties = sum(len(each.get("properties", ())) for each in schemas)
    values = sum(len(each.get("enum", ())) for each in schemas)
    return (
        properties <= _MAX_PROPERTIES
        and values <= _MAX_ENUM_VALUES
        and all(_is_strict(each) for each in schemas)
        and _depth(schema, schema.get("$defs", {}), ()) <= _MAX_DEPTH
    )


def _is_strict(schema: Mapping[str, Any]) -> bool:
    if not schema.keys() <= _ALLOWED or not schema.keys() & {"type", "anyOf", "$ref"}:
        return False
    if "$ref" in schema:
        return len(schema) == 1
    kinds = schema.get("type", ())
    if kinds == "object" or "object" in kinds:
        closed = schema.get("additionalProperties") is False
        return closed and set(schema.get("required", ())) == set(schema.get("properties", ()))
    if (kinds == "array" or "array" in kinds) and "items" not in schema:
        return False
    if schema.get("format", "date") not in _ALLOWED_FORMATS:
        return False
    return "(?" not in schema.get("pattern", "")  # lookaround


def _depth(schema: Mapping[str, Any], definitions: Mapping[str, Any], inside: tuple[str, ...]) -> int:
    """How deep objects are nested. A recursive definition counts once."""
    reference = schema.get("$ref", "").removeprefix(_DEFINITIONS)
    if reference:
        if reference in inside:
            return 0
        return _depth(definitions.get(reference, {}), definitions, (*inside, reference))
    children = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    if "items" in schema:
        children.append(schema["items"])
    below = max((_depth(child, definitions, inside) for child in children), default=0)
    return below + (1 if schema.get("type") == "object" else 0)


def _subschemas(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield schema
    for key, value in schema.items():
        if key in _MAPS_OF_SCHEMAS:
            for each in value.values():
                yield from _subschemas(each)
        elif key in _LISTS_OF_SCHEMAS:
            for each in value:
                yield from _subschemas(each)
        elif key in _SCHEMAS and isinstance(value, dict):
            yield from _subschemas(value)


def _references(schema: Mapping[str, Any]) -> Iterator[str]:
    for each in _subschemas({key: value for key, value in schema.items() if key != "$defs"}):
        if "$ref" in each:
            yield each["$ref"].removeprefix(_DEFINITIONS)


@dataclass(frozen=True, slots=True)
class _Tidying:
    definitions: Mapping[str, Any]
    used_once: frozenset[str]

    def schema(self, schema: Any, inside: tuple[str, ...]) -> Any:
        """The schema, tidied. It stands inside the definitions of these names."""
        if not isinstance(schema, dict):
            return schema
        reference = schema.get("$ref", "").removeprefix(_DEFINITIONS)
        if reference in self.definitions:
            if reference in inside:
                return {"$ref": schema["$ref"]}
            if len(schema) > 1 or reference in self.used_once:
                beside = {key: value for key, value in schema.items() if key != "$ref"}
                return self.schema({**self.definitions[reference], **beside}, (*inside, reference))
        tidied: dict[str, Any] = {}
        for key, value in schema.items():
            if key == "title":
                continue
            if key in _MAPS_OF_SCHEMAS:
                tidied[key] = {name: self.schema(each, inside) for name, each in value.items()}
            elif key in _LISTS_OF_SCHEMAS:
                tidied[key] = [self.schema(each, inside) for each in value]
            elif key in _SCHEMAS:
                tidied[key] = self.schema(value, inside)
            else:
                tidied[key] = value
        return tidied
