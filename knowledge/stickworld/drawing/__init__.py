"""Pictures of the demo world.

Reading order: `style`, `canvas`, `figure`, `movement`, `objects`, `props`, `interaction`, `scene`,
`render`.
"""
