"""Damaged pictures by the thousand through decode, probe, manifest and score: `make fuzz` prints the tally.

    python tests/mutated_images.py --count 10000 --seed 0

Picture number `i` is a function of the seed and `i` alone: a small sound file of one format, damaged by flipped bits,
a cut, bytes written anew, a piece repeated or left out, or the head of another format's file. Decoding runs in a
process of its own, so that a crash or a hang of a parser is counted and the run goes on.
"""

import argparse
import io
import json
import os
import resource
import selectors
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

SIDE = (72, 80)
PATIENCE = 60.0
"""Seconds without a result after which a file counts as a hang."""
VARIANTS: dict[str, tuple[str, str, dict[str, object]]] = {
    "jpeg": ("JPEG", "RGB", {"quality": 85}),
    "jpeg-progressive": ("JPEG", "RGB", {"quality": 70, "progressive": True}),
    "jpeg-cmyk": ("JPEG", "CMYK", {}),
    "jpeg-grey": ("JPEG", "L", {}),
    "png": ("PNG", "RGB", {}),
    "png-alpha": ("PNG", "RGBA", {}),
    "png-palette": ("PNG", "P", {}),
    "png-16": ("PNG", "I;16", {}),
    "webp": ("WEBP", "RGB", {"quality": 80}),
    "webp-lossless": ("WEBP", "RGBA", {"lossless": True}),
    "gif": ("GIF", "P", {}),
    "bmp": ("BMP", "RGB", {}),
    "tiff": ("TIFF", "RGB", {}),
    "tiff-lzw": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    "tiff-jpeg": ("TIFF", "RGB", {"compression": "jpeg"}),
    "tiff-deflate": ("TIFF", "L", {"compression": "tiff_adobe_deflate"}),
    "ppm": ("PPM", "RGB", {}),
    "pgm": ("PPM", "L", {}),
    "jpeg2000": ("JPEG2000", "RGB", {}),
    "avif": ("AVIF", "RGB", {"quality": 60, "speed": 10}),
    "heif": ("HEIF", "RGB", {"quality": 60}),
}


@cache
def sound_files() -> Mapping[str, bytes]:
    """Write one small picture in every format that can be written here."""
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
    except ImportError:
        pass
    rows, columns = np.mgrid[0 : SIDE[0], 0 : SIDE[1]]
    noise = np.random.default_rng(0).integers(0, 30, (*SIDE, 3))
    pixels = (np.stack([rows * 2, columns * 2, rows + columns], -1) + noise).clip(0, 255).astype(np.uint8)
    exif = PillowImage.Exif()
    exif[0x0112], exif[0x010E] = 6, "a made-up picture"
    PillowImage.init()
    files = {}
    for name, (kind, mode, options) in VARIANTS.items():
        if kind not in PillowImage.SAVE:
            continue
        colour = PillowImage.fromarray(pixels)
        picture = (
            PillowImage.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else colour.convert(mode)
        )
        buffer = io.BytesIO()
        extra = {"exif": exif.tobytes()} if kind in ("JPEG", "PNG", "WEBP", "AVIF", "HEIF") else {}
        picture.save(buffer, kind, **options, **extra)
        files[name] = buffer.getvalue()
    return files


def mutated(seed: int, number: int) -> tuple[str, bytes]:
    """Damage one of the sound files.

    Returns:
        Name of its variant, and its bytes.
    """
    rng = np.random.default_rng((seed, number))
    files = sound_files()
    name = str(rng.choice(sorted(files)))
    data = bytearray(files[name])
    for _ in range(int(rng.integers(1, 3))):
        data = _damage(data, rng, files)
    return name, bytes(data)


def _damage(data: bytearray, rng: np.random.Generator, files: Mapping[str, bytes]) -> bytearray:
    """Apply one kind of damage; heads are hit more often than the rest, since parsers live there."""
    kind, length = rng.choice([0, 0, 0, 1, 2, 2, 3, 4, 5]), max(1, len(data))
    near = int(min(length - 1, rng.integers(0, length) if rng.random() < 0.7 else rng.integers(0, min(length, 200))))
    size = int(rng.integers(1, 64))
    if kind == 0:  # flipped bits
        for place in rng.integers(0, length, int(rng.integers(1, 9))):
            data[min(int(place), len(data) - 1)] ^= 1 << int(rng.integers(0, 8))
        return data
    if kind == 1:  # cut
        return data[: max(1, int(rng.integers(1, length + 1)))]
    if kind == 2:  # bytes written anew, sizes and offsets among them
        extreme = rng.choice([b"\0", b"\xff", b"\x7f", b"\x80"])
        piece = bytes(rng.integers(0, 256, size, np.uint8)) if rng.random() < 0.5 else bytes(extreme) * min(size, 8)
        data[near : near + len(piece)] = piece
        return data
    if kind == 3:  # a piece repeated
        return data[: near + size] + data[near:]
    if kind == 4:  # a piece left out
        return data[:near] + data[near + size :] or bytearray(b"\0")
    other = files[str(rng.choice(sorted(files)))]  # the head of another file
    head = int(rng.integers(2, 80))
    return bytearray(other[:head]) + data[head:]


