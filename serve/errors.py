"""What can be wrong with a request, in the service's own words."""

from __future__ import annotations

from cirray.errors import CirrayError, IndexUnavailableError, SearchIndexError


class NoSuchItemError(CirrayError):
    """The catalog has no such item."""


class NoPictureError(CirrayError):
    """An item's picture file cannot be shown any more."""


class NotWritableError(CirrayError):
    """The index cannot be changed item by item."""


class UnfitRequestError(CirrayError):
    """The request is well formed, and cannot be answered by what is served."""


class FeedbackFullError(CirrayError):
    """The place for feedback holds as much as it may, or cannot be reached."""


class NotPublishedError(SearchIndexError):
    """There is no generation to search yet."""


class ModelChangedError(IndexUnavailableError):
    """Model and index do not fit together just now."""


class BusyError(Exception):
    """Too many queries wait for an encoder: come again in `retry_after_s` seconds."""

    def __init__(self, retry_after_s: int = 1) -> None:
        super().__init__(retry_after_s)
        self.retry_after_s = retry_after_s
