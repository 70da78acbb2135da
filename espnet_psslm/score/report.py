"""RESULTS.md in ESPnet's layout: the environment, then a section for each system.

Tables of error rates have the columns of ESPnet's ``show_asr_result.sh``; after them come the
bootstrap interval and, once a section, how texts were normalised.
"""

import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any

from espnet_psslm.score.metrics import METRICS
from espnet_psslm.score.normalizers import NORMALIZERS
from espnet_psslm.text.tasks import ASR

Row = Mapping[str, Any]
ERROR_HEADER = ("dataset", "Snt", "{unit}", "Corr", "Sub", "Del", "Ins", "Err", "S.Err", "95 %")
LABEL_HEADER = ("dataset", "task", "Snt", "Acc", "95 %", "majority class", "no answer")
BLEU_HEADER = ("dataset", "task", "Snt", "score", "95 %", "verbose_score", "signature")
PAIR_HEADER = ("dataset", "task", "metric", "difference", "95 %", "P(better)", "p")
SLU_HEADER = (
    *("dataset", "task", "Snt", "SLU-F1", "95 %", "entities", "word-F1", "char-F1"),
    *("scenario", "action", "intent", "majority class", "no answer", "unparsable"),
)
WHISPER = "_whisper"  # behind the metric of a score with Whisper's normalisation


