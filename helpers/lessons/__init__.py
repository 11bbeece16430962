"""What belongs to one lesson: `lessonNN/study` computes, `lessonNN/figures` draws, `lessonNN/exercises` asks.

Lessons stand on top of the library, and nothing but the command line stands on them. A lesson registers its exercises
with the course; the course does not look for them.
"""
