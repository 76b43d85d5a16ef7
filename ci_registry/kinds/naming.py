"""Where an image lands: the source's path under the target's namespace, or the target's `repository` template."""

from __future__ import annotations

from ..errors import ConfigError
from ..model.reference import check_repository
from .settings import TargetSettings

__all__ = ["landing"]


def landing(settings: TargetSettings, path: str, template: str = "", namespace: str | None = None) -> str:
    """The repository for a source path such as `team/app`; raises `ReferenceSyntaxError` when that is no name.

    `template` is the kind's own rule where the configuration has none. In it, `{namespace}` is the target's namespace,
    `{path}` the source's path, `{path_dashed}` the same with `-` for `/`, and `{name}` its last part.
    """
    namespace = settings.namespace if namespace is None else namespace
    template = settings.repository or template
    if not template:
        return check_repository(f"{namespace}/{path}" if namespace else path)
    if "{namespace}" in template and not namespace:
        raise ConfigError(
            f"targets.{settings.name}.repository uses {{namespace}}, but the target has no namespace",
            path=f"targets.{settings.name}.namespace",
            hint=f"set `namespace:` of target '{settings.name}'",
        )
    parts = {
        "namespace": namespace or "",
        "path": path,
        "path_dashed": path.replace("/", "-"),
        "name": path.rpartition("/")[2],
    }
    return check_repository(template.format_map(parts))
