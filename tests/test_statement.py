"""A statement on one picture: what it says, when it refuses, and what it may not say."""

import io
import json
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from command import run
from PIL import ExifTags, features
from PIL import Image as PillowImage
from scipy.stats import norm
from test_predict import Brightness

from helpers import api
from helpers.data import catalog
from helpers.data.claims import read_claims
from helpers.data.images import decode, encode_jpeg, encode_png, to_pil
from helpers.detectors import statement as statement_module
from helpers.detectors.config import DetectorConfig
from helpers.detectors.statement import Statement, explain
from helpers.evaluation.metrics import Conformal, MetricError, PlattScaling, fit_platt, likelihood_ratio, posterior
from helpers.evaluation.refusal import measure_refusal
from helpers.lessons.lesson09.study import screenshot, with_settings
from helpers.pixels.perturbations import resize
from helpers.statistics import processing

FORBIDDEN = re.compile(
    r"\b(is (a )?fake|fake|proves?|proof|certain(ly)?|definitely|real|authentic|genuine)\b", re.IGNORECASE
)
SETTINGS = "a cat\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1"


@pytest.fixture
def judge() -> Brightness:
    """Judges by brightness: dark is a photograph, light is generated, in between both occur."""
    one = Brightness(DetectorConfig(window=96, windows=2))
    rng = np.random.default_rng(0)
    drawn = [rng.normal(centre, 30, 60).clip(0, 255) for centre in (90, 150)]
    flat = [[torch.full((3, 64, 64), int(value), dtype=torch.uint8) for value in values] for values in drawn]
    real, fake = (np.sort(one.score(images)) for images in flat)
    one.conformal = Conformal(tuple(real.tolist()), tuple(fake.tolist()))
    labels = np.r_[np.zeros(60, int), np.ones(60, int)]
    one.calibration = fit_platt(labels, np.r_[real, fake])
    one.threshold = one.conformal.threshold
    return one


def noisy(level: int, side: int = 160) -> torch.Tensor:
    noise = torch.randint(-9, 10, (3, side, side), generator=torch.Generator().manual_seed(0))
    return (noise + level).clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize(("level", "verdict"), [(30, "photograph"), (225, "generated"), (120, "inconclusive")])
def test_the_verdict_is_that_of_the_p_values(judge: Brightness, level: int, verdict: str) -> None:
    statement = explain(encode_png(noisy(level)), judge)
    assert statement.verdict == verdict
    assert bool(statement.reasons) == (verdict == "inconclusive")
    (row,) = judge.predict([noisy(level).permute(1, 2, 0).numpy()])
    assert (row.verdict, row.p_photograph, row.p_generated) == (verdict, statement.p_photograph, statement.p_generated)
    assert row.score == pytest.approx(statement.score)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encode_png(noisy(225, 100)), "too small: 100 x 100"),
        (encode_jpeg(noisy(225), 20), "too strongly compressed: JPEG quality 20"),
        (encode_png(screenshot()), "a drawing or a screenshot"),
    ],
)
def test_what_lies_outside_is_refused_with_its_reason(judge: Brightness, data: bytes, reason: str) -> None:
    statement = explain(data, judge)
    assert statement.verdict == "inconclusive"
    assert any(reason in text for text in statement.reasons)


def test_photographs_of_the_package_lie_inside() -> None:
    for name in catalog.photographs()["name"]:
        assert processing.flat_share(catalog.photograph(name)) < 0.35, name
    assert processing.flat_share(decode(encode_jpeg(screenshot(), 90))) > 0.35


def test_another_base_rate_changes_the_probability_alone(judge: Brightness) -> None:
    even = explain(noisy(225).permute(1, 2, 0).numpy(), judge)
    rare = even.with_base_rate(0.01)
    assert rare.probability == pytest.approx(explain(noisy(225).permute(1, 2, 0).numpy(), judge, 0.01).probability)
    assert rare.probability < even.probability
    assert (rare.verdict, rare.likelihood_ratio, rare.score) == (even.verdict, even.likelihood_ratio, even.score)
    assert "1.0 % of the pictures" in rare.text
    assert rare.with_base_rate(0.5).probability == pytest.approx(even.probability)
    with pytest.raises(MetricError, match="base rate"):
        even.with_base_rate(1.0)


