"""Sentences of three intents that the mini recipe's model has never met."""

import random

SPORTS = ("rowing", "yoga", "boxing", "cycling", "swimming", "stretching", "running", "climbing")
MINUTES = ("ten", "fifteen", "twenty", "thirty", "forty", "sixty")
PLACES = ("the airport", "the harbour", "the stadium", "the old bridge", "the town hall", "the zoo")
WHEN = (
    "this evening",
    "on friday",
    "tomorrow at noon",
    "for two hours",
    "from three o'clock",
    "now",
)
PLANTS = ("roses", "tomatoes", "ferns", "herbs", "orchids", "cactus", "tulips", "lemon tree")
AMOUNTS = ("a litre", "half a litre", "two cups", "a little", "plenty of water", "one can")

# (scenario, action) -> sentences with places for one word of each list.
INTENTS = {
    ("fitness", "start_workout"): (
        (SPORTS, MINUTES),
        (
            "start a {1} minute {0} workout",
            "i want to do {0} for {1} minutes",
            "begin my {0} training of {1} minutes please",
            "let us go {0} for {1} minutes",
        ),
    ),
    ("parking", "reserve_space"): (
        (PLACES, WHEN),
        (
            "reserve a parking space near {0} {1}",
            "i need to park my car at {0} {1}",
            "find me a garage by {0} {1}",
            "keep a parking spot free at {0} {1}",
        ),
    ),
    ("garden", "water_plants"): (
        (PLANTS, AMOUNTS),
        (
            "water the {0} with {1}",
            "give the {0} {1}",
            "the {0} look dry let them have {1}",
            "sprinkle {1} over the {0}",
        ),
    ),
}


def domain_rows(*, num_sentences: int = 300) -> list[dict[str, str]]:
    """Rows of ``adapt --text``: scenario and action of as many sentences of each intent."""
    rng = random.Random(0)
    rows = []
    for (scenario, action), ((first, second), templates) in INTENTS.items():
        every = [t.format(a, b) for t in templates for a in first for b in second]
        for text in rng.sample(every, num_sentences // len(INTENTS)):
            rows.append({"text": text, "task": "SLU_scenario", "target": scenario})
            rows.append({"text": text, "task": "SLU_action", "target": action})
    return rows
