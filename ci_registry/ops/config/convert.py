"""Plain data to a typed structure; what does not fit is said with its path, what was expected and what was found."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

import msgspec

from ...errors import ConfigError
from ...kinds.settings import KINDS
from .document import Document
from .texts import SECRET_KEYS, has_variable, literal_secret

__all__ = ["convert", "keys_of", "nearest"]

T = TypeVar("T", bound=msgspec.Struct)

_WORDS = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping of keys to values",
}
# A value of each type that a `${VARIABLE}` may stand for, used while the variable is not expanded.
_PLACEHOLDERS: dict[str, Any] = {"int": 1, "float": 1.0, "bool": False}


def convert(document: Document, path: str, data: Any, kind: type[T], *, name: str = "", expanded: Any = None) -> T:
    """Check `data`, found at `path`, against a structure and return it.

    Without `expanded` a `${VARIABLE}` fits any single value. `expanded` is `data` with the variables' values in it:
    then that is converted, texts are taken for numbers and truth values, and messages still show `data` only.
    Raises `ConfigError`.
    """
    clean = _clean(document, path, data if expanded is None else expanded, kind)
    if "name" in kind.__struct_fields__:
        clean["name"] = name
    while True:
        try:
            found = msgspec.convert(clean, kind, strict=expanded is None)
            break
        except msgspec.ValidationError as error:
            if expanded is not None or not _put_placeholder(clean, error, kind):
                raise _mismatch(document, path, data, error, kind) from None
    _check_finite(document, path, found)
    return found


def _check_finite(document: Document, path: str, found: msgspec.Struct) -> None:
    """YAML knows .inf, and every number we take is one of seconds, days or requests."""
    for field in _fields(type(found)):
        value = getattr(found, field.name)
        if isinstance(value, msgspec.Struct):
            _check_finite(document, f"{path}.{field.encode_name}", value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise document.error(f"{path}.{field.encode_name}", "must be a number, but is infinite")


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


def keys_of(kind: type[msgspec.Struct]) -> list[str]:
    """The keys a structure has in the file, `kind` first where there is one."""
    tagged = ["kind"] if kind.__struct_config__.tag is not None else []
    return tagged + [field.encode_name for field in _fields(kind) if field.name != "name"]


def nearest(word: str, known: list[str]) -> str:
    """The known word most like `word`, or ""."""
    import difflib

    return next(iter(difflib.get_close_matches(word.lower(), known, 1, 0.6)), "")


def _clean(document: Document, path: str, data: Any, kind: type[msgspec.Struct]) -> dict[str, Any]:
    """A copy of one mapping without empty values; refuses unknown and missing keys, in nested structures too."""
    if not isinstance(data, Mapping):
        raise document.error(path, f"must be {_WORDS['object']}, but is {_found(data)}")
    known = keys_of(kind)
    for key in data:
        if key not in known:
            raise _unknown_key(document, path, key, kind)
    said = {key: value for key, value in data.items() if value is not None}
    for field in _fields(kind):
        if field.required and field.encode_name not in said:
            raise document.error(f"{path}.{field.encode_name}", "is missing", hint=_describe(field))
        inner = _structure(field.type) if field.encode_name in said else None
        if inner is not None:
            below = f"{path}.{field.encode_name}"
            said[field.encode_name] = _clean(document, below, said[field.encode_name], inner)
    return said


def _unknown_key(document: Document, path: str, key: object, kind: type[msgspec.Struct]) -> ConfigError:
    word, colon, _ = str(key).partition(":")
    if colon:
        # `{password:hunter2}` is one key to YAML; what follows the colon must not be shown.
        return document.error(f"{path}.{word}", "has no space after its colon", hint="write `key: value`")
    known = keys_of(kind)
    tag = kind.__struct_config__.tag
    what = f"is not a known key of kind {tag}" if tag else "is not a known key"
    guess = nearest(str(key), known)
    others = [other for other, owner in KINDS.items() if key in keys_of(owner)] if tag else []
    if others:
        hint = f"that key belongs to kind {' and '.join(others)}"
    elif guess:
        hint = f"did you mean `{guess}`?"
    else:
        hint = f"known keys: {', '.join(known)}"
    return document.error(f"{path}.{key}".lstrip("."), what, hint=hint)


def _structure(annotation: Any) -> type[msgspec.Struct] | None:
    """The structure inside `Annotated[Structure | None, ...]`, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return annotation
    return next((found for part in get_args(annotation) if (found := _structure(part))), None)