@pytest.mark.parametrize("level", [5, 30, 130, 225, 250])
@pytest.mark.parametrize("base_rate", [0.0001, 0.5, 0.9999])
def test_words_claim_no_more_than_the_numbers(judge: Brightness, level: int, base_rate: float) -> None:
    data = with_settings(noisy(level), SETTINGS)
    statement = explain(data, judge, base_rate, name="picture")
    page = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", statement.to_html())
    for text in (statement.text, *statement.reasons, *(one.text for one in statement.traces), page):
        assert not FORBIDDEN.search(text), FORBIDDEN.search(text)
    assert all(claim.shows and claim.does_not_show for claim in statement.claims)


def test_the_forbidden_words_are_found() -> None:
    assert FORBIDDEN.search("The picture is fake.")
    assert FORBIDDEN.search("This proves it.")
    assert FORBIDDEN.search("a real photograph")
    assert not FORBIDDEN.search("The area is really likely to be a photograph, with uncertainty.")


def test_a_page_holds_no_foreign_markup_and_fetches_nothing(judge: Brightness) -> None:
    data = with_settings(noisy(30), SETTINGS + "<script>alert(1)</script>")
    page = explain(data, judge, name="<img src=x onerror=alert(1)>.png").to_html()
    assert "<script" not in page
    assert "<img src=x" not in page
    assert not re.search(r"(src|href)=\"?https?:", page)


def test_a_record_is_plain_json(judge: Brightness) -> None:
    values = json.loads(json.dumps(explain(noisy(30).permute(1, 2, 0).numpy(), judge).to_dict()))
    assert values["verdict"] == "photograph"
    assert "preview" not in values
    assert len(values["patches"]["scores"]) == len(values["patches"]["tops"])


def test_the_map_shows_where_a_part_differs(judge: Brightness) -> None:
    img = noisy(40, 256)
    img[:, :, 128:] = noisy(230, 256)[:, :, 128:]
    scores = np.array(explain(img.permute(1, 2, 0).numpy(), judge).patches.scores)
    assert (scores[:, -1] > scores[:, 0]).all()


# Numbers


def test_the_ratio_follows_bayes_and_its_interval_holds_it() -> None:
    normal = norm.ppf((np.arange(400) + 0.5) / 400)
    real, fake = normal, normal + 2
    known = Conformal(tuple(real.tolist()), tuple(fake.tolist()))
    platt = fit_platt(np.r_[np.zeros(400, int), np.ones(400, int)], np.r_[real, fake])
    for score in (-1.0, 1.0, 2.5):
        ratio = likelihood_ratio(platt, known, score)
        assert ratio.low <= ratio.value <= ratio.high
        assert ratio.low < np.exp(2 * score - 2) < ratio.high  # of two normal densities
        assert float(posterior(0.5, ratio.value)) == pytest.approx(float(platt.apply(score)))


def test_known_scores_bound_what_a_ratio_may_say() -> None:
    known = Conformal(tuple(np.linspace(0, 1, 50)), tuple(np.linspace(5, 6, 30)))
    platt = PlattScaling(10.0, -30.0)
    assert likelihood_ratio(platt, known, 50.0).value == pytest.approx(51)
    assert likelihood_ratio(platt, known, -50.0).value == pytest.approx(1 / 31)


def test_quality_is_read_from_the_table() -> None:
    for quality in (25, 50, 75, 92):
        picture = PillowImage.open(io.BytesIO(encode_jpeg(noisy(100), quality)))
        assert abs(processing.jpeg_quality(picture.quantization[0]) - quality) <= 1  # type: ignore[attr-defined]


def test_a_grid_and_its_place_are_found_and_none_is_invented() -> None:
    half = resize(catalog.photograph("coffee"), 0.5, "lanczos")
    assert processing.block_grid(half).strength < 5
    stored = processing.block_grid(decode(encode_jpeg(half, 60)))
    assert (stored.strength > 5, stored.down, stored.right) == (True, 0, 0)
    moved = processing.block_grid(decode(encode_jpeg(half, 60))[:, 3:, 5:].contiguous())
    assert (moved.strength > 5, moved.down, moved.right) == (True, 5, 3)


