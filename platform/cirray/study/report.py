"""The study's report, one self-contained HTML page."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from cirray.storage.files import write_text
from cirray.study.findings import Finding

TEMPLATE = Path(__file__).parent / "page.html"
_PROPERTY = {
    "rank": "the higher effective rank of its queries",
    "uniformity": "the more even spread of its queries",
    "separation": "the better separation of targets from other images",
    "alignment": "the smaller distance to its targets",
    "sparsity": "the less sparse queries",
}


def claim(agreement: Mapping[str, tuple[int, int]], k: int) -> str:
    """Returns the paper's claim (section 4.4) as a statement about the measured variants.

    Args:
        agreement: see `findings.agreement`.
        k: K of the compared R@K.
    """
    parts = [
        f"the one with {words} has the higher R@{k} in {agreement[name][0]} of {agreement[name][1]}"
        for name, words in _PROPERTY.items()
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
        path: the file to write.
        title: dataset, split and protocol.
        findings: the rows of the table.
        statement: the result of `claim`.
        best: name of the variant whose failures are shown.
        pictures: name in the template -> PNG; "text_weight_plot" is optional.
    """
    encoded = {name: base64.b64encode(content).decode() for name, content in pictures.items()}
    text_weight_part = "<p>None of these combining functions has a learned text weight.</p>"
    if "text_weight_plot" in encoded:
        text_weight_part = (
            f'<img alt="distribution of the text weight" src="data:image/png;base64,{encoded.pop("text_weight_plot")}">'
            "<p>A narrow peak: all queries are mixed alike. A wide one: the weight adapts to each query.</p>"
        )
    page = Template(TEMPLATE.read_text(encoding="utf-8"))
    words = {"title": html.escape(title), "claim": html.escape(statement), "best": html.escape(best)}
    write_text(path, page.substitute(**words, **encoded, text_weight_part=text_weight_part, numbers=_table(findings)))


def _table(findings: Sequence[Finding]) -> str:
    metrics = list(findings[0].metrics)
    heads = [
        *("", *metrics, "cos target", "cos others", "separation", "alignment", "rank", "uniformity"),
        *("sparsity", "rank of targets", "uniformity of targets", "text weight"),
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