def _describe(field: msgspec.structs.FieldInfo) -> str:
    notes = [note.description for note in getattr(field.type, "__metadata__", ()) if isinstance(note, msgspec.Meta)]
    return f"add `{field.encode_name}:`: {notes[0]}" if notes and notes[0] else f"add `{field.encode_name}:`"


# What msgspec says, such as "Expected `int | null`, got `str` - at `$.create_repositories.tags[...]`"


def _place(error: msgspec.ValidationError) -> list[str]:
    """The steps to the value: keys, list indexes as `[0]`, and `[...]` for any key of a free mapping."""
    found = re.search(r" - at (?:`key` in )?`\$([^`]*)`$", str(error))
    return re.findall(r"[^.\[\]]+|\[[^\]]*\]", found[1].replace("[...]", "[*]")) if found else []


def _look_up(data: Any, steps: list[str]) -> tuple[str, Any]:
    """The dotted path below `data` and the value there, as far as the steps can be followed."""
    path = ""
    for step in steps:
        if step == "[*]":
            key, data = next(((k, v) for k, v in data.items() if not isinstance(v, str)), ("", data))
            path += f".{key}"
        elif step.startswith("["):
            data = data[int(step[1:-1])]
            path += step
        else:
            data = data[step]
            path += f".{step}"
    return path, data


def _put_placeholder(clean: dict[str, Any], error: msgspec.ValidationError, kind: type[msgspec.Struct]) -> bool:
    """Replace the `${VARIABLE}` that the error is about by a value that fits; False if that is not the reason."""
    steps = _place(error)
    if not steps or not has_variable(_look_up(clean, steps)[1]):
        return False
    *above, last = steps
    owner = _look_up(clean, above)[1]
    expected = re.match(r"Expected `(\w+)", str(error))
    choices = _choices(kind, steps)
    if not isinstance(owner, dict) or (expected and expected[1] not in _PLACEHOLDERS) or not (expected or choices):
        return False
    owner[last] = _PLACEHOLDERS[expected[1]] if expected else choices[0]
    return True


def _mismatch(
    document: Document, path: str, data: Any, error: msgspec.ValidationError, kind: type[msgspec.Struct]
) -> ConfigError:
    steps = _place(error)
    below, value = _look_up(data, steps)
    if "at `key` in" in str(error):
        return document.error(path + below, "has a key that is not a text", hint="put the key in quotes")
    key = next((step for step in reversed(steps) if not step.startswith("[")), "")
    if key in SECRET_KEYS and not isinstance(value, (Mapping, list)):
        return literal_secret(document, path + below)
    expected = _expected(error, _choices(kind, steps))
    return document.error(path + below, f"must be {expected}, but is {_found(value)}", hint=_cure(expected, value))


def _expected(error: msgspec.ValidationError, choices: list[str]) -> str:
    if choices:
        return " or ".join(choices)
    found = re.match(r"Expected `([^`]*)`( of length)?(?: (>=|<=|>|<) ([0-9.]+))?", str(error))
    if found is None:
        return "something else"
    if found[2]:
        return "a list that is not empty"
    words = " or ".join(_WORDS.get(name, name) for name in found[1].split(" | ") if name != "null")
    return f"{words} {found[3]} {float(found[4]):g}" if found[3] else words


def _choices(kind: type[msgspec.Struct], steps: list[str]) -> list[str]:
    """The values a `Literal` field may have."""
    field = next((item for item in _fields(kind) if [item.encode_name] == steps), None)
    literal = next(iter(get_args(field.type)), None) if field else None
    return [text for text in get_args(literal) if isinstance(text, str)]


def _found(value: object) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if has_variable(value):
        return f"what {value} holds"
    if isinstance(value, str):
        return f"the text '{value if len(value) <= 40 else value[:40] + '...'}'"
    if isinstance(value, Mapping):
        return "a mapping of keys to values"
    return "a list" if isinstance(value, (list, tuple)) else f"a {type(value).__name__}"


def _cure(expected: str, value: object) -> str:
    if expected == _WORDS["str"] and not isinstance(value, (Mapping, list)):
        return "put the value in quotes"
    if expected == _WORDS["array"] and isinstance(value, str):
        return "write it as a list with one element: [...]"
    return ""
