"""Scores a bundle on an exam (data/exam): right answers, hard negatives, wordings, two references, "not", rounds."""
