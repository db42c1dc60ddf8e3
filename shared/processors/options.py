"""Maps the JSON options of a pipeline's step to the fields of frozen dataclasses, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, ClassVar, Self

from shared.config import Config


class JsonOptions:
    """Base of frozen dataclasses whose fields are options: steps, and the options of processors.

    A field's default is the only place where an option's default stands. The field's metadata says what else is
    needed to read it, each key optional:

    - `option`: the option's name, if it is not the field's.
    - `json`: the name under which it is read, if that is not `option`.
    - `parse`: converts the JSON value (7.0 is an integer in JSON). None from it means that it is not given.
    - `setting`: the field of Config that replaces the default.

    A field whose default factory makes options of its own is read from the same JSON object.
    """

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @classmethod
    def from_json(cls, options: Mapping[str, Any], config: Config) -> Self:
        """Read options that the schema of pipelines has accepted.

        Raises:
            InvalidPipeline: The options contradict each other.
        """
        values: dict[str, Any] = {}
        for field in fields(cls):
            nested: Any = field.default_factory
            if isinstance(nested, type) and issubclass(nested, JsonOptions):
                values[field.name] = nested.from_json(options, config)
                continue
            metadata = field.metadata
            name = metadata.get("json") or metadata.get("option") or field.name
            parse = metadata.get("parse", _unchanged)
            value = parse(options[name]) if name in options else None
            if value is None and "setting" in metadata:
                value = parse(getattr(config, metadata["setting"]))
            if value is not None:
                values[field.name] = value
        return cls(**values)


def non_default_options(options: Any) -> dict[str, Any]:
    """Return the options of a step, or of a part of them, that differ from their defaults, by option name."""
    values: dict[str, Any] = {}
    for field in fields(options):
        value = getattr(options, field.name)
        if is_dataclass(value):
            values |= non_default_options(value)
        else:
            default = field.default if field.default_factory is MISSING else field.default_factory()
            if value != default:
                values[field.metadata.get("option", field.name)] = value
    return values


def sorted_tuple(values: Any) -> tuple[Any, ...]:
    """Make one value, and one digest, of lists that differ only in their order."""
    return tuple(sorted(values))


def _unchanged(value: Any) -> Any:
    return value
