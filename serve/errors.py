"""Errors of requests."""

from __future__ import annotations

from cirray.errors import CirrayError, IndexUnavailableError, SearchIndexError


class NoSuchItemError(CirrayError):
    """The catalog has no such item."""


class NoPictureError(CirrayError):
    """An item's picture file is missing or broken."""


class NotWritableError(CirrayError):
    """The index does not support writing single items."""


class UnfitRequestError(CirrayError):
    """The request is valid, but does not fit the served model or catalog."""


class FeedbackFullError(CirrayError):
    """The feedback store is full or cannot be reached."""


class NotPublishedError(SearchIndexError):
    """No generation is published yet."""


class ModelChangedError(IndexUnavailableError):
    """The model does not fit the index at the moment."""


class BusyError(Exception):
    """The encoders' queue is full, or no encoder runs; a client may retry after `retry_after_s` seconds."""

    def __init__(self, retry_after_s: int = 1) -> None:
        super().__init__(retry_after_s)
        self.retry_after_s = retry_after_s
