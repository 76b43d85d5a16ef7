"""What provision did, or would do."""

from __future__ import annotations

from ..ops.provision.report import FileLine, ProvisionReport

__all__ = ["provision_text"]


def provision_text(report: ProvisionReport) -> str:
    """Files with what happened to each, containers, and the lines for the configuration where they were not put."""
    lines = [_file(report, file) for file in report.files if report.dry_run or file.outcome != "unchanged"]
    if report.files and not lines:
        lines.append(f"{report.folder}: all files are as they should be")
    lines += report.actions
    if report.password_kept_in:
        lines.append(f"the password of {report.username} is kept in {report.password_kept_in}")
    lines += [f"note: {note}" for note in report.notes]
    if report.config in ("inserted", "unchanged"):
        lines.append(f"target {report.name} is in {report.config_file}")
    elif report.targets:
        lines += ["", "for ci-registry.yaml:", "", report.targets.rstrip()]
    return "\n".join(lines)


def _file(report: ProvisionReport, file: FileLine) -> str:
    line = f"{'would be ' if report.dry_run else ''}{file.outcome}: {report.folder}/{file.path}"
    if file.mode == "0600":
        line += " (secret)"
    if not report.dry_run or file.content is None:
        return line
    return "\n".join([line, *(f"  | {text}" for text in file.content.rstrip("\n").split("\n"))])
