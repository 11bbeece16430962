"""From crops to scores: every detector, and what all of them share.

`config` holds the settings that several kinds share, `base` what every detector can do, `registry` detectors by name,
those of the reader among them (docs/own_detector.md); `predict` scores pictures as they come, `scores` the rows of a
manifest. `networks`, `linear` and `crops` are the parts that detectors are made of; `ntf` is natural-trace forensics,
`baselines` what it is measured against, `ensemble` the average of several. Leans on `data`, `pixels`, `statistics`,
`training` and `evaluation`.
"""
