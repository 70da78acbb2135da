"""The README of a packed model."""

from collections.abc import Sequence
from pathlib import Path

from espnet_psslm.data.manifest import Row
from espnet_psslm.recipe.replay import describe_replay
from espnet_psslm.text.prompt import read_prompt_file
from espnet_psslm.weights import PACKAGE_SCHEME

CARD = """# {title}

A speech language model made with espnet_psslm: a Whisper-CTC acoustic model, a trained projector,
and a language model that writes the answer.

## Load

```python
from espnet_psslm.bin.psslm_inference import Speech2Text
speech2text = Speech2Text.from_pretrained("{archive}")  # this file, or its name on a hub
text, tokens, token_ids, hypothesis = speech2text(waveform, "{task}")[0]  # 16 kHz
```

```bash
espnet-psslm transcribe speech.wav --task {task} --model {archive}
```

Tasks: {tasks}. `espnet_model_zoo.downloader.ModelDownloader` unpacks the archive too: it finds
`psslm_train_config` and `psslm_model_file`, the options of `espnet_psslm.bin.psslm_inference`, and
of a trained CTC model `asr_train_config` and `asr_model_file`. ESPnet's own `Speech2Text` loads the
latter after `espnet_psslm.registry.register()`; give it `ctc_weight=1.0`: with its default, 0.5,
the output is garbage and there is no error.

{outside}
{replay}
Base models may lie anywhere: in the folder that `$ESPNET_PSSLM_MODELS` names, under their whole
name or its last part.

## Base models, not in this archive

{base_models}

{notes}

{results}
"""

OUTSIDE_CARD = """\
If a recording is unlike the training data, `hypothesis.outside` is true, and the command gives no
answer.
"""


def render_card(
    *,
    title: str,
    archive: str,
    prompt_file: Path,
    base_models: Sequence[str],
    has_outside: bool,
    replay: Sequence[Row],
    notes: str,
    tables: Sequence[Path],
) -> str:
    """Write the card.

    Args:
        title: its heading.
        archive: name of the archive.
        prompt_file: of the model.
        base_models: names of what is not packed.
        has_outside: whether the model says what is outside of what it knows.
        replay: sentences of the training that are packed.
        notes: Markdown: licences, data.
        tables: Markdown files with results.

    Returns:
        Markdown.
    """
    tasks = list(dict.fromkeys(row["task"] for row in read_prompt_file(prompt_file)))
    card = CARD.format(
        title=title,
        task=tasks[0],
        tasks=", ".join(tasks),
        archive=archive,
        outside=OUTSIDE_CARD if has_outside else "",
        replay=describe_replay(replay) if replay else "",
        base_models=describe_base_models(base_models),
        notes=notes.strip(),
        results="\n\n".join(path.read_text(encoding="utf-8").strip() for path in tables),
    )
    return card.rstrip() + "\n"


def describe_base_models(names: Sequence[str]) -> str:
    """List the base models for the card.

    Args:
        names: as they stand in the configurations.

    Returns:
        Markdown list.
    """
    lines = []
    for name in names:
        if name.startswith(PACKAGE_SCHEME):
            where = "from a Python package, which must be installed"
        elif Path(name).exists():
            where = "**local on the machine that trained**: at this place, or as said above"
        else:
            where = "hub name"
        lines.append(f"- `{name}`: {where}")
    return "\n".join(lines) or "none"
