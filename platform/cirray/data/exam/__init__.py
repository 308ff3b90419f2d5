"""Exams: queries with all their right answers, hard negatives and several wordings (see `read.py` for the files)."""

from cirray.data.exam.read import read_exam
from cirray.data.exam.records import Exam, Goal, Negative, Query

__all__ = ["Exam", "Goal", "Negative", "Query", "read_exam"]
