"""Render results.json as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

# Row title -> suffix of its figures; CTC has figures of its own.
SYSTEMS = {
    "text-only": "",
    "after audio fine-tuning": "_sft",
    "text-only, true transcript (oracle)": "_oracle",
}
# Sets in the order of their tables.
SETS = ("test", "test_natural", "test_engines", "test_real", "dev_natural")
HEADER = (
    "| system | WER % [95 %] | sub / del / ins | CER % | scenario accuracy % [95 %] "
    "| action accuracy % [95 %] |\n|---|---|---|---|---|---|\n"
)


def percent(figures: Mapping[str, Any], name: str) -> str:
    """Write one figure with its interval, in per cent.

    Args:
        figures: of a set.
        name: of the figure.

    Returns:
        ``5.12 [4.01, 6.30]``; a dash where there is no such figure.
    """
    value = figures.get(name)
    if value is None:
        return "-"
    interval = figures["ci95"].get(name)
    text = f"{100 * value:.2f}"
    return (
        text if interval is None else f"{text} [{100 * interval[0]:.2f}, {100 * interval[1]:.2f}]"
    )


def text_cells(figures: Mapping[str, Any], prefix: str, suffix: str) -> list[str]:
    """Write the cells about transcripts: WER, counts, CER."""
    wer, cer = f"{prefix}_wer{suffix}", f"{prefix}_cer{suffix}"
    errors = figures["errors"][wer]
    counts = f"{errors['sub']} / {errors['del']} / {errors['ins']}"
    return [percent(figures, wer), counts, percent(figures, cer).partition(" ")[0]]


def set_table(name: str, figures: Mapping[str, Any]) -> str:
    """Render one set.

    Args:
        name: heading.
        figures: by name.

    Returns:
        Markdown section.
    """
    rows = [["Whisper-CTC, greedy", *text_cells(figures, "ctc", ""), "-", "-"]]
    for title, suffix in SYSTEMS.items():
        if figures[f"asr_wer{suffix}"] is not None:
            labels = [percent(figures, f"{task}_acc{suffix}") for task in ("scenario", "action")]
            rows.append([title, *text_cells(figures, "asr", suffix), *labels])
    majority = [percent(figures, f"{task}_majority") for task in ("scenario", "action")]
    rows.append(["majority class", "-", "-", "-", *majority])
    lines = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return (
        f"## {name}: {figures['n_utts']} utterances, {figures['n_words']} words\n\n{HEADER}{lines}"
        + entity_lines(figures)
    )


def entity_lines(figures: Mapping[str, Any]) -> str:
    """Write SLU-F1 of each system, below the table; nothing where there is none."""
    lines = [
        f"- SLU-F1 % [95 %], {title}: {percent(figures, f'slu_f1{suffix}')}; "
        f"{figures[f'slu_unparsable{suffix}']} answers could not be parsed\n"
        for title, suffix in SYSTEMS.items()
        if f"slu_f1{suffix}" in figures
    ]
    return "\n" + "".join(lines) if lines else ""


def render(results: Mapping[str, Any], *, commands: Sequence[str]) -> str:
    """Render all results.

    Args:
        results: content of results.json.
        commands: what was run.

    Returns:
        Markdown.
    """
    sections = []
    for name in SETS:
        if figures := results.get(name):
            sections.append(set_table(name, figures))
            if "unseen" in figures:
                sections.append(
                    set_table(f"{name}, templates never seen in training", figures["unseen"])
                )
    seconds = results["seconds"]
    times = "".join(f"| {stage} | {value:.0f} |\n" for stage, value in seconds.items())
    run = "\n".join(commands)
    facts = (
        f"- commit: {results['commit']}, seed: {results['seed']}\n"
        f"- machine: {results['cpu']}\n"
        f"- real-time factor of the bridge, audio to text: {results['rtf']:.3f}\n"
        f"- peak memory of the largest process: {results['peak_rss_mb'] / 1000:.2f} GB\n"
    )
    return (
        "# Results\n\n```\n" + run + "\n```\n\n" + facts + "\n" + "\n".join(sections)
        + "\n## Seconds\n\n| stage | s |\n|---|---|\n" + times
    )  # fmt: skip
