"""Commands about video files alone, with frozen CLIP."""

from __future__ import annotations

from flows.commands.command import Given, command
from flows.commands.fields import Field, Options
from flows.commands.options import CLIP, JsonOption, StoreOption

_SEEN: Options = {
    **CLIP,
    "--frames": "frames.num_frames",
    "--offset": "frames.offset",
    "--precision": "precision",
}
_WHERE: Options = {"--device": "device", "--workers": "workers"}


@command(
    "flows.orchestration.specs.video_files:ClassifySpec",
    {
        "Data": {"VIDEO...": "videos", "--classes": "classes"},
        "Texts": {
            "--template": Field("templates", form="TEXT"),
            "--descriptions": "descriptions",
            "--top": "num_top",
        },
        "CLIP": _SEEN,
        "Where it runs": _WHERE,
    },
    panel="Video files",
    example="actionlore classify a.mp4 --classes ucf101 --clip ViT-B-32-quickgelu "
    "--clip-weights openai",
)
def classify(given: Given, as_json: JsonOption = False, store: StoreOption = "store") -> None:
    """Name the actions in video files with frozen CLIP, zero-shot: no dataset, no training."""
    from flows.orchestration.specs.video_files import ClassifySpec

    spec = given.build(ClassifySpec)
    from flows.terminal.video_files import classify

    classify(store, spec, as_json)


@command(
    "flows.orchestration.specs.video_files:EmbedSpec",
    {
        "Data": {"VIDEO...": "videos", "--output -o": Field("output", required=False)},
        "CLIP": _SEEN,
        "Where it runs": _WHERE,
    },
    panel="Video files",
    example="actionlore embed *.mp4 -o frames.npz --clip ViT-B-32-quickgelu --clip-weights openai",
)
def embed(given: Given) -> None:
    """Write frozen CLIP's embeddings of the frames of video files."""
    from flows.orchestration.specs.video_files import EmbedSpec

    spec = given.build(EmbedSpec)
    from flows.terminal.video_files import embed

    embed(spec)
