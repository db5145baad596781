"""The command about few-shot episodes."""

from __future__ import annotations

from flows.commands.app import show_made
from flows.commands.fields import Given, command
from flows.commands.options import CLIP, StoreOption


@command(
    "flows.orchestration.specs.evaluate:FewShotSpec",
    {
        "Data": {"RUN": "run", "--data": "data", "--videos": "videos"},
        "Episodes": {
            "--split": "episodes.split",
            "--ways": "episodes.ways",
            "--shots": "episodes.shots",
            "--queries": "episodes.queries",
            "--episodes": "episodes.num_episodes",
            "--seed": "episodes.seed",
        },
        "CLIP": CLIP,
        "Where it runs": {"--device": "runtime.device", "--workers": "runtime.workers"},
    },
    panel="Models",
    example="actionlore few-shot RUN --ways 5 --shots 1",
    name="few-shot",
)
def few_shot(given: Given, store: StoreOption = "store") -> None:
    """Score a trained run with few videos per class: N-way K-shot episodes, nearest class mean."""
    from flows.orchestration.specs.evaluate import FewShotSpec

    spec = given.build(FewShotSpec)
    from flows.evaluation.few_shot import few_shot

    show_made(few_shot(store, spec), store)
