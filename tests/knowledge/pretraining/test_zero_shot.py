"""The bundled CLIP: that it loads, is small, and knows stills of videos it has not seen."""

import zlib

import pytest
import torch
from safetensors import safe_open

from knowledge.clip.architecture import MODELS
from knowledge.clip.model import encode_texts, load_clip
from knowledge.clip.weights import ClipSpec
from knowledge.pretraining.captions import captions
from knowledge.pretraining.pretrain import NAME, NUM_STEPS, build, encode_cut_text, tokenise
from knowledge.pretraining.stills import DATA_SEED, pretraining_plans
from knowledge.pretraining.zero_shot import HELD_OUT_SEED, held_out, zero_shot
from knowledge.stickworld.classes import CLASS_NAMES, CONFUSABLE_PAIRS
from knowledge.stickworld.drawing.render import RENDERER_VERSION

WEIGHTS = MODELS / f"{NAME}.safetensors"


@pytest.fixture(scope="module")
def clip():
    return load_clip(ClipSpec(arch=NAME, weights="bundled"))


@pytest.fixture(scope="module")
def measured(clip):
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for each other are slow on a busy machine
    yield zero_shot(clip, held_out(per_class=2))
    torch.set_num_threads(before)


def test_a_frozen_float32_model_of_the_promised_size(clip):
    assert clip.dim >= 128
    assert clip.image_size == 112
    assert not clip.model.training
    parameters = list(clip.model.parameters())
    assert all(each.dtype == torch.float32 and not each.requires_grad for each in parameters)
    assert all(bool(each.isfinite().all()) for each in parameters)


def test_the_file_is_small_and_smaller_when_packed():
    data = WEIGHTS.read_bytes()
    assert len(data) <= 20_000_000
    assert len(zlib.compress(data, 6)) <= 8_000_000


def test_the_file_says_where_it_came_from():
    with safe_open(WEIGHTS, "pt") as file:
        metadata = file.metadata()
        dtypes = {key: file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
    counters = {key for key in dtypes if key.endswith("num_batches_tracked")}
    assert {dtypes[key] for key in dtypes.keys() - counters} == {"F16"}
    assert metadata["quick_gelu"] == "false"
    assert metadata["data_seed"] == str(DATA_SEED)
    assert metadata["steps"] == str(NUM_STEPS)
    assert metadata["data"].endswith(f"renderer {RENDERER_VERSION}")


def test_only_tokens_of_captions_have_rows(clip):
    used = tokenise(captions(CLASS_NAMES)).used_V
    filled = clip.model.token_embedding.weight.abs().sum(dim=1).nonzero()[:, 0]
    assert filled.tolist() == used.tolist()


def test_held_out_videos_are_not_pretraining_videos():
    learnt = {plan.video_id for plan in pretraining_plans()}
    splits = ("train", "val", "test")
    assert DATA_SEED != HELD_OUT_SEED
    assert not any(video_id.startswith(splits) for video_id in learnt)
    assert not learnt & {plan.video_id for plan in held_out()}


def test_stills_are_recognised_but_not_what_only_motion_tells(measured):
    assert measured.top(5) >= 0.75
    assert 0.5 <= measured.top(1) <= 0.85


def test_pairs_built_to_be_confused_are_confused(measured):
    assert measured.partner_found(k=3) >= 0.8
    assert measured.confused()[0][3]


def test_texts_of_a_time_pair_are_near_each_other(clip):
    units_KD, _ = encode_texts(clip, [f"This is a video about {name}" for name in CLASS_NAMES])
    cosine_KK = units_KD @ units_KD.T - 2 * torch.eye(len(CLASS_NAMES))
    for pair in CONFUSABLE_PAIRS:
        if pair.reason == "time":
            first, second = CLASS_NAMES.index(pair.first), CLASS_NAMES.index(pair.second)
            assert second in cosine_KK[first].topk(3).indices.tolist()


def test_cutting_a_text_does_not_change_its_embedding():
    texts = tokenise(captions(CLASS_NAMES))
    torch.manual_seed(0)
    model = build(len(texts.used_V)).eval()
    ids = texts.short[3][:4]
    with torch.inference_mode():
        whole = model.encode_text(ids, normalize=True)
        cut = encode_cut_text(model, ids[:, : int(ids.argmax(dim=1).max()) + 1])
    assert torch.allclose(whole, cut, atol=1e-5)
