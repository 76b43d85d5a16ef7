"""The commented first `ci-registry.yaml` that `ci-registry init` writes."""

from __future__ import annotations

from pathlib import Path

from ...errors import StorageError, UsageError

__all__ = ["TEMPLATE", "write_first_file"]

TEMPLATE = """\
# ci-registry.yaml: where images are, and how they get from one place to the next.
#
# A line that begins with # and no space after it is an example: remove the # to use it.
# ${NAME} is the environment variable NAME, read when that target is used; $${ is a plain ${.
# Passwords and tokens never stand here: only ${NAME}, or a file named with password_file or token_file.
# Paths are relative to this file. Check it with `ci-registry config validate`.

targets:
  # A registry container on this machine. Plain HTTP must be said: http://
  dev: {kind: registry, url: "http://localhost:5000"}

  # A registry with a certificate of your own CA that wants one of the client too.
  #secure:
    #kind: registry
    #url: https://registry:5000
    #ca: certs/ca.pem
    #client_cert: certs/client.pem
    #client_key: certs/client.key

  # A registry behind nginx, with a user and a password.
  #proxied:
    #kind: registry
    #url: https://registry.example.org
    #username: ci
    #password: ${PROXIED_PASSWORD}
    #namespace: team                      # put in front of each image's path
    #immutable_tags: ["v*"]               # never moved once they exist; true for all
    #protected_tags: ["release-*"]        # never removed by delete and prune
    #max_connections: 8
    #retry_seconds: 120
    #chunk_bytes: 67108864                # for a proxy with a limit on the size of a body

  # A docker repository of Nexus 3: its connector's port, and the web interface.
  #nexus:
    #kind: nexus
    #url: https://nexus:8083
    #api: https://nexus:8443
    #nexus_repository: docker

  # Docker Hub. The namespace is your user or organisation.
  #hub:
    #kind: dockerhub
    #namespace: my-organisation
    #repository: "{namespace}/{name}"     # of {namespace} {path} {path_dashed} {name}

  # Amazon ECR. Account and region come from your AWS credentials where they are left out.
  #ecr:
    #kind: ecr
    #account: "123456789012"              # in quotes
    #region: eu-west-1
    #create_repositories:
      #enabled: true
      #immutable_tags: true
      #scan_on_push: true

  # A folder of images, such as a disk that is carried to another site.
  #backup: {kind: oci-layout, path: /srv/images}

# Ways to promote images: `ci-registry promote --promotion release`
#promotions:
  #release:
    #from: dev
    #to: [ecr, hub]
    #repositories: {glob: "team/*"}       # or regex:
    #tags: {semver: ">=1.0", newest: 20}  # or glob: or regex:
    #rename: "{tag}"
    #atomic: image                        # plan: no tag moves unless all content is everywhere
    #policies:
      #require_platforms: [linux/amd64]
      #require_labels: [org.opencontainers.image.revision]
      #max_age_days: 30
      #forbid_change_requests: true

# The Jenkins server for `ci-registry jenkins`.
#jenkins:
  #url: https://jenkins.example.org
  #username: ci
  #token: ${JENKINS_TOKEN}
"""


def write_first_file(file: Path) -> None:
    """Write the template to a file that must not exist yet.

    Raises `UsageError` when it exists and `StorageError` when it can't be written; then nothing is left behind.
    """
    try:
        with file.open("x", encoding="utf-8") as stream:
            try:
                stream.write(TEMPLATE)
                stream.flush()
            except OSError:
                file.unlink()
                raise
    except FileExistsError as error:
        raise UsageError(
            f"{file} exists already and is left as it is", hint="edit it, or move it away and run `init` again"
        ) from error
    except OSError as error:
        raise StorageError(f"{file} can't be written: {error.strerror}", hint="check the folder") from error
