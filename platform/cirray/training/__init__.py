"""The three stages and the loop that they share."""
