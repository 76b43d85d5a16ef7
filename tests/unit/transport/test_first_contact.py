"""One request learns for all what a registry wants: `RegistryAuthoriser.first_contact`."""

from __future__ import annotations

import threading

from ci_registry.transport.auth import RegistryAuthoriser
from ci_registry.transport.origin import Origin


def test_those_who_waited_for_the_first_do_not_wait_for_each_other() -> None:
    authoriser = RegistryAuthoriser(Origin("http", "registry", 80), lambda: None, lambda *_: None)  # type: ignore
    inside, waiting = threading.Barrier(4), threading.Barrier(4)

    def later() -> None:
        waiting.wait(10)
        with authoriser.first_contact():
            inside.wait(10)

    threads = [threading.Thread(target=later) for _ in range(3)]
    for thread in threads:
        thread.start()
    with authoriser.first_contact():
        waiting.wait(10)
        authoriser.accepted({})
    inside.wait(10)  # all of them at once
    for thread in threads:
        thread.join(10)
