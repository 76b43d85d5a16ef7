"""Rows about copying between registries: one big image, many tags, nothing to do, inside one registry, far away."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .contestants import OURS, crane_copy, oras_copy, ours, present_peers, regctl_copy, skopeo_copy, skopeo_sync
from .measuring import Bench, Command, Contestant, Series, Trial
from .rows import Goal, Result, Row, ratio, time_ratio
from .servers import ONE_WAY_MS
from .workload import MIB, big_image, load, many_tags, plain_image

__all__ = ["ROWS", "fill", "here"]

TAGS = 200
FEW_TAGS = 20
MOST_CONNECTIONS = 64


def here(contestants: Sequence[Contestant]) -> list[Contestant]:
    """Those whose program is on PATH."""
    present = {name for name, version in present_peers().items() if version is not None} | {OURS}
    return [contestant for contestant in contestants if contestant.program in present]


def fill(bench: Bench, repository: str, load_it: Callable[[str], None]) -> None:
    """Load a repository of registry `a` unless an earlier row did."""
    if repository not in bench.filled:
        load_it(bench.servers["a"].registry.url)
        bench.filled.add(repository)


def _one(source: str, make: Callable[[str, str], Command], *, server: str = "b") -> Callable[[Trial], list[Command]]:
    """A command that copies one image of registry `a` to a repository that is new there."""
    return lambda trial: [make(f"{trial.host('a')}/{source}", f"{trial.host(server)}/{trial.fresh}/image:v1")]


def _image(bench: Bench) -> Result:
    return _one_image(bench, "big", compressed=True)


def _image_of_tars(bench: Bench) -> Result:
    result = _one_image(bench, "tars", compressed=False)
    result.notes.append("skopeo compresses such layers on their way, so it pushes another image than it reads")
    return result


def _one_image(bench: Bench, repository: str, compressed: bool) -> Result:
    fill(bench, repository, lambda url: load(url, repository, iter([("v1", big_image(compressed))])))
    source = f"{repository}:v1"
    contestants = [
        Contestant(OURS, lambda t: [ours("copy", f"{t.target('a')}:{source}", f"{t.target('b')}:{t.fresh}/image:v1")]),
        Contestant("crane", _one(source, crane_copy)),
        Contestant("skopeo", _one(source, skopeo_copy)),
        Contestant("regctl", _one(source, regctl_copy)),
        Contestant("oras", _one(source, oras_copy)),
    ]
    series = bench.compare(here(contestants))
    return Result(
        series,
        [
            Goal("time, of skopeo's", 0.35, time_ratio(series, OURS, "skopeo")),
            Goal("time, of crane's", 1.0, time_ratio(series, OURS, "crane")),
            Goal("resident memory", 48, series[OURS].peak_bytes / MIB, "MiB"),
        ],
    )


# -- all tags --------------------------------------------------------------------------------------------------------


def _tags(bench: Bench, count: int = TAGS) -> str:
    repository = f"tags{count}"
    fill(bench, repository, lambda url: load(url, repository, many_tags(count)))
    return repository


def _our_sync(repository: str, to: str = "b", at: str = "") -> Callable[[Trial], list[Command]]:
    def commands(trial: Trial) -> list[Command]:
        destination = f"{trial.target(to)}:{at or trial.fresh}/{repository}"
        return [ours("copy", "--all-tags", f"{trial.target('a')}:{repository}", destination)]

    return commands


def _their_sync(
    repository: str, make: Callable[[str, str], Command], to: str = "b", at: str = "", whole: bool = True
) -> Callable[[Trial], list[Command]]:
    """`whole`: the tool wants the whole name of the destination, not only what comes before the last part."""

    def commands(trial: Trial) -> list[Command]:
        destination = f"{trial.host(to)}/{at or trial.fresh}" + (f"/{repository}" if whole else "")
        return [make(f"{trial.host('a')}/{repository}", destination)]

    return commands


def _crane_sync(source: str, destination: str) -> list[str]:
    return crane_copy(source, destination, "-a")


def _syncs(repository: str, to: str = "b", at: str = "", skopeo_runs: int | None = 2) -> list[Contestant]:
    return here(
        [
            Contestant(OURS, _our_sync(repository, to, at)),
            Contestant("crane -a", _their_sync(repository, _crane_sync, to, at)),
            Contestant("skopeo sync", _their_sync(repository, skopeo_sync, to, at, whole=False), skopeo_runs),
        ]
    )


def _all_tags(bench: Bench) -> Result:
    series = bench.compare(_syncs(_tags(bench)))
    return Result(
        series,
        [
            Goal("time, of skopeo sync's", 0.3, time_ratio(series, OURS, "skopeo sync")),
            Goal("time, of crane -a's", 0.9, time_ratio(series, OURS, "crane -a")),
        ],
    )


def _far_tags(bench: Bench) -> Result:
    repository, few = _tags(bench), _tags(bench, FEW_TAGS)
    near = bench.compare([Contestant(OURS, _our_sync(repository))], runs=3)[OURS].seconds
    series = bench.compare(_syncs(repository)[:2], way="far")
    slow = [each for each in _syncs(few) if each.name != "crane -a"]
    of_few = bench.compare(slow, way="far", runs=2)
    bound, how = _bound(series[OURS], near)
    series |= {f"{name}, {FEW_TAGS} tags": found for name, found in of_few.items()}
    return Result(
        series,
        [
            Goal(f"time, of skopeo sync's ({FEW_TAGS} tags)", 0.05, time_ratio(of_few, OURS, "skopeo sync")),
            Goal("time, of crane -a's", 0.2, time_ratio(series, OURS, "crane -a")),
            Goal("time, of the bound's", 1.5, ratio(series[OURS].seconds, bound)),
        ],
        [f"bound: {how} = {bound:.2f} s"],
    )


# Rounds of one image that can't overlap: a connection and the tags of the source; a connection and the tags of the
# destination; the manifest, the blob's upload opened, its bytes read, its bytes written; the manifest put.
_CHAIN_ROUNDS = 9


def _bound(found: Series, near_seconds: float) -> tuple[float, str]:
    """The least that latency allows: the longest chain of rounds, and all the work of the busiest registry.

    That work takes as many rounds as its connections need, and no less time than without any latency.
    """
    round_seconds = 2 * ONE_WAY_MS / 1000
    busiest = max(traffic.total for traffic in found.traffic.values())
    waiting = busiest / MOST_CONNECTIONS * round_seconds
    work = max(waiting, near_seconds)
    chain = _CHAIN_ROUNDS * round_seconds
    how = (
        f"{_CHAIN_ROUNDS} rounds one after another ({chain:.2f} s) + the longer of {busiest} requests over "
        f"{MOST_CONNECTIONS} connections ({waiting:.2f} s) and the same copy without latency ({near_seconds:.2f} s)"
    )
    return chain + work, how


def _unchanged(bench: Bench) -> Result:
    repository = _tags(bench)
    at = "unchanged"
    bench.once(_our_sync(repository, at=at))
    series = bench.compare(_syncs(repository, at=at))
    asked = [count for t in series[OURS].traffic.values() for kind, count in t.requests.items() if "manifests" in kind]
    return Result(
        series,
        [
            Goal("requests a tag, beside the two listings", 2, sum(asked) / TAGS, "count"),
            Goal("time, of skopeo sync's", 0.06, time_ratio(series, OURS, "skopeo sync")),
            Goal("time, of crane -a's", 1.2, time_ratio(series, OURS, "crane -a")),
        ],
    )


def _same_registry(bench: Bench) -> Result:
    repository = _tags(bench)
    series = bench.compare(_syncs(repository, to="a"))
    traffic = series[OURS].traffic["a"]
    read = traffic.requests.get("GET blobs", 0)
    written = sum(
        count for kind, count in traffic.requests.items() if kind in ("PUT blobs/uploads", "PATCH blobs/uploads")
    )
    blobs = 2 * TAGS + 4
    return Result(
        series,
        [
            Goal("blobs read or written", 0, read + written, "count"),
            Goal("requests beyond 2 a manifest and 1 a blob", 5, traffic.total - 2 * TAGS - blobs, "count"),
            Goal("time, of skopeo sync's", 0.05, time_ratio(series, OURS, "skopeo sync")),
            Goal("time, of crane -a's", 1.0, time_ratio(series, OURS, "crane -a")),
        ],
    )


# -- several destinations --------------------------------------------------------------------------------------------


def _three(bench: Bench) -> Result:
    image = plain_image()
    fill(bench, "plain", lambda url: load(url, "plain", iter([("v1", image)])))

    def our_push(trial: Trial) -> list[Command]:
        targets = [option for server in "bcd" for option in ("--to", trial.target(server))]
        source = f"{trial.target('a')}:plain:v1"
        return [ours("push", source, "--repository", f"{trial.fresh}/image", *targets)]

    def three_times(make: Callable[[str, str], Command]) -> Callable[[Trial], list[Command]]:
        return lambda trial: [_one("plain:v1", make, server=server)(trial)[0] for server in "bcd"]

    contestants = here(
        [
            Contestant(OURS, our_push),
            Contestant("crane, 3 runs", three_times(crane_copy)),
            Contestant("skopeo, 3 runs", three_times(skopeo_copy)),
            Contestant("regctl, 3 runs", three_times(regctl_copy)),
        ]
    )
    series = bench.compare(contestants, way="far")
    content = sum(len(blob) for blob in image.blobs.values())
    down = series[OURS].traffic["a"].bytes_down
    return Result(
        series,
        [
            Goal("bytes from the source, of the image's", 1.01, ratio(float(down or 0), content)),
            Goal("time, of three crane runs'", 0.4, time_ratio(series, OURS, "crane, 3 runs")),
            Goal("time, of three skopeo runs'", 0.2, time_ratio(series, OURS, "skopeo, 3 runs")),
        ],
    )


ROWS = [
    Row("image", "one 512 MiB image (8 layers), registry to registry", _image),
    Row("tars", "the same with layers that are not compressed", _image_of_tars),
    Row("tags", "200 tags, shared layers, loopback", _all_tags),
    Row("far", "200 tags, round trips of 40 ms", _far_tags),
    Row("unchanged", "200 tags, nothing to do", _unchanged),
    Row("same-registry", "200 tags inside one registry", _same_registry),
    Row("three", "one image to three destinations, round trips of 40 ms", _three),
]
