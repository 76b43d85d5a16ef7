"""Findings about who we are to a registry."""

from __future__ import annotations

from .catalog import Entry, do, edit, run

__all__ = ["ENTRIES"]

_LOGIN = 'printf %s "$PASSWORD" | ci-registry login {target} -u {user} --password-stdin'

ENTRIES = (
    Entry(
        "no-challenge",
        "service",
        "error",
        "401 without a challenge",
        "{url} refuses without saying how to log in (no WWW-Authenticate header), so no client can: a proxy in front "
        "drops the header, or answers by itself",
        (
            edit("nginx.conf, location /v2/ for {netloc}", "proxy_pass_header WWW-Authenticate;"),
            do("let the 401 of the registry through, with its headers"),
        ),
        3,
    ),
    Entry(
        "no-credential",
        "login",
        "error",
        "a login is needed and none was found",
        "the registry wants to know who calls, and no source has a credential for {host}",
        (run('printf %s "$PASSWORD" | ci-registry login {target} -u "$USERNAME" --password-stdin'),),
        3,
    ),
    Entry(
        "wrong-password",
        "login",
        "error",
        "the credential is refused",
        "user '{user}' with the password from {source} was not let in: the password is wrong or was changed, the user "
        "is unknown, or a registry's htpasswd file holds something else than bcrypt",
        (
            run('export {variable}="$PASSWORD"'),
            run(_LOGIN),
            do("correct the password in {source}"),
        ),
        3,
    ),
    Entry(
        "htpasswd-not-bcrypt",
        "login",
        "error",
        "the registry's htpasswd file is not bcrypt",
        "{file} of container {container} holds {users} in another form; the registry takes such a file without a word "
        "and then refuses every login",
        (run('printf %s "$PASSWORD" | htpasswd -iB {file} {user}', where="{where}"),),
        3,
    ),
    Entry(
        "credential-broken",
        "login",
        "error",
        "a source of credentials is broken",
        "the search ends there, since going on would try a credential that was not meant",
        (do("{hint}"),),
        3,
    ),
    Entry(
        "credential-in-the-clear",
        "login",
        "warning",
        "a password goes over plain HTTP",
        "the password from {source} is sent to {host} unprotected",
        (do("give the registry a certificate: ci-registry provision certs --san {host}"),),
    ),
    Entry(
        "token-service-unreachable",
        "login",
        "error",
        "the token service can't be reached",
        "the registry sends logins to {realm}, which does not answer from here",
        (do("open the way to {realm}, or correct the registry's auth.token.realm"),),
        7,
    ),
    Entry(
        "token-realm-refused",
        "login",
        "error",
        "the registry names a token service that gets no password",
        "{realm} is no place to send a password to: it is not https, or an internal address of another network",
        (edit("the registry's configuration", "auth.token.realm: https://HOST/token"),),
        7,
    ),
    Entry(
        "token-not-accepted",
        "login",
        "error",
        "the registry does not accept its own token service's token",
        "the token was given and refused at once: clocks differ by more than a minute, or issuer, service or key of "
        "the "
        "two are not the same",
        (do("see the registry's log for the reason; compare auth.token's issuer and service, and both clocks"),),
        7,
    ),
)
