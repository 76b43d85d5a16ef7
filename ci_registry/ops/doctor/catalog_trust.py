"""Findings about TLS: who signed the certificate, for whom, until when, and what is asked of the client."""

from __future__ import annotations

from .catalog import Entry, do, edit, put, run

__all__ = ["ENTRIES"]

_SAVE = "openssl s_client -connect {dialled} -servername {host} </dev/null | openssl x509 -out {saved}"

ENTRIES = (
    Entry(
        "unknown-authority",
        "tls",
        "error",
        "the CA that signed the certificate is not known here",
        "the certificate is signed by '{issuer}', which neither `ca:`, certs.d nor the system's store holds; or the "
        "server does not send the certificates in between",
        (
            put("fingerprint: {fingerprint}"),
            do("better: get the certificate of '{issuer}' and name its file as `ca:` of target {target}"),
        ),
        7,
    ),
    Entry(
        "self-signed",
        "tls",
        "error",
        "the certificate is signed by itself",
        "nobody vouches for it, so it must be known beforehand",
        (
            put("fingerprint: {fingerprint}"),
            run("mkdir -p {saved_folder}", _SAVE, "then name {saved} as `ca:` of target {target}"),
            do("in either case compare the fingerprint with that on the server first"),
        ),
        7,
    ),
    Entry(
        "name-mismatch",
        "tls",
        "error",
        "the certificate is for another name",
        "it is good for {names}, and the target calls {host}",
        (
            put("url: https://{certified}:{port}", "connect_to: {dialled}"),
            run("ci-registry provision certs --san {host} --renew", where="the machine of the registry"),
        ),
        7,
    ),
    Entry(
        "common-name-only",
        "tls",
        "error",
        "the certificate has a common name only",
        "names are looked for in subjectAltName alone since years; '{common_name}' in the common name counts for "
        "nothing",
        (
            put("fingerprint: {fingerprint}"),
            run("ci-registry provision certs --san {host} --renew", where="the machine of the registry"),
        ),
        7,
    ),
    Entry(
        "expired",
        "tls",
        "error",
        "the certificate has expired",
        "it ended on {not_after}, and this machine's clock says {now}",
        (
            run("ci-registry provision certs --san {host} --renew", where="the machine of the registry"),
            do("if the clock is wrong, set that first: timedatectl set-ntp true"),
        ),
        7,
    ),
    Entry(
        "not-yet-valid",
        "tls",
        "error",
        "the certificate is not valid yet",
        "it begins on {not_before}, and this machine's clock says {now}: most often the clock is wrong",
        (run("timedatectl set-ntp true"), do("or have the certificate issued again")),
        7,
    ),
    Entry(
        "expires-soon",
        "tls",
        "warning",
        "the certificate ends soon",
        "it ends on {not_after}; from then on every client refuses it",
        (run("ci-registry provision certs --san {host} --renew", where="the machine of the registry"),),
    ),
    Entry(
        "client-certificate-needed",
        "tls",
        "error",
        "the server wants a client certificate",
        "the registry has `clientcas` (mutual TLS), and this target shows no certificate",
        (
            put("client_cert: {made_cert}", "client_key: {made_key}"),
            do(
                "get a certificate signed by the CA in the registry's clientcas, and set `client_cert:` and "
                "`client_key:`"
            ),
        ),
        7,
    ),
    Entry(
        "client-certificate-refused",
        "tls",
        "error",
        "the server refuses the client certificate",
        "{client_cert}, of '{subject}', issued by '{issuer}', is not what the registry's `clientcas` signed, has "
        "ended, or is not for client authentication",
        (
            put("client_cert: {made_cert}", "client_key: {made_key}"),
            do("show one that is signed by a CA in the registry's clientcas"),
        ),
        7,
    ),
    Entry(
        "fingerprint-changed",
        "tls",
        "error",
        "the server shows another certificate than the pinned one",
        "it was renewed, or somebody is in between",
        (put("fingerprint: {fingerprint}"), do("but only after comparing it with the server's own")),
        7,
    ),
    Entry(
        "tls-too-old",
        "tls",
        "error",
        "the server speaks only old versions of TLS",
        "TLS 1.0 and 1.1 are broken, and refused here",
        (edit("nginx.conf, server for {netloc}", "ssl_protocols TLSv1.2 TLSv1.3;"), do("update the server")),
        7,
    ),
    Entry(
        "handshake-failed",
        "tls",
        "error",
        "the TLS handshake failed",
        "the two sides could not agree; the words above are OpenSSL's",
        (run("openssl s_client -connect {dialled} -servername {host}"),),
        7,
    ),
)
