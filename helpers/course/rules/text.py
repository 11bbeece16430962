"""Rules for a lesson's Markdown: the template, its length, and plain Markdown that shows everywhere."""

import re
from collections.abc import Iterator

from helpers.course.build import LINK
from helpers.course.refresh import exercise_minutes
from helpers.course.rules.lesson import FENCE, Lesson

Violations = Iterator[tuple[str, str]]

HEADER = {
    "Question": r".+\?$",
    "Reading time": r"\d+ min$",
    "Exercise time": r"\d+ min$",
    "Run time": r"[1-9]\d* s on 2 CPU cores",
    "You need": r".+",
}
"""Fields of the first cell and the pattern of their content; a run time of 0 s was never measured."""
SECTIONS = (
    "Objectives",
    "Predict first",
    "Where this fails",
    "Quiz",
    "Recap",
    "Glossary",
    "Further reading",
    "Next lesson",
)
LEAST_WORDS, MOST_WORDS = 900, 2500
NUMBERED = re.compile(r"^\d+\. +(\S+)", re.MULTILINE)
TAG = re.compile(r"</?([a-zA-Z][a-zA-Z0-9]*)\b[^>]*>")
ALLOWED_TAGS = {"details", "summary", "br", "sub", "sup"}
ABBREVIATIONS = re.compile(r"\b(?:e\.g|i\.e|cf|et al|vs|Fig|Eq|No|Sec|approx|[A-Z])\.")
MARKUP = re.compile(r"^\s*(?:(?:[-*+]|\d+\.) +)?(?:\*\*[^*]+\*\*)?|<summary>[a-d]\. |`[^`]*`|\$[^$]*\$|<[^>]*>")
"""What is no sentence: the mark of a list, a bold beginning, the letter of an option, code, formulas, tags."""
NEXT_SENTENCE = re.compile(r"[.!?][\"')\]*_]*\s+[\"'(\[*_]*[A-Z]")


def header(lesson: Lesson) -> Violations:
    """The first cell has the title and all fields of the template."""
    first = lesson.notebook.cells[0]
    if not re.match(rf"# {lesson.number:02d} · \S", first.source):
        yield first.id, f"the first cell starts with '# {lesson.number:02d} · Title'"
    stated, summed = re.search(r"\*\*Exercise time:\*\* (\d+)", first.source), exercise_minutes(lesson.notebook)
    if stated and int(stated[1]) != summed:
        yield first.id, f"the exercises take {summed} min together, not {stated[1]}: run refresh"
    for name, pattern in HEADER.items():
        if not re.search(rf"^- \*\*{name}:\*\* {pattern}", first.source, re.MULTILINE):
            yield first.id, f"the header has no line '- **{name}:** ...', or its content is not as in the template"


def sections(lesson: Lesson) -> Violations:
    """All sections of the template are there, once each and in order."""
    headings = re.findall(r"^## (.+?)\s*$", lesson.prose(), re.MULTILINE)
    present = [heading for heading in headings if heading in SECTIONS]
    if present != list(SECTIONS):
        yield "", f"sections of the template: expected {', '.join(SECTIONS)}; found {', '.join(present) or 'none'}"
    for heading in ("Predict first", "Quiz"):
        if "<details>" not in lesson.section(heading):
            yield "", f"section '{heading}' has no folded answer"
    if not re.search(r"doi\.org/|arxiv\.org/|arXiv[: ]\d|\b10\.\d{4,}/", lesson.section("Further reading")):
        yield "", "section 'Further reading' names no DOI or arXiv id"


def bookends(lesson: Lesson) -> Violations:
    """Three to five objectives open the lesson, and as many lines close it."""
    objectives = NUMBERED.findall(lesson.section("Objectives"))
    recap = NUMBERED.findall(lesson.section("Recap"))
    if not 3 <= len(objectives) <= 5:
        yield "", f"expected three to five numbered objectives, found {len(objectives)}"
    if len(recap) != len(objectives):
        yield "", f"the recap has {len(recap)} numbered lines for {len(objectives)} objectives"


def words(lesson: Lesson) -> int:
    """Count the words that a learner reads, without code, formulas and HTML."""
    plain = re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$|`[^`\n]+`", " word ", TAG.sub(" ", lesson.prose()), flags=re.DOTALL)
    plain = re.sub(r"\]\([^)]*\)", "]", plain)
    return len(re.findall(r"[^\W\d_][\w'’-]*", plain))


def length(lesson: Lesson) -> Violations:
    """A lesson has 900 to 2,500 words."""
    count = words(lesson)
    if not LEAST_WORDS <= count <= MOST_WORDS:
        yield "", f"{count} words, allowed {LEAST_WORDS} to {MOST_WORDS}"


def one_sentence_per_line(lesson: Lesson) -> Violations:
    """Every sentence starts on a line of its own, so that differences between versions can be read."""
    references = lesson.section("Further reading")
    for cell in lesson.markdown:
        for line in FENCE.sub("", cell.source).splitlines():
            plain = MARKUP.sub("", line)
            plain = ABBREVIATIONS.sub("", plain)
            if not line.startswith(("|", "#")) and line not in references and NEXT_SENTENCE.search(plain):
                yield cell.id, f"two sentences on one line: {line.strip()[:60]}"


def plain_markdown(lesson: Lesson) -> Violations:
    """Only what both JupyterLab and GitHub render: no admonitions, few HTML tags, folds with an empty line inside."""
    for cell in lesson.markdown:
        source = FENCE.sub("", cell.source)
        if re.search(r"^(:::|!!! |> ?\[!)", source, re.MULTILINE):
            yield cell.id, "admonition syntax does not render everywhere"
        if "```{" in cell.source:
            yield cell.id, "directive syntax does not render everywhere"
        strange = {name.lower() for name in TAG.findall(re.sub(r"`[^`\n]*`", "", source))} - ALLOWED_TAGS
        if strange:
            yield cell.id, f"HTML tag not allowed: {', '.join(sorted(strange))}"
        if source.count("<details>") != source.count("</details>"):
            yield cell.id, "unpaired <details>"
        if re.search(r"</summary>(?!\n\n)", source):
            yield cell.id, "an empty line must follow </summary>, or the Markdown in the fold does not render"
        if re.search(r"!\[\s*\]\(", source):
            yield cell.id, "an image has no alt text"


def links(lesson: Lesson) -> Violations:
    """Every relative link leads to a file that exists."""
    for cell in lesson.notebook.cells:
        if cell.cell_type != "markdown":
            continue
        for _, target in LINK.findall(FENCE.sub("", cell.source)):
            if "://" in target or target.startswith(("mailto:", "data:", "attachment:")):
                continue
            if not (lesson.path.parent / target).exists():
                yield cell.id, f"broken link: {target}"
