"""The exam on the demo catalog: queries with all their right answers, hard negatives and several wordings."""
