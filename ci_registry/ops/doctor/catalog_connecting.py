"""Findings on the way to a registry: configuration, names, the daemon's view, TCP, proxies, who speaks there."""

from __future__ import annotations

from .catalog import Entry, do, edit, put, run

__all__ = ["ENTRIES"]

ENTRIES = (
    Entry(
        "target-unusable",
        "configuration",
        "error",
        "the target can't be used as it is configured",
        "nothing was contacted: what ci-registry.yaml says about this target does not work on this machine",
        (do("{hint}"),),
        2,
    ),
    Entry(
        "client-key-mismatch",
        "configuration",
        "error",
        "the client's key is that of another certificate",
        "{client_key} was not made with {client_cert}, so no server can take the two together",
        (put("client_key: {fitting_key}"), do("give the key that {client_cert} was made with as `client_key:`")),
        2,
    ),
    Entry(
        "certs-d-unpaired",
        "configuration",
        "error",
        "a file in certs.d lies there without its other half",
        "Docker and ci-registry both refuse such a folder: NAME.cert and NAME.key are a client's pair, *.crt is a CA",
        (run("mv {lonely} {as_ca}"), do("put certificate and key there both, or move {lonely} away")),
        2,
    ),
    Entry(
        "skip-verify",
        "configuration",
        "warning",
        "insecure_skip_verify is set",
        "any certificate is taken: whoever is in between can read the password and change images",
        (put("fingerprint: {fingerprint}", "insecure_skip_verify: false"), do("set `ca:` in place of it")),
    ),
    Entry(
        "plain-http",
        "configuration",
        "warning",
        "plain HTTP to another machine",
        "passwords and images go to {host} unprotected, and Docker's daemon refuses it unless it is told otherwise",
        (run("ci-registry provision certs --folder certs-{host} --san {host}", where="the machine of {host}"),),
    ),
    Entry(
        "no-such-host",
        "names",
        "error",
        "the name of the registry can't be resolved here",
        "'{host}' is mistyped, or known only to another network: containers' names exist inside their docker network "
        "alone",
        (
            do("correct `url:` of target {target}"),
            do(
                "if it is a container: join its network (docker run --network NETWORK), or publish its port and add "
                "`connect_to: 127.0.0.1:{port}` to the target"
            ),
        ),
        7,
    ),
    Entry(
        "name-only-in-network",
        "names",
        "error",
        "the name exists only inside a docker network",
        "'{host}' is the container {container} on network {network}; this machine, and Docker's daemon, know no such "
        "name",
        (
            put("connect_to: {published}"),
            run("docker run --network {network} ...", where="where ci-registry runs"),
        ),
        7,
    ),
    Entry(
        "name-service-down",
        "names",
        "error",
        "no name server answers",
        "the name '{host}' could not be looked up at all, which says nothing about it",
        (do("check /etc/resolv.conf and the network"), put("connect_to: ADDRESS:{port}")),
        7,
    ),
    Entry(
        "daemon-no-such-host",
        "daemon",
        "warning",
        "Docker's daemon does not know the name",
        "docker push and docker pull are done by the daemon, in its own network, which has no '{host}'. ci-registry "
        "does its own pushing and is not affected",
        (
            do("push with ci-registry, not with docker"),
            edit("/etc/hosts on the daemon's machine", "{address} {host}"),
            run("docker tag IMAGE {published}/IMAGE && docker push {published}/IMAGE"),
        ),
    ),
    Entry(
        "daemon-unknown-authority",
        "daemon",
        "warning",
        "Docker's daemon does not trust the certificate",
        "the daemon has its own list of CAs; docker push and pull of {netloc} fail until it has this one",
        (
            run("mkdir -p {certs_d}", "cp {ca} {certs_d}/ca.crt", where="the daemon's machine"),
            do("put the CA that signed it into {certs_d}/ca.crt on the daemon's machine; no restart is needed"),
        ),
    ),
    Entry(
        "daemon-client-certificate",
        "daemon",
        "warning",
        "Docker's daemon shows no client certificate",
        "the registry demands one and the daemon has none for {netloc}",
        (
            run(
                "mkdir -p {certs_d}",
                "cp {client_cert} {certs_d}/client.cert",
                "cp {client_key} {certs_d}/client.key",
                where="the daemon's machine",
            ),
            do("put client.cert and client.key into {certs_d} on the daemon's machine"),
        ),
    ),
    Entry(
        "daemon-wants-tls",
        "daemon",
        "warning",
        "Docker's daemon insists on TLS",
        "the registry speaks plain HTTP, which the daemon takes only from 127.0.0.0/8 and from its insecure-registries",
        (
            edit("/etc/docker/daemon.json on the daemon's machine", '"insecure-registries": ["{netloc}"]'),
            do("then reload it: systemctl reload docker"),
        ),
    ),
    Entry(
        "daemon-refused",
        "daemon",
        "warning",
        "Docker's daemon finds nothing listening there",
        "the daemon runs in another network than this process: {netloc} is another place for it",
        (do("use one name and port that mean the same place for both, such as a published port of this machine"),),
    ),
    Entry(
        "daemon-fails",
        "daemon",
        "warning",
        "Docker's daemon can't use the registry",
        "docker push and pull go another way than ci-registry and fail there; ci-registry is not affected",
        (do("see the daemon's own words above; push with ci-registry"),),
    ),
    Entry(
        "refused",
        "tcp",
        "error",
        "nothing listens there",
        "{where} answered that no program has that port open: the registry is not running, or is on another port",
        (
            do("start the registry, or correct `url:` of target {target}"),
            run("ss -ltn 'sport = :{port}'", where="the machine of {host}"),
        ),
        7,
    ),
    Entry(
        "localhost-in-container",
        "tcp",
        "error",
        "localhost is this container",
        "this process runs in a container, where {where} is the container itself and not the machine it runs on",
        (
            put("connect_to: host.docker.internal:{port}"),
            run("docker run --add-host host.docker.internal:host-gateway ...", where="where this container is started"),
            do("join the registry's network and use its container's name"),
        ),
        7,
    ),
    Entry(
        "connector-not-published",
        "tcp",
        "error",
        "Nexus has the connector, but its port can't be reached",
        "repository '{repository}' has its connector on port {port}, and nothing at {where} passes it on: the port of "
        "the container is not published, or a firewall is in between",
        (
            run("docker run -p {port}:{port} ... sonatype/nexus3", where="the machine of Nexus"),
            do("publish port {port} of Nexus' container, or open it in the firewall"),
        ),
        7,
    ),
    Entry(
        "timeout",
        "tcp",
        "error",
        "no answer in time",
        "packets to {where} vanish: a firewall drops them, the address is wrong, or a proxy is needed to get there",
        (
            do("open port {port} on the way to {host}"),
            put("proxy: http://PROXY:3128"),
        ),
        7,
    ),
    Entry(
        "unreachable",
        "tcp",
        "error",
        "no way to that address",
        "this machine has no route to {where}, as without a VPN or in a container without network",
        (do("connect the network or VPN, or correct the address"),),
        7,
    ),
    Entry(
        "proxy-unreachable",
        "proxy",
        "error",
        "the proxy can't be reached",
        "{said_by} sends requests for {netloc} to {proxy}, which does not answer",
        (run("export NO_PROXY={host}"), put("proxy: ''"), do("correct {said_by}")),
        7,
    ),
    Entry(
        "proxy-refuses",
        "proxy",
        "error",
        "the proxy refuses to connect there",
        "{proxy}, set by {said_by}, does not allow this: proxies tunnel to port 443 alone unless told otherwise",
        (
            edit("squid.conf, before its `http_access deny CONNECT !SSL_ports`", "acl SSL_ports port {port}"),
            run("export NO_PROXY={host}"),
        ),
        7,
    ),
    Entry(
        "proxy-login",
        "proxy",
        "error",
        "the proxy wants a login",
        "{proxy}, set by {said_by}, answers 407 to whoever has no user and password there, or a wrong one",
        (do("write http://USER:PASSWORD@{proxy} into {said_by}"), run("export NO_PROXY={host}")),
        7,
    ),
    Entry(
        "http-on-https",
        "protocol",
        "error",
        "plain HTTP where TLS was expected",
        "what listens at {where} answers in plain HTTP, and the target says https://",
        (
            put("url: http://{netloc_of_http}", "{tls_settings_off}"),
            put("url: http://{netloc_of_http}"),
            do("give the registry a certificate: ci-registry provision certs"),
        ),
        7,
    ),
    Entry(
        "https-on-http",
        "protocol",
        "error",
        "TLS where plain HTTP was expected",
        "what listens at {where} speaks TLS, and the target says http://",
        (put("url: https://{netloc_of_https}"),),
        7,
    ),
    Entry(
        "not-http",
        "protocol",
        "error",
        "something else than HTTP answers",
        "the program at {where} is no web server: the port belongs to something else",
        (do("correct the port in `url:` of target {target}"),),
        7,
    ),
    Entry(
        "dropped",
        "protocol",
        "error",
        "the connection is closed without an answer",
        "something accepts connections at {where} and closes them: a port mapping to a container that does not listen "
        "there, a firewall, or a service that is starting",
        (do("check that the registry listens on the port that {port} is mapped to, and see its log"),),
        7,
    ),
)