def environment() -> dict[str, str]:
    """Say what the results were made with.

    Returns:
        Names and values.
    """
    facts = {
        "date": datetime.now().astimezone().strftime("%a %b %d %H:%M:%S %Z %Y"),
        "python version": platform.python_version(),
        "espnet version": f"espnet {version('espnet')}",
        "pytorch version": f"pytorch {version('torch')}",
    }
    try:
        log = subprocess.run(
            ["git", "log", "-1", "--format=%h%n%cd"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return facts  # no checkout
    commit, date = log.stdout.splitlines()
    return facts | {"Git hash": commit, "Commit date": date}


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Write a Markdown table.

    Args:
        header: titles.
        rows: cells.

    Returns:
        Markdown, with a line's end.
    """
    lines = [header, ["---"] * len(header), *rows]
    cells = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    return "".join(f"|{'|'.join(line)}|\n" for line in cells)


def percent(value: float, *, digits: int = 1) -> str:
    """Write a fraction in per cent."""
    return f"{100 * value:.{digits}f}"


def interval(bounds: Sequence[float]) -> str:
    """Write an interval of fractions in per cent."""
    return f"[{percent(bounds[0], digits=2)}, {percent(bounds[1], digits=2)}]"


def error_cells(row: Row) -> list[str]:
    """Write the cells of an error rate: ESPnet's, in per cent of the reference."""
    total = row["num_ref"]
    correct = total - row["num_sub"] - row["num_del"]
    counts = (correct, row["num_sub"], row["num_del"], row["num_ins"])
    rates = [count / total for count in counts]
    rates += [row["rate"], row["num_wrong_utts"] / row["num_utts"]]
    return [
        row["set"] if row["task"] == ASR else f"{row['set']}/{row['task']}",
        str(row["num_utts"]),
        str(total),
        *(percent(rate) for rate in rates),
        interval(row["ci95"]),
    ]


def label_cells(row: Row) -> list[str]:
    """Write the cells of an accuracy."""
    majority = f"{percent(row['majority_rate'], digits=2)} ({row['majority_class']})"
    rate = percent(row["rate"], digits=2)
    counts = str(row["num_utts"]), str(row["num_missing"])
    return [row["set"], row["task"], counts[0], rate, interval(row["ci95"]), majority, counts[1]]


def f1_cell(row: Row, name: str) -> str:
    """Write one of SLURP's metrics with its interval."""
    bounds = row["intervals"][name]
    rate = percent(row["metrics"][name]["f1"], digits=2)
    return rate if bounds is None else f"{rate} {interval(bounds)}"


def slu_cells(row: Row) -> list[str]:
    """Write the cells of SLURP's metrics, F1 in per cent."""
    labels = ("scenario", "action", "intent")
    others = ("entities", "entities_word", "entities_char", *labels)
    return [
        *(row["set"], row["task"], str(row["num_utts"])),
        *(percent(row["rate"], digits=2), interval(row["ci95"])),
        *(f1_cell(row, name) for name in others),
        " / ".join(percent(row["majority"][name]) for name in labels),
        *(str(row["num_missing"]), str(row["num_unparsable"])),
    ]


def bleu_cells(row: Row) -> list[str]:
    """Write the cells of BLEU or chrF."""
    return [
        row["set"],
        row["task"],
        str(row["num_utts"]),
        percent(row["rate"], digits=2),
        interval(row["ci95"]),
        row["verbose"] or "-",
        f"`{row['signature']}`",
    ]


def title(metric: str) -> str:
    """Write the name of a score's or a comparison's metric."""
    if metric.endswith(WHISPER):
        return f"{title(metric.removesuffix(WHISPER))}, Whisper's normalisation"
    return METRICS["slu" if metric == "slu_f1" else metric].title


def metric_table(metric: str, rows: Sequence[Row]) -> str:
    """Render the rows of one metric.

    Args:
        metric: their metric.
        rows: scores.

    Returns:
        Markdown section.
    """
    if metric.startswith(("wer", "cer")):
        unit = "Wrd" if metric.startswith("wer") else "Chr"
        header = [name.format(unit=unit) for name in ERROR_HEADER]
        body = table(header, [error_cells(row) for row in rows])
        used = sorted({(row["normalizer"], row["language"]) for row in rows})
        notes = [
            f"Text normalisation, {NORMALIZERS[name].describe(language)}."
            for name, language in used
        ]
        body += "\n" + "\n".join(notes) + "\n"
    elif metric in ("accuracy", "exact"):
        body = table(LABEL_HEADER, [label_cells(row) for row in rows])
    elif metric == "slu_f1":
        body = table(SLU_HEADER, [slu_cells(row) for row in rows])
    else:
        body = table(BLEU_HEADER, [bleu_cells(row) for row in rows])
        body += "\nNo normalisation: case and punctuation count.\n"
    return f"### {title(metric)}\n\n{body}"


def pair_cells(row: Row) -> list[str]:
    """Write the cells of a comparison."""
    difference = f"{100 * row['difference']:+.2f}"
    shares = f"{row['probability_b_better']:.3f}", f"{row['p_value']:.3f}"
    where = [row["set"], row["task"], title(row["metric"])]
    return [*where, difference, interval(row["ci95"]), *shares]


def render(results: Mapping[str, Any], *, commands: Sequence[str]) -> str:
    """Render all results.

    Args:
        results: content of results.json.
        commands: what was run.

    Returns:
        Markdown.
    """
    facts = [f"- {name}: `{value}`" for name, value in results["environment"].items()]
    run = "\n".join(commands)
    parts = ["# RESULTS", "## Environments\n" + "\n".join(facts), f"```\n{run}\n```"]
    scores = results["scores"]
    for system in dict.fromkeys(row["system"] for row in scores):
        parts.append(f"## {system}")
        of_system = [row for row in scores if row["system"] == system]
        for metric in dict.fromkeys(row["metric"] for row in of_system):
            rows = [row for row in of_system if row["metric"] == metric]
            parts.append(metric_table(metric, rows).rstrip())
    for row in results["comparisons"][:1]:
        cells = [pair_cells(other) for other in results["comparisons"]]
        parts.append(f"## {row['b']} compared with {row['a']}")
        parts.append(
            table(PAIR_HEADER, cells)
            + f"\nPaired bootstrap, {row['num_resamples']} resamples; P(better): share of them on "
            "which the first is better; p: two-sided."
        )
    seconds = [(stage, f"{value:.0f}") for stage, value in results["seconds"].items()]
    parts.append("## Seconds\n\n" + table(("stage", "s"), seconds).rstrip())
    return "\n\n".join(parts) + "\n"
