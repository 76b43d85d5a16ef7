"""kind: ecr. Amazon ECR, private and public: addresses from account and region, tokens from boto3, repositories that
are created before the first push, and tags that may be immutable there."""

from __future__ import annotations

import json
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ..adapters.aws import Aws, AwsAccess, NewRepository
from ..errors import AccessError, CiRegistryError, ConfigError, NotFoundError
from ..model.ecr_hosts import PUBLIC_HOST, EcrHost, ecr_host, private_host
from ..transport.exchange import Reply
from ..transport.origin import Origin
from ..transport.problem import diagnostics
from .base import Connections
from .ecr_tokens import EcrAuthoriser, EcrTokens
from .endpoint import Endpoint
from .plain import PlainRegistry
from .settings import CreateRepositories, EcrTarget

__all__ = ["EcrRegistry", "open_ecr"]


def open_ecr(settings: EcrTarget, connections: Connections) -> EcrRegistry:
    """The target; Amazon is asked for nothing yet."""
    return EcrRegistry(settings, connections)


class EcrRegistry(PlainRegistry):
    """Account and region come from the settings, the host in `url:`, or else from what the AWS token answers."""

    def __init__(self, settings: EcrTarget, connections: Connections) -> None:
        shown = PUBLIC_HOST if settings.public else ""
        super().__init__(settings, settings.url or "", connections, shown=shown)
        self._ecr = settings
        self._said = ecr_host(settings.url.partition("://")[2].partition("/")[0]) if settings.url else None
        self._prepared: set[str] = set()

    # -- where it is ---------------------------------------------------------------------------------------------

    @property
    def is_public(self) -> bool:
        return self._ecr.public or (self._said is not None and self._said.public)

    def address(self) -> str:
        if self._ecr.url:
            if self._said is not None and self._said.region and not self._ecr.name:
                self.aws.check_region()  # nobody wrote that address into a configuration: it may be mistyped
            return self._ecr.url
        if self.is_public:
            return f"https://{PUBLIC_HOST}"
        if not self._ecr.account:
            return self._own_registry()
        if not self._ecr.endpoint_url:
            self.aws.check_region()
        return f"https://{private_host(self._ecr.account, self.aws.region())}"

    def _own_registry(self) -> str:
        """The registry of whoever the AWS keys belong to."""
        endpoint = self.tokens.current().endpoint
        if not endpoint:
            raise ConfigError(
                f"target '{self.name}' has no account, and the AWS token names none",
                path=f"targets.{self.name}.account",
                hint="set `account:` and `region:`",
            )
        return endpoint

    @property
    def account(self) -> str | None:
        """The account whose registry this is; None for the caller's own."""
        return self._ecr.account or (self._said.account if self._said else None) or None

    # -- who we are ----------------------------------------------------------------------------------------------

    @cached_property
    def aws(self) -> Aws:
        ecr, said = self._ecr, self._said or EcrHost()
        return Aws(
            AwsAccess(
                region=said.region or ecr.region,
                profile=ecr.profile,
                role_arn=ecr.role_arn,
                endpoint_url=ecr.endpoint_url,
                public=self.is_public,
                fips=said.fips,
                dual_stack=said.dual_stack,
                proxy=ecr.proxy,
            )
        )

    @cached_property
    def tokens(self) -> EcrTokens:
        return EcrTokens(self.aws, lambda: self.credential_host, optional=self.is_public)

    def providers(self) -> list[EcrTokens]:
        """Asked before docker's configuration, where a token is usually one that has ended."""
        return [self.tokens]

    def make_endpoint(self, origin: Origin, **differences: Any) -> Endpoint:
        manners = {"make_authoriser": partial(EcrAuthoriser, tokens=self.tokens)}
        return super().make_endpoint(origin, **{**manners, **differences})

    # -- repositories --------------------------------------------------------------------------------------------

    def repositories(self) -> list[str]:
        return self.aws.repository_names(self.account)

    def prepare_repository(self, name: str) -> None:
        """Create a repository that is missing, if the target says so; one that is there is left as it is."""
        wanted = self._ecr.create_repositories
        with self._lock:
            if wanted is None or not wanted.enabled or name in self._prepared:
                return
            self._prepared.add(name)
        self._create(wanted, name)

    def _create(self, wanted: CreateRepositories, name: str) -> None:
        # In a public registry the first part of a name is the registry's alias.
        bare = name.partition("/")[2] or name if self.is_public else name
        new = NewRepository(
            bare, wanted.immutable_tags, wanted.scan_on_push, wanted.kms_key, self._policy(wanted), wanted.tags
        )
        try:
            created = self.aws.create_repository(new, self.account)
        except AccessError as error:
            if not self._exists(bare):
                raise error.on("target", self.name) from error
            return
        if created:
            self._connections.notify(f"created the repository {self.shown}/{name}")

    def _exists(self, name: str) -> bool:
        """Whether a repository that may not be created is there already; not known means no."""
        try:
            return self.aws.repository_exists(name, self.account)
        except AccessError:
            return False

    def _policy(self, wanted: CreateRepositories) -> str:
        """The text of the lifecycle policy; checked before anything is created."""
        if not wanted.lifecycle_policy:
            return ""
        path = f"targets.{self.name}.create_repositories.lifecycle_policy"
        try:
            text = Path(wanted.lifecycle_policy).read_text(encoding="utf-8")
            json.loads(text)
        except OSError as error:
            raise ConfigError(f"the file of {path} can't be read: {error.strerror}", path=path) from error
        except ValueError as error:
            raise ConfigError(
                f"{wanted.lifecycle_policy} of {path} is not JSON: {error}",
                path=path,
                hint='begin it with {"rules": [...]}',
            ) from error
        return text

    # -- refusals ------------------------------------------------------------------------------------------------

    def explain(self, reply: Reply, failed: CiRegistryError) -> CiRegistryError:
        codes = {entry.code for entry in diagnostics(reply.body)}
        if isinstance(failed, NotFoundError) and "NAME_UNKNOWN" in codes:
            return NotFoundError(
                failed.message,
                hint="create it, or set `create_repositories: {enabled: true}` of the target; check account and region",
            )
        if isinstance(failed, AccessError) and b"not authorized to perform" in reply.body:
            return AccessError(failed.message, hint="allow that action on that repository to this identity (IAM)")
        return super().explain(reply, failed)
