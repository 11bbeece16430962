"""Figures: text beside every picture, pixels that stay what they are, and more than colour to tell lines apart."""

import base64
import io
import itertools
import re
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

import helpers.course.figures
from helpers.course.environment import CHECKED
from helpers.course.figures import (
    FAKE_STYLE,
    METADATA_KEY,
    PALETTE,
    REAL_STYLE,
    caption_bundle,
    display_picture,
    exact_png,
    figure,
    image_grid,
    line_style,
    palette_png,
    picture,
    picture_html,
    png_bytes,
    show,
    to_array,
    use_style,
)
from helpers.course.numbering import FIGURES, FigureNumbers

ALT = 'Two curves <b> & "dots": both fall.'


@pytest.fixture(autouse=True)
def style():
    use_style()
    yield
    plt.close("all")


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_live_picture_carries_its_alt_text() -> None:
    tags = Tags(picture_html(picture(image_grid([torch.zeros(3, 8, 8)], ["black"]), ALT)))
    assert [image["alt"] for image in tags.images] == [ALT]
    assert (tags.images[0]["src"] or "").startswith("data:image/png;base64,")


def test_the_caption_shows_number_title_and_alt_text_in_tags_that_no_viewer_drops() -> None:
    bundle = caption_bundle(3, ALT, "Two curves.")
    assert bundle["text/plain"] == f"Figure 3: Two curves. {ALT}"
    assert Tags(bundle["text/html"]).text == bundle["text/plain"]
    assert set(re.findall(r"<(\w+)", bundle["text/html"])) == {"strong"}
    assert caption_bundle(3, ALT)["text/plain"] == f"Figure 3: {ALT}"


def noise_grid(side: int, channels: int) -> Figure:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (channels, side, side), generator=generator, dtype=torch.uint8)
    return image_grid([noise], ["noise"], zoom=2)


@pytest.mark.parametrize(("side", "channels"), [(8, 3), (32, 1)])
def test_up_to_256_colours_every_pixel_is_kept_in_fewer_bytes(side: int, channels: int) -> None:
    exact = exact_png(noise_grid(side, channels))
    stored = palette_png(exact)
    assert np.array_equal(pixels(stored), pixels(exact))
    assert len(stored) < len(exact)


def test_a_stored_figure_has_a_palette_and_a_live_one_every_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs: list[dict[str, str]] = []
    monkeypatch.setattr(helpers.course.figures, "display_bundle", lambda data, metadata: outputs.append(data))
    drawn = picture(noise_grid(32, 3), ALT)
    for checked, mode, gap in (("", "RGBA", 0), ("1", "P", 20)):
        monkeypatch.setenv(CHECKED, checked)
        display_picture(drawn, 1)
        stored = base64.b64decode(outputs[-1]["image/png"])
        assert Image.open(io.BytesIO(stored)).mode == mode
        assert np.abs(pixels(stored).astype(int) - pixels(drawn.png)).mean() <= gap


def test_the_smallest_text_is_measured() -> None:
    fig, ax = figure(width=3, height=2)
    ax.set_title("large", fontsize=20)
    ax.text(0.5, 0.5, "small", fontsize=7.2)
    ax.text(0.5, 0.5, "hidden", fontsize=3, visible=False)
    ax.text(0.5, 0.5, " ", fontsize=2)
    assert picture(fig, ALT).text_pixels == pytest.approx(10)
    fig = figure(width=1, height=1)[0]
    fig.axes[0].set_axis_off()
    assert picture(fig, ALT).text_pixels == 0


@pytest.mark.parametrize("alt", ["", "  ", "A figure", "one two three"])
def test_an_empty_alt_text_is_refused(alt: str) -> None:
    with pytest.raises(ValueError, match="describe"):
        picture(figure()[0], alt)


def test_show_displays_once_and_closes_the_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs: list[tuple[dict[str, str], dict]] = []
    monkeypatch.setattr(
        helpers.course.figures, "display_bundle", lambda data, metadata=None: outputs.append((data, metadata))
    )
    FIGURES.reset()
    fig, ax = figure()
    ax.plot([1, 2])
    show(fig, alt=ALT)
    (drawing, metadata), (caption, _) = outputs
    assert sorted(drawing) == ["image/png", "text/plain"]
    assert metadata["image/png"] == {"alt": ALT}
    assert metadata[METADATA_KEY] == {"text_pixels": 13.9, "live": False}
    assert caption["text/plain"] == f"Figure 1: {ALT}"
    assert plt.get_fignums() == []


def test_a_refused_alt_text_leaves_no_figure_behind() -> None:
    fig, _ = figure()
    with pytest.raises(ValueError, match="describe"):
        show(fig, alt="no")
    assert plt.get_fignums() == []


def test_the_same_drawing_gives_the_same_file() -> None:
    def drawing() -> bytes:
        fig, ax = figure(width=3, height=2)
        ax.plot([1, 3, 2], label="a")
        ax.legend()
        return png_bytes(fig)

    assert drawing() == drawing()
    assert b"Software" not in drawing()


def test_a_full_figure_is_800_pixels_wide() -> None:
    fig, axes = figure(1, 2, height=3.5, sharey=True)
    assert len(axes) == 2
    assert pixels(png_bytes(fig)).shape == (350, 800, 3)


