"""The wire: connections, retries, limits, authentication flows, TLS and proxies."""
