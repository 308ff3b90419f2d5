"""Errors that a user can act on.

CirrayError
├── ConfigError        a setting is wrong; the message names the field
├── DataError          files are wrong; the message lists every problem with its file and line
├── BackboneError      a CLIP backbone or its weights cannot be had
├── CheckpointError    a checkpoint of another system is not what it should be
├── StoreError         a feature store is damaged or belongs to something else
├── BundleError        a model bundle is incomplete or does not fit
├── LocationError      a folder or URI cannot be reached, or holds nothing complete
├── RunError           a training run cannot start or continue in its output folder
└── SearchIndexError   a catalog index is missing, damaged, or does not fit
    └── IndexUnavailableError   it cannot be reached just now: worth another try
"""


class CirrayError(Exception):
    """Base of all errors whose message is meant for the user and is complete without a traceback."""


class ConfigError(CirrayError):
    """A setting is wrong. The message names the field, what was expected and what to do."""


class DataError(CirrayError):
    """Input files are wrong. The message lists all problems at once."""


class BackboneError(CirrayError):
    """A backbone's architecture or weights cannot be built or fetched."""


class CheckpointError(CirrayError):
    """A checkpoint of another system cannot be read, is something else, or cannot be written for it."""


class StoreError(CirrayError):
    """A feature store holds something that its manifest does not say."""


class BundleError(CirrayError):
    """A model bundle is incomplete, damaged, or does not fit what it is used with."""


class RunError(CirrayError):
    """A training run cannot start or continue in its output folder."""


class LocationError(CirrayError):
    """A folder or URI cannot be reached, or holds nothing complete."""


class SearchIndexError(CirrayError):
    """A catalog index is missing, damaged, or does not fit what it is used with."""


class IndexUnavailableError(SearchIndexError):
    """The index cannot be reached or is too busy just now; the same request may succeed later."""
