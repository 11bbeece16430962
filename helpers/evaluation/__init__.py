"""From scores to numbers and reports.

`metrics` holds the numbers and their intervals; `report` joins them for a set; `embeddings` judges maps and
neighbours; `audit` measures what a set gives away without its pixels; `sweep` and `attack` try a detector's robustness.
Leans on `helpers.data` and `helpers.pixels`; a detector reaches it as a function or as a table of scores.
"""
