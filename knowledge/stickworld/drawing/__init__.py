"""Pictures of the demo world.

Reading order: `render` (a plan to frames), `scene` (stage, background, camera), `figure` (people),
`props` (things), `movement`, `objects` and `interaction` (what the classes do), `style` (what
varies from clip to clip), `canvas` (drawing in world units).
"""
