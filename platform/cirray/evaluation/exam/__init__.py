"""Scores a bundle on an exam (data/exam.py): all right answers, hard negatives, wordings, two references, rounds."""
