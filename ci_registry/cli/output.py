"""stdout for the result and nothing else, stderr for everything a person follows along with."""

from __future__ import annotations

import os
import sys
from typing import Any

from ..errors import CiRegistryError
from ..redaction import redact

__all__ = ["Answer", "Output"]

SCHEMA_VERSION = 1


class Answer:
    """What a command gives back: typed data, its text form, and the error it still ends with, if any."""

    def __init__(self, result: Any, text: str, error: CiRegistryError | None = None) -> None:
        self.result, self.text, self.error = result, text, error


class Output:
    """Writes the one document or text on stdout, and lines on stderr, all of it redacted."""

    def __init__(self) -> None:
        self.schema = "error"
        self.is_verbose = self.is_quiet = False
        self._format = "text"
        self._color: str | None = None
        self._answered = False
        self._result_file = os.environ.pop("CI_REGISTRY_RESULT_FILE", "")

    def choose(self, output_format: str) -> None:
        self._format = "json" if output_format == "json" else "text"

    @property
    def is_json(self) -> bool:
        return self._format == "json"

    def adjust(self, *, verbose: bool | None, quiet: bool | None, color: str | None) -> None:
        self.is_verbose = self.is_verbose or bool(verbose)
        self.is_quiet = self.is_quiet or bool(quiet)
        self._color = color or self._color

    @property
    def has_color(self) -> bool:
        """Whether stderr is coloured: asked for, forced, or a terminal that nobody forbade it for."""
        if self._color in ("always", "never"):
            return self._color == "always"
        if os.environ.get("NO_COLOR"):
            return False
        return bool(os.environ.get("FORCE_COLOR")) or (sys.stderr.isatty() and os.environ.get("TERM") != "dumb")

    # -- stdout --------------------------------------------------------------------------------------------------

    def answer(self, answer: Answer) -> None:
        """Write the result, once."""
        self._answered = True
        self._keep(answer.result, answer.error)
        if self.is_json:
            sys.stdout.write(self._document(answer.result, answer.error))
        elif answer.text:
            sys.stdout.write(answer.text if answer.text.endswith("\n") else answer.text + "\n")
        sys.stdout.flush()

    def failed(self, error: CiRegistryError) -> None:
        """In JSON a failure is a document too."""
        if self._answered:
            return
        self._keep(None, error)
        if self.is_json:
            sys.stdout.write(self._document(None, error))
            sys.stdout.flush()

    def _keep(self, result: Any, error: CiRegistryError | None) -> None:
        """The document also goes into the file that $CI_REGISTRY_RESULT_FILE names, for a build step to read."""
        name, self._result_file = self._result_file, ""
        if name:
            with open(name, "w", encoding="utf-8") as file:
                file.write(self._document(result, error))

    def _document(self, result: Any, error: CiRegistryError | None) -> str:
        import msgspec

        from ..ops.results import error_report

        document = {
            "schema": f"{self.schema}/{SCHEMA_VERSION}",
            "result": result,
            "error": error_report(error) if error else None,
        }
        content = msgspec.json.format(msgspec.json.encode(document, enc_hook=str), indent=2).decode()
        return redact(content) + "\n"

    # -- stderr --------------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """A line for who follows along."""
        if not self.is_quiet:
            self._line(text)

    def detail(self, text: str) -> None:
        """A line for who asked for more."""
        if self.is_verbose:
            self._line(text)

    def warn(self, text: str) -> None:
        if not self.is_quiet:
            self._line(self._painted("WARN", "33") + f" {text}")

    def last_words(self, error: CiRegistryError) -> None:
        """The last line of a failure: one full sentence."""
        self._line(self._painted("ERROR", "31") + f" {error.sentence()}")

    def trace(self, bug: Exception) -> None:
        """Where a bug happened, for who will mend it."""
        import traceback

        self._line("".join(traceback.format_exception(bug)).rstrip())

    def _painted(self, word: str, code: str) -> str:
        return f"\x1b[{code}m{word}\x1b[0m" if self.has_color else word

    def _line(self, text: str) -> None:
        sys.stderr.write(redact(text) + "\n")
        sys.stderr.flush()
