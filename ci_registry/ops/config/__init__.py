"""The configuration file `ci-registry.yaml`: found, read, checked, and expanded when a target is used.

`loading` puts it together. `discovery` finds the file, `document` reads YAML with lines, `tables` and `convert` make
typed structures (`types`, and `kinds.settings` for targets), `checks` and `rules` say what is wrong, `texts` expands
`${VARIABLE}`; `schema` describes the file, `template` is the first one that `init` writes.
"""

from .loading import (
    RESERVED_NAMES,
    Config,
    CreateRepositories,
    EcrTarget,
    HubTarget,
    JenkinsSettings,
    LayoutTarget,
    NexusTarget,
    Policies,
    Promotion,
    RegistryTarget,
    RepositorySelector,
    TagSelector,
    TargetSettings,
    load,
    problems,
)

__all__ = [
    "RESERVED_NAMES",
    "Config",
    "CreateRepositories",
    "EcrTarget",
    "HubTarget",
    "JenkinsSettings",
    "LayoutTarget",
    "NexusTarget",
    "Policies",
    "Promotion",
    "RegistryTarget",
    "RepositorySelector",
    "TagSelector",
    "TargetSettings",
    "load",
    "problems",
]