def outcome(data: bytes) -> str:
    """Put one picture through decode and probe: "image", "refused", or what went wrong."""
    from helpers.data.images import ImageError, decode, probe

    try:
        info = probe(data)
        size: tuple[int, int] | None = (info.height, info.width)
    except ImageError:
        size = None
    try:
        img = decode(data)
    except ImageError as error:
        return "refused" if str(error).isprintable() else "an error that is not one printable line"
    if size is None:
        return "decoded, yet refused by probe"
    return "image" if tuple(img.shape[1:]) == size else f"probe says {size}, decode gives {tuple(img.shape[1:])}"


def _work(seed: int, first: int, last: int) -> None:
    """Print one line per picture; what escapes as another exception is a fault."""
    for number in range(first, last):
        try:
            result = outcome(mutated(seed, number)[1])
        except BaseException as error:
            result = f"{type(error).__name__} escaped"
        print(json.dumps([number, result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024]), flush=True)


def decode_all(seed: int, count: int) -> tuple[dict[int, str], int]:
    """Run decode and probe over all pictures in processes that may die.

    Returns:
        Outcome of each picture, and the peak of memory in MiB.
    """
    outcomes: dict[int, str] = {}
    peak = 0
    while len(outcomes) < count:
        first = len(outcomes)
        words = [sys.executable, __file__, "--worker", str(seed), str(first), str(count)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as worker:
            peak = max(peak, _listen(worker, outcomes))
            if len(outcomes) < count:
                outcomes[len(outcomes)] = "hang" if worker.poll() is None else f"crash ({worker.wait()})"
                worker.kill()
    return outcomes, peak


def _listen(worker: "subprocess.Popen[bytes]", outcomes: dict[int, str]) -> int:
    """Collect lines until the process ends or falls silent."""
    assert worker.stdout is not None
    peak, rest = 0, b""
    with selectors.DefaultSelector() as waiting:
        waiting.register(worker.stdout, selectors.EVENT_READ)
        while waiting.select(PATIENCE):
            data = os.read(worker.stdout.fileno(), 1 << 16)
            if not data:
                worker.wait()
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                number, result, memory = json.loads(line)
                outcomes[number], peak = result, max(peak, memory)
    return peak


def _ending(name: str) -> str:
    kind = name.partition("-")[0]
    return {"jpeg2000": "jp2", "heif": "heic"}.get(kind, kind)


def write_all(seed: int, count: int, root: Path) -> None:
    """Lay all pictures out as a set: half of them as photographs, half as fakes."""
    for number in range(count):
        name, data = mutated(seed, number)
        path = root / ("real" if number % 2 else "fake/mutant") / f"{number:06d}-{name}.{_ending(name)}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _command(*words: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-m", "helpers", *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def manifest_and_score(root: Path, count: int, outcomes: Mapping[int, str]) -> dict[str, object]:
    """Run both commands over the folder, and check that each file is either a row or refused by name."""
    images = sum(result == "image" for result in outcomes.values())
    out = root.parent / "m.csv"
    status, text, error = _command(
        "manifest", "folder", str(root), "--out", str(out), "--on-error", "skip", "--test-only", "--json"
    )
    result = json.loads(text) if status == 0 else {"images": -1, "left_out": {"count": -1}}
    manifest = {"status": status, "rows": result["images"], "refused": result["left_out"]["count"]}
    sound = status == 0 and result["images"] == images and result["images"] + result["left_out"]["count"] == count
    status, text, error = _command("score", str(root), "--csv", "--quiet")
    rows = text.count("\n") - 1
    refused = sum(not line.split(",")[1] for line in text.splitlines()[1:])
    score = {"status": status, "rows": rows, "refused": refused}
    sound &= "Traceback" not in error and status in (0, 2) and rows == count and count - refused <= images
    return {"manifest": manifest, "score": score, "sound": sound}


def main() -> int:
    """Print the tally; exit status 1 if anything but an image or a refusal came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", type=int, nargs=3)
    options = parser.parse_args()
    if options.worker:
        _work(*options.worker)
        return 0
    start = time.perf_counter()
    outcomes, peak = decode_all(options.seed, options.count)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        write_all(options.seed, options.count, root)
        commands = manifest_and_score(root, options.count, outcomes)
    tally = Counter(outcomes.values())
    formats = Counter(mutated(options.seed, number)[0] for number, result in outcomes.items() if result == "image")
    faults = {result: number for result, number in tally.items() if result not in ("image", "refused")}
    print(f"{options.count} mutated pictures of {len(sound_files())} kinds, seed {options.seed}")
    print(f"decode and probe: {tally['image']} images, {tally['refused']} refused, {sum(faults.values())} faults")
    print(f"still images: {', '.join(f'{name} {number}' for name, number in sorted(formats.items()))}")
    print(f"manifest folder: {commands['manifest']}")
    print(f"score: {commands['score']}")
    print(f"peak memory of decoding: {peak} MiB; {time.perf_counter() - start:.0f} s")
    for fault, number in faults.items():
        examples = [place for place, result in outcomes.items() if result == fault][:5]
        print(f"FAULT {fault}: {number}, such as {examples}")
    return 0 if commands["sound"] and not faults else 1


if __name__ == "__main__":
    raise SystemExit(main())