def test_enlarging_leaves_a_period() -> None:
    half = resize(catalog.photograph("coffee"), 0.5, "lanczos")
    assert processing.resampling_peak(half) < 12 < processing.resampling_peak(resize(half, 1.5, "bicubic"))


# What the file claims


def kinds(data: bytes) -> set[str]:
    return {claim.kind for claim in read_claims(data)}


def with_segment(marker: int, body: bytes) -> bytes:
    plain = encode_jpeg(noisy(100), 90)
    return plain[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + plain[2:]


JUMBF = b"\0\0\0\x40jumb\0\0\0\x20jumdc2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\x03c2pa\0"


def png_chunk(kind: bytes, body: bytes) -> bytes:
    plain = encode_png(noisy(100))
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return plain[:33] + chunk + plain[33:]


def exif(**texts: str) -> bytes:
    block = PillowImage.Exif()
    for name, text in texts.items():
        block[getattr(ExifTags.Base, name)] = text
    buffer = io.BytesIO()
    to_pil(noisy(100)).save(buffer, "JPEG", exif=block)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encode_png(noisy(100)), set()),
        (with_segment(0xEB, b"JP\0\1\0\0\0\1" + JUMBF), {"c2pa"}),
        (with_segment(0xEB, b"JP\0\1\0\0\0\1" + JUMBF + b"trainedAlgorithmicMedia"), {"c2pa", "source type"}),
        (png_chunk(b"caBX", JUMBF), {"c2pa"}),
        (png_chunk(b"tEXt", b"parameters\0" + SETTINGS.encode()), {"generator"}),
        (png_chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b'{"3": {"class_type": "KSampler"}}')), {"generator"}),
        (png_chunk(b"iTXt", b"Software\0\0\0\0\0NovelAI"), {"generator"}),
        (png_chunk(b"tEXt", b"Software\0GIMP 2.10"), {"software"}),
        (png_chunk(b"tEXt", b"Title\0the parameters of a cat"), set()),
        (with_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x>trainedAlgorithmicMedia</x>"), {"source type"}),
        (exif(Make="Canon", Model="EOS 80D"), {"camera"}),
        (exif(Software="Adobe Photoshop 25"), {"software"}),
        (exif(Software="Midjourney"), {"generator"}),
        (with_segment(0xFE, SETTINGS.encode()), {"generator"}),
        (b"", set()),
        (b"\xff\xd8\xff\xe1\xff\xffExif\0\0II*\0\xff\xff\xff\xff", set()),
        (png_chunk(b"zTXt", b"parameters\0\0not compressed"), set()),
    ],
)
def test_claims_of_files(data: bytes, expected: set[str]) -> None:
    assert kinds(data) == expected


def saved(form: str, **blocks: bytes) -> bytes:
    if not features.check(form.lower()):
        pytest.skip(f"this Pillow cannot write {form}")
    buffer = io.BytesIO()
    to_pil(noisy(100, 64)).save(buffer, form, **blocks)
    return buffer.getvalue()


def exif_block(**texts: str) -> bytes:
    block = PillowImage.Exif()
    for name, text in texts.items():
        block[getattr(ExifTags.Base, name)] = text
    return block.tobytes()


def with_manifest(form: str, manifest: bytes) -> bytes:
    """Embed a manifest as the standard says: a chunk of WebP, a box of ISO base media files."""
    plain = saved(form)
    if form == "WEBP":
        chunk = b"C2PA" + struct.pack("<I", len(manifest)) + manifest + b"\0" * (len(manifest) % 2)
        return b"RIFF" + struct.pack("<I", len(plain) - 8 + len(chunk)) + plain[8:] + chunk
    uuid = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
    body = uuid + b"\0\0\0\0" + b"manifest\0" + bytes(8) + manifest
    return plain + struct.pack(">I", len(body) + 8) + b"uuid" + body


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>trainedAlgorithmicMedia</rdf:RDF></x:xmpmeta>'


