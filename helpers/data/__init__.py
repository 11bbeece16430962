"""From bytes to a set of images: decode, describe in a manifest, split, select, load.

    bytes -> images -> manifest -> select -> image_set

`images` decodes and encodes; `manifest` describes files and checks them; `catalog` knows data sets by name; `select`
keeps rows; `image_set` holds rows with their pixels; `protocol` gives every image the same last steps; `crops` cuts
photographs; `seeds` and `files` serve everybody. Leans on nothing but `helpers.errors`; every other room may lean on
it.
"""
