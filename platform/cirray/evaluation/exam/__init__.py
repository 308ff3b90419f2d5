"""Scores a bundle on an exam (data/exam): all right answers, hard negatives, wordings, two references, "not", rounds."""
