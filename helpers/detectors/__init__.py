"""From crops to scores: every detector, and what all of them share.

`config` holds settings, `base` what every detector can do, `registry` detectors by name; `networks`, `linear` and
`crops` are the parts they are made of; `ntf` is natural-trace forensics, `baselines` what it is measured against,
`ensemble` the average of several. Leans on `data`, `pixels`, `statistics`, `training` and `evaluation`.
"""
