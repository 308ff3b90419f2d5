"""Which data, and how pictures become pixels."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cirray.config.registry import DATA_FORMATS, one_of
from cirray.config.section import Fraction, Section


class Data(Section):
    """Which triplets and pictures."""

    format: Annotated[str, *one_of(DATA_FORMATS)] = Field("triplets", description="layout of the dataset")
    root: str = Field("", description="folder or URI that holds the data")
    categories: tuple[str, ...] = Field(
        ("dress", "shirt", "toptee"), description="FashionIQ only: the categories to read"
    )
    gallery: Literal["split", "val-split"] = Field(
        "split",
        description="FashionIQ only: rank in the whole split file (the standard), or in the union of the split's "
        "references and targets (VAL split: easier, numbers are not comparable)",
    )
    selection: Literal["default", "arithmetic", "harmonic", "geometric", "headline"] = Field(
        "default",
        description="CIRR only: how its recalls make the one number that picks the best epoch; default = headline",
    )
    holdout: Fraction = Field(
        0.0,
        description="share of the train triplets held back to pick the best epoch (and by tuning to pick the best "
        "trial); 0 = val picks it, as the field does",
    )
    skip_bad: bool = Field(
        False, description="leave broken pictures and triplets out and list them, instead of stopping"
    )

    @model_validator(mode="after")
    def _categories_are_named(self) -> Data:
        if not self.categories:
            raise ValueError("categories must name at least one category")
        return self


class Preprocess(Section):
    """From a picture file to the pixels of the image tower (paper section 4.1: TargetPad, ratio 1.25)."""

    pad: Literal["target", "square", "none"] = Field("target", description="padding before resize and centre crop")
    ratio: float = Field(1.25, ge=1.0, description="TargetPad: the greatest long/short side ratio left as it is")
    background: Literal["white", "black"] = Field("white", description="what transparent pictures are laid on")
    convert: Literal["first", "last"] = Field(
        "first",
        description="first = turned as EXIF says, laid on the background and made RGB before all else; last = made RGB "
        "after the crop, as CLIP4Cir does, which knows neither EXIF nor transparency",
    )

    def identity(self) -> dict[str, Any]:
        """Returns what fingerprints are made of; a field that came later is left out where it changes nothing."""
        return self.model_dump(exclude={"convert"} if self.convert == "first" else None)
