"""Findings about what answers under /v2/, proxies in front of it, and what it allows."""

from __future__ import annotations

from .catalog import Entry, do, edit, put, run

__all__ = ["ENTRIES"]

_NGINX = "nginx.conf, server or location for {netloc}"

ENTRIES = (
    Entry(
        "not-a-registry",
        "service",
        "error",
        "a web server, but no registry",
        "{url} was not answered as a registry does: the port, or the path that a proxy passes on, is another",
        (
            edit(_NGINX, "location /v2/ {{ proxy_pass http://REGISTRY:5000; }}"),
            do("correct `url:` of target {target}: host and port alone, without a path"),
        ),
        7,
    ),
    Entry(
        "login-page",
        "service",
        "error",
        "a login page in place of the registry",
        "a single sign-on or web interface is in front and wants people with browsers; clients of registries can't "
        "pass it",
        (do("exempt /v2/ from the login page, or use an address that leads to the registry itself"),),
        7,
    ),
    Entry(
        "captive-portal",
        "service",
        "error",
        "the answer comes from somebody else",
        "requests to {host} are sent on to {other}: a captive portal, a filtering proxy or a wrong name server",
        (do("open {other} in a browser and log in there, or leave that network"),),
        7,
    ),
    Entry(
        "backend-down",
        "service",
        "error",
        "the proxy in front can't reach the registry",
        "{server} answers at {netloc}, but what it passes requests on to does not",
        (do("start the registry behind it, or correct proxy_pass; see the proxy's error log"),),
        7,
    ),
    Entry(
        "server-error",
        "service",
        "error",
        "the registry fails",
        "it answered with an error of its own: its storage or configuration is at fault",
        (do("see the registry's log; check free space and its storage"),),
        7,
    ),
    Entry(
        "throttled",
        "service",
        "error",
        "the registry answers too many requests",
        "it takes no more requests from here for now",
        (do("wait {wait}"), put("requests_per_second: 5"), do("log in, if you have not: limits are then wider")),
        7,
    ),
    Entry(
        "clock-skew",
        "clock",
        "warning",
        "the clocks differ",
        "this machine and the server are {seconds} seconds apart: tokens and certificates look expired, or not valid "
        "yet",
        (run("timedatectl set-ntp true"), do("if this clock is right, set that of {host}")),
    ),
    Entry(
        "pull-denied",
        "pull",
        "error",
        "this login may not read the repository",
        "the registry refuses {who} to read {repository}, or hides that it does not exist",
        (do("have the right to pull {repository} given to {who}, or log in as another: ci-registry login {target}"),),
        3,
    ),
    Entry(
        "token-without-rights",
        "pull",
        "error",
        "the token was given without the rights asked for",
        "the token service answered 200 but left out what {who} may not do in {repository}; the registry then refuses",
        (
            do(
                "have the right to {action} {repository} given to {who}, or log in as another: ci-registry login "
                "{target}"
            ),
        ),
        3,
    ),
    Entry(
        "repository-empty",
        "pull",
        "note",
        "the repository does not exist yet",
        "most registries create it at the first push",
        (),
    ),
    Entry(
        "push-denied",
        "push",
        "error",
        "this login may not push",
        "the registry refuses {who} to write to {repository}",
        (
            do(
                "have the right to push to {repository} given to {who}, or log in as another: ci-registry login "
                "{target}"
            ),
        ),
        3,
    ),
    Entry(
        "read-only",
        "push",
        "error",
        "the registry takes no pushes",
        "it is a pull-through cache or set to read-only: it refuses every write with UNSUPPORTED",
        (do("push to the registry itself and use {netloc} as its `mirror:`, or turn off maintenance.readonly"),),
        3,
    ),
    Entry(
        "body-limit",
        "push",
        "error",
        "a proxy limits the size of a request",
        "{server} in front of the registry answers 413 to a body of {size} bytes; layers are larger",
        (
            edit(_NGINX, "client_max_body_size 0;"),
            put("chunk_bytes: 524288"),
        ),
        7,
    ),
    Entry(
        "wrong-host",
        "push",
        "error",
        "the registry sends clients to another place",
        "uploads at {netloc} are continued at {location}: the proxy in front passes on a Host header without the port",
        (edit(_NGINX, "proxy_set_header Host $http_host;", "proxy_set_header X-Forwarded-Proto $scheme;"),),
        7,
    ),
    Entry(
        "wrong-forwarded-proto",
        "push",
        "error",
        "the registry believes that it is reached by plain HTTP",
        "uploads at {netloc} are continued at {location}: the proxy in front does not say that clients come by https",
        (edit(_NGINX, "proxy_set_header X-Forwarded-Proto $scheme;"),),
        7,
    ),
    Entry(
        "upload-failed",
        "push",
        "error",
        "an upload can't be opened",
        "the registry refused to begin an upload to {repository} in a way that is not known here",
        (do("see the registry's log"),),
        7,
    ),
    Entry(
        "upload-not-cancelled",
        "push",
        "note",
        "the trial upload stays until the registry clears it away",
        "this registry does not take back uploads; it holds no image and costs a little space",
        (),
    ),
    Entry(
        "no-referrers",
        "abilities",
        "note",
        "no referrers API",
        "signatures and records are kept under a fallback tag, which one writer at a time may change",
        (),
    ),
    Entry(
        "no-delete",
        "abilities",
        "note",
        "deletion is off",
        "`delete` and `prune` will be refused",
        (edit("the registry's environment", "REGISTRY_STORAGE_DELETE_ENABLED=true"),),
    ),
    Entry(
        "mirror-down",
        "reading",
        "warning",
        "the mirror can't be used",
        "images are read from the registry itself meanwhile: slower, and counted against its limits",
        (do("{hint}"), do("or take `mirror:` out of target {target}")),
    ),
    Entry(
        "pull-address-down",
        "reading",
        "error",
        "the address to pull from can't be used",
        "pushes to {url} may arrive, and whoever reads them through {address} gets nothing",
        (do("{hint}"), do("or correct `pull_url:` of target {target}, or take it out")),
        7,
    ),
)