@pytest.mark.parametrize("form", ["WEBP", "AVIF"])
def test_claims_of_webp_and_avif(form: str) -> None:
    assert kinds(saved(form)) == set()
    assert kinds(saved(form, exif=exif_block(Make="Canon", Model="EOS 80D"))) == {"camera"}
    assert kinds(saved(form, exif=exif_block(Software="Midjourney"))) == {"generator"}
    assert kinds(saved(form, xmp=XMP)) == {"source type"}
    both = read_claims(saved(form, xmp=XMP, exif=exif_block(Software="GIMP 2.10")))
    assert {(one.kind, one.where, one.text) for one in both} == {
        ("source type", "XMP", "trainedAlgorithmicMedia"), ("software", "EXIF Software", "GIMP 2.10"),
    }  # fmt: skip
    data = with_manifest(form, JUMBF + b"trainedAlgorithmicMedia")
    assert kinds(data) == {"c2pa", "source type"}
    assert decode(data).shape == (3, 64, 64)


@pytest.mark.parametrize("form", ["WEBP", "AVIF"])
def test_damaged_containers_end_without_an_error(form: str) -> None:
    whole = with_manifest(form, JUMBF) + saved(form, xmp=XMP, exif=exif_block(Software="GIMP"))
    rng = np.random.default_rng(0)
    for _ in range(200):
        data = bytearray(whole[: rng.integers(1, len(whole))])
        for place in rng.integers(0, min(len(data), 400), 8):
            data[place] = rng.integers(256)
        read_claims(bytes(data))


def test_a_text_that_inflates_to_much_is_read_in_part() -> None:
    (claim,) = read_claims(png_chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b"class_type" + b"x" * 50_000_000)))
    assert len(claim.text) <= 120


# The command


def test_explain_writes_a_record_and_a_page_for_each_picture(
    tmp_path: Path, judge: Brightness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "load_detector", lambda which, device, setting: judge)
    decoded, original = [], statement_module.decode
    monkeypatch.setattr(statement_module, "decode", lambda data, name: decoded.append(name) or original(data, name))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "light.png").write_bytes(encode_png(noisy(225)))
    (pictures / "drawn.png").write_bytes(encode_png(screenshot()))
    (pictures / "cut.png").write_bytes(encode_png(noisy(225))[:100])
    done = run("score", pictures, "--json", "--explain", tmp_path / "out", "--base-rate", "0.1")
    rows = {Path(row["path"]).name: row for row in map(json.loads, done.stdout.splitlines())}
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "light.png": "generated", "drawn.png": "inconclusive", "cut.png": None,
    }  # fmt: skip
    assert sorted(Path(name).name for name in decoded) == ["cut.png", "drawn.png", "light.png"]  # each once
    assert rows["cut.png"]["error"].startswith("damaged")
    (plain,) = judge.predict([str(pictures / "light.png")])
    assert rows["light.png"]["probability"] == pytest.approx(plain.probability, rel=1e-5)  # of one half
    assert "drawing" in rows["drawn.png"]["reasons"][0]
    assert rows["light.png"]["p_photograph"] < 0.05
    assert len(list((tmp_path / "out").glob("*.html"))) == len(list((tmp_path / "out").glob("*.json"))) == 2
    (record,) = (tmp_path / "out").glob("light_png-*.json")
    assert json.loads(record.read_text(encoding="utf-8"))["base_rate"] == 0.1


# Refusal, counted


def test_verdicts_are_counted_for_each_class_and_tier() -> None:
    rows = [("real", "new", "", "generated", 0.9)] * 2 + [("real", "new", "", "inconclusive", 0.5)] * 28
    rows += [("real", "old", "", "photograph", 0.1)] * 10 + [("fake", "zoo", "gan", "generated", 0.9)] * 30
    table = pd.DataFrame(rows, columns=["label", "source", "generator", "verdict", "probability"])
    counted, error = measure_refusal(table, ["old"])
    shares = {row.name: row for row in counted}
    accused = shares["photographs of unseen sources called generated"]
    assert (accused.share.value, accused.share.n, accused.sources) == (pytest.approx(2 / 30), 30, 1)
    assert shares["errors among decided photographs of unseen sources"].share.value == 1
    assert shares["photographs of seen sources called photograph"].lowest is None
    assert shares["errors among all decided pictures"].share.value == pytest.approx(2 / 42)
    assert 0 < error < 1


def test_a_statement_keeps_the_type_of_its_verdict(judge: Brightness) -> None:
    assert isinstance(explain(to_pil(noisy(30)), judge), Statement)
