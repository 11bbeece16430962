"""A tiny lesson 90 that breaks no rule, so that a test can break one rule at a time."""

from pathlib import Path

import nbformat
from nbformat import NotebookNode

from helpers.course import write_notebook

NAME = "90_tiny.ipynb"

REGISTRY = """
import torch

from helpers.course.compare import agrees, unchanged_by
from helpers.course.exercises import Exercise, Property, WrongAnswer, register


def mean(values):
    return values.sum() / values.numel()


def values():
    return (torch.rand(7, generator=torch.Generator().manual_seed(0), dtype=torch.float64),)


EXERCISES = (
    Exercise(
        id="90.1",
        title="The mean",
        reference=mean,
        properties=(
            Property("order does not matter", unchanged_by(values, lambda x: (x.flip(0),)), hint="Use every value."),
            Property("agrees with the reference", agrees(mean, values), hint="Divide by the number of values."),
        ),
        wrong_answers=(
            WrongAnswer("the first value", lambda x: x[0], hint="Use every value."),
            WrongAnswer("the sum", lambda x: x.sum(), hint="Divide by the number of values."),
        ),
    ),
)

register(EXERCISES)
"""

HEADER = """# 90 · A tiny lesson

- **Question:** What is a mean?
- **Reading time:** 1 min
- **Exercise time:** 2 min
- **Run time:** 0 s on 2 CPU cores
- **You need:** nothing.

## Objectives

1. Add numbers.
2. Count numbers.
3. Divide the first by the second.
"""

PREDICT = """## Predict first

Is the mean of 1 and 3 nearer to 1?

<details><summary>Answer</summary>

No: it lies in the middle.

</details>
"""

TASK = """### Exercise 90.1 · The mean

- **Level:** ●○○
- **Minutes:** 2
- **Why it matters:** everything is a mean.

<details><summary>Hint 1: a question</summary>

What does every value add?

</details>
<details><summary>Hint 2: a direction</summary>

Add, then divide.

</details>
<details><summary>Hint 3: almost the code</summary>

`sum / number`

</details>
"""

CLOSING = """## Where this fails

One far value moves the mean.

## Quiz

**1. What is the mean of 2 and 4?**

<details><summary>a. Two.</summary>

**No.** That is the smaller of both.

</details>
<details><summary>b. Three.</summary>

**Right.** It lies in the middle.

</details>
<details><summary>c. It cannot be known from two numbers.</summary>

**No.** Two numbers are enough.

</details>

**2. What moves a mean far?**

<details><summary>a. One far value.</summary>

**Right.** It counts like every other value.

</details>
<details><summary>b. Another order of the values.</summary>

**No.** The order does not matter.

</details>
<details><summary>c. Nothing does.</summary>

**No.** See what stands above.

</details>

**3. Of what is the mean of nothing?**

<details><summary>a. Of zero.</summary>

**No.** Zero is a value, too.

</details>
<details><summary>b. Of one.</summary>

**No.** One is a value, too.

</details>
<details><summary>c. There is none.</summary>

**Right.** Nothing can be divided by zero.

</details>

## Recap

1. We added numbers.
2. We counted numbers.
3. We divided the first by the second.

## Glossary

- **Mean:** the sum divided by the number.

## Further reading

- A. Author, B. Author. A paper. In: Proceedings, 2020. doi.org/10.1000/example

## Next lesson

There is none; go [back to the lessons](90_tiny.ipynb) or [see the registry](../../extra/lesson90.py).
"""

SOLUTION = '''def mean(values):
    """Return the mean of a tensor."""
    # solution begins
    return values.sum() / len(values)
    # solution ends


mean = check("90.1", mean)
'''

FIGURE = """from helpers.course.figures import figure, show

fig, ax = figure(height=2)
ax.plot([1, 3], [1, 3])
show(fig, alt="A straight line from one to three on both axes.")
"""

BAND = """import time

from helpers.course.lesson import headline, within

within("mean", mean(torch.tensor([1.0, 3.0])) + time.time() % 1 / 10, 1.5, 2.5)
headline("mean of three", 2 + time.time() % 1 / 10, 1.5, 2.5)
headline("values", 3)
"""

EXPLORER = """from helpers.course.widgets import explorer


def draw(power):
    fig, ax = figure(height=2)
    ax.plot([1, 2, 3], [1, 2**power, 3**power])
    return fig


explorer(draw, alt="A power of the numbers one to three.", power=(1, 3))
"""

NOISY = """# not compared: the time differs in every run
print(time.time())
"""


def filler() -> str:
    """Return prose of about 900 words, one sentence per line."""
    return "## The idea\n\n" + "\n".join("We add all the values and divide the sum by their number." for _ in range(75))


def solution_notebook(project: Path) -> NotebookNode:
    """Return the tiny lesson's solution copy; `project` holds notebooks/ and extra/lesson90.py."""
    v4 = nbformat.v4
    setup = f"import sys\n\nsys.path.append({str(project / 'extra')!r})\nimport lesson90\n"
    cells = [
        v4.new_markdown_cell(HEADER, id="header"),
        v4.new_code_cell(
            "import torch\n\nfrom helpers.course.lesson import Todo, start\n\nstart(lesson=90)", id="start"
        ),
        v4.new_code_cell(f"{setup}\nfrom helpers.course.exercises import check", id="setup"),
        v4.new_markdown_cell(PREDICT, id="predict"),
        v4.new_markdown_cell(filler(), id="idea"),
        v4.new_markdown_cell(TASK, id="task"),
        v4.new_code_cell(SOLUTION, id="solution", metadata={"tags": ["exercise"]}),
        v4.new_code_cell(FIGURE, id="figure"),
        v4.new_markdown_cell("**What to see**\n\n- One line.", id="see"),
        v4.new_code_cell(BAND, id="band"),
        v4.new_code_cell(EXPLORER, id="explorer"),
        v4.new_code_cell("2 + 2", id="plain"),
        v4.new_code_cell(NOISY, id="noisy", metadata={"tags": ["nbval-ignore-output"]}),
        v4.new_markdown_cell(CLOSING, id="closing"),
        v4.new_markdown_cell("Teachers: this takes a minute.", id="teacher", metadata={"tags": ["instructor"]}),
    ]
    return v4.new_notebook(cells=cells)


def write_tiny_course(project: Path) -> Path:
    """Write the tiny course without outputs and return its folder `notebooks`."""
    (project / "extra").mkdir()
    (project / "extra" / "lesson90.py").write_text(REGISTRY, encoding="utf-8")
    write_notebook(solution_notebook(project), project / "notebooks" / "solutions" / NAME)
    return project / "notebooks"