def test_a_palette_hardly_moves_the_colours_of_a_drawing() -> None:
    fig, ax = figure()
    ax.plot([0, 1, 4, 9])
    exact = exact_png(fig)
    assert np.abs(pixels(palette_png(exact)).astype(int) - pixels(exact)).mean() < 0.25


def contrast_with_white(color: str) -> float:
    """WCAG 2.1, relative luminance."""
    value = np.array(to_rgb(color))
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return 1.05 / (float(linear @ [0.2126, 0.7152, 0.0722]) + 0.05)


def test_colours_stand_out_from_white() -> None:
    """3:1 for marks, 4.5:1 for the two that also colour text."""
    assert contrast_with_white("#767676") == pytest.approx(4.54, abs=0.01)
    assert min(contrast_with_white(color) for color in PALETTE) >= 3
    assert min(contrast_with_white(style["color"]) for style in (REAL_STYLE, FAKE_STYLE)) >= 4.5


def test_neighbouring_lines_differ_in_colour_and_dashes() -> None:
    cycle = list(plt.rcParams["axes.prop_cycle"])
    assert len(cycle) == 10
    for one, other in itertools.pairwise(cycle):
        assert one["color"] != other["color"]
        assert one["linestyle"] != other["linestyle"]


def test_ten_series_differ_in_more_than_colour() -> None:
    styles = [line_style(index) for index in range(10)]
    assert len({style["marker"] for style in styles}) == 10
    assert len({style["color"] for style in styles}) == 10
    assert all(REAL_STYLE[key] != FAKE_STYLE[key] for key in ("color", "marker", "linestyle"))


def test_real_and_fake_differ_for_a_reader_without_red_or_green_cones() -> None:
    """Blue against orange keeps its contrast on the blue-yellow axis, spared by both common kinds of blindness."""
    real, fake = (np.array(to_rgb(style["color"])) for style in (REAL_STYLE, FAKE_STYLE))

    def blue_minus_yellow(color: np.ndarray) -> float:
        return float(color[2] - color[:2].mean())

    assert blue_minus_yellow(real) - blue_minus_yellow(fake) > 0.5
    assert {REAL_STYLE["color"], FAKE_STYLE["color"]} <= set(PALETTE)


@pytest.mark.parametrize("zoom", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_a_grid_shows_every_pixel_unchanged(zoom: int, count: int) -> None:
    rng = np.random.default_rng(zoom + 10 * count)
    images = [rng.integers(0, 256, (11, 17, 3), dtype=np.uint8) for _ in range(count)]
    canvas = pixels(exact_png(image_grid(images, [f"image {n}" for n in range(count)], columns=2, zoom=zoom)))
    for img in images:
        block = np.repeat(np.repeat(img, zoom, 0), zoom, 1)
        windows = np.lib.stride_tricks.sliding_window_view(canvas, block.shape)[:, :, 0]
        corners = np.argwhere((windows[..., 0, 0, :] == block[0, 0]).all(-1))
        assert any(np.array_equal(windows[top, left], block) for top, left in corners)


def test_a_grid_of_one_colour_images_shares_its_limits() -> None:
    dark, bright = torch.full((1, 8, 8), 0.25), torch.full((1, 8, 8), 0.75)
    canvas = pixels(png_bytes(image_grid([dark, bright], ["dark", "bright"], limits=(0, 1))))
    greys = {int(value) for value in np.unique(canvas[4:12])}
    assert greys == {64, 191, 255} or greys == {64, 192, 255}


def test_the_labels_stand_below_their_images() -> None:
    fig = image_grid([np.zeros((20, 30), np.uint8)] * 2, ["a", "b"], columns=2)
    fig.canvas.draw()
    for ax in fig.axes:
        box, text = ax.get_window_extent(), ax.texts[0].get_window_extent()
        assert text.y1 <= box.y0
        assert text.y0 >= 0
        assert abs((text.x0 + text.x1) / 2 - (box.x0 + box.x1) / 2) < 1


@pytest.mark.parametrize(("images", "labels"), [([], []), ([np.zeros((2, 2))], [])])
def test_a_grid_needs_a_label_for_each_image(images: list, labels: list) -> None:
    with pytest.raises(ValueError, match="label"):
        image_grid(images, labels)


@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 5, 7), (5, 7), (5, 7, 3)])
def test_images_of_every_layout_become_what_imshow_takes(shape: tuple[int, ...]) -> None:
    img = torch.arange(int(np.prod(shape)), dtype=torch.uint8).reshape(shape)
    array = to_array(img)
    assert array.shape in ((5, 7), (5, 7, 3))
    assert array.dtype == np.uint8
    assert sorted(array.ravel()) == sorted(img.numpy().ravel())


def test_figures_are_plain_matplotlib() -> None:
    assert isinstance(figure()[0], Figure)
    assert re.fullmatch("#[0-9a-f]{6}", PALETTE[0])


def test_figures_count_themselves_and_a_cell_that_runs_again_keeps_its_numbers() -> None:
    numbers = FigureNumbers()
    assert [numbers.take("a", 1), numbers.take("a", 1), numbers.take("b", 2)] == [1, 2, 3]
    assert [numbers.take("a", 3), numbers.take("a", 3), numbers.take("a", 3)] == [1, 2, 4]
    assert numbers.take("b", 4) == 3
    numbers.reset()
    assert numbers.take("b", 5) == 1


def test_outside_a_notebook_every_figure_counts_on() -> None:
    numbers = FigureNumbers()
    assert [numbers.next(), numbers.next()] == [1, 2]
