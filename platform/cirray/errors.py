"""Errors that a user can act on.

CirrayError
├── ConfigError        a setting is wrong; the message names the field
├── DataError          input files are wrong; the message lists every problem with its file and line
│   └── NoTripletsError   a catalog has no differences that triplets can be made from
├── BackboneError      a CLIP backbone cannot be built, or its weights cannot be fetched
├── CheckpointError    a checkpoint of another system cannot be read or written
├── StoreError         a feature store is damaged or does not match its manifest
├── BundleError        a model bundle is incomplete, damaged or incompatible
├── LocationError      a folder or URI cannot be reached, or is incomplete
├── RunError           a training run cannot start or continue in its output folder
└── SearchIndexError   a catalog index is missing, damaged or incompatible
    └── IndexUnavailableError   the index is unreachable or overloaded; a retry may succeed
"""


class CirrayError(Exception):
    """Base of all errors whose message is shown to the user without a traceback."""


class ConfigError(CirrayError):
    """A setting is wrong. The message names the field, the expected value and the remedy."""


class DataError(CirrayError):
    """Input files are wrong. The message lists all problems."""


class NoTripletsError(DataError):
    """A catalog has no attributes or titles that triplets can be made from, or no items that differ in few of them."""


class BackboneError(CirrayError):
    """A backbone's architecture cannot be built, or its weights cannot be fetched."""


class CheckpointError(CirrayError):
    """A checkpoint of another system is unreadable or of the wrong kind, or a model cannot be exported to it."""


class StoreError(CirrayError):
    """A feature store is damaged or does not match its manifest."""


class BundleError(CirrayError):
    """A model bundle is incomplete, damaged, or incompatible with the index or encoder it is used with."""


class RunError(CirrayError):
    """A training run cannot start or continue in its output folder."""


class LocationError(CirrayError):
    """A folder or URI cannot be reached, or is incomplete: its manifest is missing."""


class SearchIndexError(CirrayError):
    """A catalog index is missing, damaged, or incompatible with the bundle it is used with."""


class IndexUnavailableError(SearchIndexError):
    """The index is unreachable or overloaded; retrying the same request may succeed."""
