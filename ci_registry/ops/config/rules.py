"""Keys that exclude or need each other, and names that must exist elsewhere in the file."""

from __future__ import annotations

from collections.abc import Collection

from ...kinds.settings import HubTarget, LayoutTarget, TargetSettings
from .convert import nearest
from .document import Document
from .texts import has_variable
from .types import JenkinsSettings, Promotion, RepositorySelector, TagSelector

__all__ = ["check_jenkins_rules", "check_promotion_rules", "check_target_rules", "target_notes"]

_TLS_KEYS = ("ca", "client_cert", "fingerprint")
_REMOTE_KEYS = (
    *("username", "password", "password_file", "mirror", "proxy", "connect_to", *_TLS_KEYS, "client_key"),
    *("insecure_skip_verify", "max_connections", "requests_per_second", "retry_seconds", "chunk_bytes"),
)


def check_target_rules(document: Document, path: str, target: TargetSettings) -> None:
    """Raises `ConfigError` for keys of a target that contradict each other."""
    if target.password is not None and target.password_file is not None:
        raise document.error(f"{path}.password", "is set beside password_file", hint="keep one of the two")
    if target.client_key is not None and target.client_cert is None:
        raise document.error(
            f"{path}.client_key", "is set without client_cert", hint="name the certificate it belongs to"
        )
    template = target.repository or ""
    if "{namespace}" in template and target.namespace is None and not isinstance(target, HubTarget):
        raise document.error(
            f"{path}.repository",
            "uses {namespace}, and none is set",
            hint="set `namespace:` or leave it out of the template",
        )
    _check_plain_http(document, path, target)


def _check_plain_http(document: Document, path: str, target: TargetSettings) -> None:
    """TLS settings on a plain address are refused: whoever pinned a certificate believes to be on TLS."""
    url = getattr(target, "url", None) or ""
    said = [key for key in _TLS_KEYS if getattr(target, key) is not None]
    if said and url.lower().startswith("http://"):
        raise document.error(
            f"{path}.{said[0]}",
            "is about TLS, but the url says plain HTTP",
            hint=f"write the url as https:// or remove {said[0]}",
        )


def check_promotion_rules(
    document: Document, path: str, promotion: Promotion, targets: Collection[str], promotions: Collection[str]
) -> None:
    """Raises `ConfigError` for names that don't exist and for selectors that say too much or too little."""
    _known(document, f"{path}.from", promotion.source, targets, "target")
    for index, name in enumerate(promotion.targets):
        at = f"{path}.to[{index}]"
        _known(document, at, name, targets, "target")
        if name in promotion.targets[:index]:
            raise document.error(at, f"names the target '{name}' again", hint="name each target once")
        if name == promotion.source and promotion.rename == "{tag}":
            raise document.error(at, f"is the source '{name}' itself", hint="name another target, or set `rename:`")
    _check_selectors(document, path, promotion)
    earlier = promotion.policies.require_promoted_from
    if earlier is not None:
        at = f"{path}.policies.require_promoted_from"
        _known(document, at, earlier, [name for name in promotions if name != promotion.name], "other promotion")


def _known(document: Document, path: str, name: str, names: Collection[str], what: str) -> None:
    if name in names or has_variable(name):
        return
    guess = nearest(name, sorted(names))
    hint = f"did you mean '{guess}'?" if guess else f"known: {', '.join(sorted(names)) or 'none'}"
    raise document.error(path, f"names the {what} '{name}', which is not configured", hint=hint)


def _check_selectors(document: Document, path: str, promotion: Promotion) -> None:
    if promotion.repositories is not None:
        _exactly_one(document, f"{path}.repositories", promotion.repositories, ("glob", "regex"))
    if promotion.tags is not None:
        _exactly_one(document, f"{path}.tags", promotion.tags, ("semver", "glob", "regex"))
        if promotion.tags.newest is not None and promotion.tags.semver is None:
            raise document.error(
                f"{path}.tags.newest",
                "needs semver, which says what is newer",
                hint="use `semver:` or remove `newest:`",
            )


def _exactly_one(
    document: Document, path: str, selector: RepositorySelector | TagSelector, keys: tuple[str, ...]
) -> None:
    said = [key for key in keys if getattr(selector, key) is not None]
    if len(said) != 1:
        found = " and ".join(said) if said else "none of them"
        raise document.error(path, f"has {found}", hint=f"give exactly one of {', '.join(keys)}")


def check_jenkins_rules(document: Document, path: str, jenkins: JenkinsSettings) -> None:
    """Raises `ConfigError` for keys of `jenkins:` that contradict each other."""
    if jenkins.token is not None and jenkins.token_file is not None:
        raise document.error(f"{path}.token", "is set beside token_file", hint="keep one of the two")
    if jenkins.ca is not None and jenkins.url.lower().startswith("http://"):
        raise document.error(
            f"{path}.ca", "is about TLS, but the url says plain HTTP", hint="write the url as https://"
        )


def target_notes(path: str, target: TargetSettings, said: Collection[str]) -> list[str]:
    """Remarks about keys that are allowed but probably not meant so."""
    notes = []
    if isinstance(target, LayoutTarget):
        notes += [f"{path}.{key} has no effect on a folder of images" for key in _REMOTE_KEYS if key in said]
    elif target.insecure_skip_verify:
        cure = "pin the certificate with `fingerprint:` or name its CA with `ca:`"
        notes.append(f"{path}.insecure_skip_verify lets anybody in between read the password; {cure}")
    return notes
