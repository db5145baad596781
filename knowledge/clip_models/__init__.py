"""CLIP models that come with the package.

NAME.json is an open_clip config and NAME.safetensors its fp16 weights; `knowledge.clip` loads them as
`ClipSpec(arch=NAME, weights="bundled")`. `stickworld_captions` holds the texts that `stickworld-clip`
was pretrained on, `pretrain_stickworld` makes its weights.
"""
