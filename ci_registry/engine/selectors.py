"""Choosing repositories and tags: shell patterns, regular expressions, ranges of semantic versions."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..errors import UsageError

__all__ = ["is_referrer_tag", "matching", "newest_versions", "version_of", "version_range"]

_COMPARISON = (
    r"(?P<sign>>=|<=|!=|==|[><=^~])?\s*v?(?P<major>\d+)(?:\.(?P<minor>\d+|[xX*]))?(?:\.(?P<patch>\d+|[xX*]))?"
    r"(?:-(?P<pre>[0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?(?=[\s,]|$)"
)
_REFERRER_TAG = r"sha(256|384|512)-[0-9a-f]{64}(\.[a-z]+)?"

Test = Callable[[Any], bool]


def is_referrer_tag(tag: str) -> bool:
    """Whether a tag only lists or holds what belongs to another image: the fallback tag, cosign's signatures."""
    return bool(re.fullmatch(_REFERRER_TAG, tag))


def matching(names: Iterable[str], *, glob: str | None = None, regex: str | None = None) -> list[str]:
    """The names that fit whole, in their order. Raises `UsageError` for an expression that does not compile."""
    if glob is not None:
        return [name for name in names if fnmatch.fnmatchcase(name, glob)]
    if regex is None:
        return list(names)
    try:
        pattern = re.compile(regex)
    except re.error as error:
        raise UsageError(f"'{regex}' is not a regular expression: {error}", hint="see Python's re module") from error
    return [name for name in names if pattern.fullmatch(name)]


def version_of(tag: str) -> Any | None:
    """A tag as a `semver.Version`, None where it is none. All three numbers are needed; a leading v is left out.

    Short tags such as 1.2 are no versions: they are moved along with each release and stand for no one image.
    """
    from semver import Version

    text = tag[1:] if tag[:1] in ("v", "V") else tag
    return Version.parse(text) if Version.is_valid(text) else None


def newest_versions(tags: Iterable[str], text: str, newest: int | None = None) -> list[str]:
    """The tags whose versions are in a range, highest first; with `newest`, only so many.

    Pre-releases are left out unless the range itself names one, as in '>=2.0.0-rc.1'.
    """
    wanted = version_range(text)
    found = [(version, tag) for tag in tags if (version := version_of(tag)) is not None and wanted(version)]
    found.sort(key=lambda each: (each[0], each[1]), reverse=True)
    return [tag for _, tag in found[:newest]]


def version_range(text: str) -> Test:
    """A range such as '>=1.0 <2', '^1.2', '~1.2.3', '1.x' or '*', as a test of a version; all parts must hold.

    Raises `UsageError` for anything else.
    """
    tests: list[Test] = []
    names_prerelease = False
    rest = text.replace(",", " ").strip()
    while rest and rest != "*":
        match = re.match(_COMPARISON, rest)
        if match is None:
            raise _not_a_range(text)
        tests.append(_test(match))
        names_prerelease |= bool(match["pre"])
        rest = rest[match.end() :].strip()
    if not text.strip():
        raise _not_a_range(text)
    return lambda version: (names_prerelease or not version.prerelease) and all(test(version) for test in tests)


def _not_a_range(text: str) -> UsageError:
    return UsageError(f"'{text}' is not a range of versions", hint="write it as in '>=1.0 <2', '^1.2' or '1.x'")


def _test(match: re.Match[str]) -> Test:
    numbers = _numbers(match)
    low, high = _version(numbers, match["pre"]), _next(numbers)
    sign = match["sign"] or "="
    if sign == "^":
        return _between(low, _next(_up_to_first_not_zero(numbers)))
    if sign == "~":
        return _between(low, _next(numbers[:2]))
    tests: dict[str, Test] = {
        ">=": lambda version: version >= low,
        "<": lambda version: version < low,
        ">": (lambda version: version > low) if len(numbers) == 3 else (lambda version: version >= high),
        "<=": (lambda version: version <= low) if len(numbers) == 3 else (lambda version: version < high),
    }
    same: Test = (lambda version: version == low) if len(numbers) == 3 else _between(low, high)
    tests.update({"=": same, "==": same, "!=": lambda version: not same(version)})
    return tests[sign]


def _between(low: Any, high: Any) -> Test:
    return lambda version: low <= version < high


def _numbers(match: re.Match[str]) -> list[int]:
    """The numbers that are said; from the first x on, none."""
    numbers = [int(match["major"])]
    for part in (match["minor"], match["patch"]):
        if part is None or not part.isdigit():
            break
        numbers.append(int(part))
    return numbers


def _up_to_first_not_zero(numbers: Sequence[int]) -> Sequence[int]:
    return numbers[: next((index + 1 for index, number in enumerate(numbers) if number), len(numbers))]


def _version(numbers: Sequence[int], prerelease: str | None = None) -> Any:
    from semver import Version

    major, minor, patch = [*numbers, 0, 0][:3]
    return Version(major, minor, patch, prerelease)


def _next(numbers: Sequence[int]) -> Any:
    """The first version after all those that begin with these numbers."""
    return _version([*numbers[:-1], numbers[-1] + 1])
