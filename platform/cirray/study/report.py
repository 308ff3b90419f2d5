"""One self-contained HTML page, and the same numbers as JSON."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from cirray.storage.files import write_text
from cirray.study.findings import Finding

TEMPLATE = Path(__file__).parent / "page.html"
_FILTER_TYPES = {
    "rank": "the higher effective rank of its queries",
    "uniformity": "the more even spread of its queries",
    "separation": "the better separation of targets from other images",
    "alignment": "the smaller distance to its targets",
    "sparsity": "the less sparse queries",
}


def claim(agreement: Mapping[str, tuple[int, int]], k: int) -> str:
    """Returns the paper's claim as a measured statement."""
    parts = [
        f"the one with {words} has the higher R@{k} in {agreement[name][0]} of {agreement[name][1]}"
        for name, words in _FILTER_TYPES.items()
    ]
    spread = agreement["rank"], agreement["uniformity"]
    shares = [found / pairs if pairs else 0.0 for found, pairs in spread]
    verdict = (
        "the claim holds here"
        if min(shares) > 0.5
        else "the claim does not hold here"
        if max(shares) < 0.5
        else "the claim holds here by one measure of spread and not by the other"
    )
    return f"Of pairs of combining functions, {'; '.join(parts)}. So, for spread: {verdict}."


def write_page(
    path: Path,
    title: str,
    findings: Sequence[Finding],
    statement: str,
    best: str,
    pictures: Mapping[str, bytes],
) -> None:
    """Writes the page.

    Args:
        pictures: name in the template -> PNG; without "share_plot" the page says that nothing has a lambda.
    """
    encoded = {name: base64.b64encode(content).decode() for name, content in pictures.items()}
    share = "<p>None of these combining functions has one.</p>"
    if "share_plot" in encoded:
        share = (
            f'<img alt="distribution of lambda" src="data:image/png;base64,{encoded.pop("share_plot")}">'
            "<p>A narrow hill means one mixture for all queries; a wide one that it is chosen by query.</p>"
        )
    page = Template(TEMPLATE.read_text(encoding="utf-8"))
    words = {"title": html.escape(title), "claim": html.escape(statement), "best": html.escape(best)}
    write_text(path, page.substitute(**words, **encoded, share_part=share, numbers=_table(findings)))


def _table(findings: Sequence[Finding]) -> str:
    metrics = list(findings[0].metrics)
    heads = [
        *("", *metrics, "cos target", "cos others", "separation", "alignment", "rank", "uniformity"),
        *("sparsity", "rank of targets", "uniformity of targets", "lambda"),
    ]
    rows = []
    for found in findings:
        share = "" if found.share is None else f"{found.share:.2f} ± {found.share_deviation:.2f}"
        cells = [
            *(found.name, *(f"{found.metrics[name]:.1f}" for name in metrics)),
            *(f"{found.positive:.3f}", f"{found.negative:.3f}"),
            *(f"{100 * found.separation:.1f} %", f"{found.alignment:.3f}", f"{found.rank:.1f}"),
            *(f"{found.uniformity:.2f}", f"{found.sparsity:.3f}", f"{found.target_rank:.1f}"),
            *(f"{found.target_uniformity:.2f}", share),
        ]
        rows.append("".join(f"<td>{html.escape(cell)}</td>" for cell in cells))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
