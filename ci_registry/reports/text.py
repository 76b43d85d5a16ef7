"""Results as text for a terminal or a build log."""

from __future__ import annotations

from collections.abc import Sequence

from ..ops.results import (
    ChainReport,
    CopyReport,
    ImageReport,
    Part,
    RepositoryList,
    TagList,
    TargetList,
    VerifyReport,
)

__all__ = [
    "chain_text",
    "copy_summary",
    "copy_text",
    "image_text",
    "repositories_text",
    "size_text",
    "table",
    "tags_text",
    "targets_text",
    "verify_text",
]


def size_text(count: int) -> str:
    """Bytes as people read them: 512 B, 1.5 MB."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows in aligned columns; the first row is the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def copy_text(report: CopyReport) -> str:
    """What arrived: one `HOST/REPO@DIGEST` a line, for scripts to read."""
    lines = [
        delivered.reference
        for image in report.images
        for delivered in image.destinations
        if delivered.outcome != "failed"
    ]
    return "\n".join(dict.fromkeys(lines))


def copy_summary(report: CopyReport) -> str:
    """One line of totals for stderr."""
    counts = report.counts
    verb = "would copy" if report.dry_run else "copied"
    parts = [f"{verb} {counts['blobs_copied']} blobs ({size_text(counts['bytes_written'])})"]
    if counts["blobs_mounted"]:
        parts.append(f"{'would mount' if report.dry_run else 'mounted'} {counts['blobs_mounted']}")
    if counts["blobs_present"]:
        parts.append(f"{counts['blobs_present']} already there")
    if counts["blobs_left_out"]:
        parts.append(f"{counts['blobs_left_out']} left where their URLs say")
    if counts["tags_unchanged"]:
        parts.append(f"{counts['tags_unchanged']} tags unchanged")
    return ", ".join(parts)


def image_text(report: ImageReport) -> str:
    """A manifest's facts, one a line, and its parts as a table."""
    facts = [
        ("reference", report.reference),
        ("type", report.media_type),
        ("digest", report.digest),
        ("size", f"{report.size} bytes"),
        ("platforms", ", ".join(report.platforms)),
        ("created", report.created or ""),
        ("artifact type", report.artifact_type),
        ("subject", report.subject or ""),
    ]
    lines = [f"{name + ':':<15}{value}" for name, value in facts if value]
    lines += [f"{'label:':<15}{key}={value}" for key, value in sorted(report.labels.items())]
    lines += [f"{'annotation:':<15}{key}={value}" for key, value in sorted(report.annotations.items())]
    parts = [("manifest", part) for part in report.manifests]
    parts += [("config", report.config)] if report.config else []
    parts += [("layer", layer) for layer in report.layers]
    parts += [("referrer", part) for part in report.referrers or []]
    if parts:
        lines += ["", table([("PART", "DIGEST", "SIZE", "WHAT"), *(_part_row(kind, part) for kind, part in parts)])]
    return "\n".join(lines)


def _part_row(kind: str, part: Part) -> tuple[str, str, str, str]:
    return kind, part.digest, size_text(part.size), part.platform or part.artifact_type or part.media_type


def repositories_text(report: RepositoryList) -> str:
    return "\n".join(report.repositories)


def tags_text(report: TagList) -> str:
    return "\n".join(report.tags)


def verify_text(report: VerifyReport) -> str:
    """What was checked, and each problem on a line of its own."""
    depth = "every byte read" if report.deep else "presence checked"
    head = (
        f"{report.place} is {report.digest}: {report.manifests} manifests, {report.blobs} blobs, "
        f"{size_text(report.bytes)}, {depth}"
    )
    return "\n".join([head, *(f"problem: {problem}" for problem in report.problems)])


def chain_text(report: ChainReport) -> str:
    """The links of a credential chain as a table, in the order in which they are asked."""
    rows = [(link.source, link.outcome, link.detail) for link in report.links]
    return f"{report.target} ({report.host})\n" + table([("SOURCE", "OUTCOME", "DETAIL"), *rows])


def targets_text(report: TargetList) -> str:
    """The targets as a table."""
    rows = [
        (line.name, line.kind, line.address, line.namespace or "", "built in" if line.built_in else "")
        for line in report.targets
    ]
    return table([("NAME", "KIND", "ADDRESS", "NAMESPACE", ""), *rows])
