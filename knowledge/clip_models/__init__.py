"""CLIP models that come with the package.

NAME.json is an open_clip config, NAME.safetensors its fp16 weights; `knowledge.clip` loads them as
`ClipSpec(arch=NAME, weights="bundled")`. `stickworld_captions` holds the texts on which
`stickworld-clip` was pretrained, `pretrain_stickworld` makes its weights.
"""
