"""The dataset, and the preprocessing of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cirray.config.registry import DATA_FORMATS, one_of
from cirray.config.section import Fraction, Section

Color = Literal["srgb", "as-stored"]


class Data(Section):
    """The dataset: triplets and images."""

    format: Annotated[str, *one_of(DATA_FORMATS)] = Field("triplets", description="dataset format")
    root: str = Field("", description="folder or URI of the dataset")
    categories: tuple[str, ...] = Field(("dress", "shirt", "toptee"), description="FashionIQ only: categories to read")
    gallery: Literal["split", "val-split"] = Field(
        "split",
        description="FashionIQ only: split = the whole split file (the standard); val-split = the union of the split's "
        "references and targets (easier; numbers are not comparable)",
    )
    selection: Literal["default", "arithmetic", "harmonic", "geometric", "headline"] = Field(
        "default",
        description="CIRR only: aggregate of recalls that selects the best epoch; default = headline",
    )
    skip_bad: bool = Field(False, description="skip and report unusable images and triplets instead of failing")

    @model_validator(mode="after")
    def _categories_are_named(self) -> Data:
        if not self.categories:
            raise ValueError("categories must name at least one category")
        return self


class TrainData(Data):
    """The dataset of a training run."""

    extra: tuple[str, ...] = Field(
        (), description="folders of more train triplets, in the format triplets, such as those of jobs/triplets.py"
    )
    holdout: Fraction = Field(
        0.0,
        description="fraction of the train triplets held out to select the best epoch (in tuning, the best trial); "
        "0 = val selects it, as is usual",
    )


class Preprocess(Section):
    """Preprocessing of images for the image tower (paper section 4.1: TargetPad, ratio 1.25)."""

    pad: Literal["target", "square", "none"] = Field("target", description="padding before resize and centre crop")
    ratio: float = Field(1.25, ge=1.0, description="target padding: images up to this aspect ratio are not padded")
    background: Literal["white", "black"] = Field("white", description="background of transparent images")
    convert: Literal["first", "last"] = Field(
        "first",
        description="first = apply EXIF rotation, background and RGB conversion before everything else; last = convert "
        "to RGB after the crop and ignore EXIF and transparency, as CLIP4Cir does",
    )
    color: Color = Field(
        "srgb",
        description="srgb = convert pictures with an embedded color profile to sRGB; as-stored = ignore profiles, as "
        "CLIP4Cir does, and as convert last does anyway",
    )

    @classmethod
    def stored(cls, values: Mapping[str, Any]) -> Preprocess:
        """Returns the preprocessing in a manifest; one from before `color` has the colors as stored."""
        return cls.model_validate({"color": "as-stored", **values})

    def identity(self) -> dict[str, Any]:
        """Returns the fields that fingerprints hash; newer fields are omitted where they change nothing."""
        values = self.model_dump(exclude={"convert"} if self.convert == "first" else None)
        if self.convert == "last" or self.color == "as-stored":
            del values["color"]
        return values
