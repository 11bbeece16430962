"""The rules for a lesson, by subject; `helpers.course.check` applies them."""
