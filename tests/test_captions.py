import pytest

from cirray.data.captions import clean, is_empty, query_caption, training_captions, without_empty


def test_clean_strips_marks_and_whitespace_at_the_ends_only():
    assert clean(" ., is blue, and long?\n") == "is blue, and long"


def test_two_captions_make_the_four_variants_of_the_paper_in_order():
    assert training_captions((" is Solid Black. ", "Has no Sleeves?")) == (
        "Is solid black and Has no Sleeves",
        "Has no sleeves and is Solid Black",
        "Is solid black",
        "Has no sleeves",
    )


def test_one_caption_is_used_as_it_is():
    assert training_captions((" Show three BOTTLES. ",)) == ("Show three BOTTLES.",)


def test_more_captions_are_joined_forwards_and_backwards_and_stand_alone():
    assert training_captions(("a", "b", "c")) == ("A and b and c", "C and b and a", "A", "B", "C")


def test_a_query_is_all_captions_in_order():
    assert query_caption(("is red.", "is long")) == "Is red and is long"
    assert query_caption(("Is RED.",)) == "Is RED."


def test_no_caption_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        training_captions(())


@pytest.mark.parametrize("caption", ["", " ", ".", "?,. \n", "\u00a0"])
def test_captions_without_words_are_empty(caption):
    assert is_empty(caption)


def test_the_other_caption_of_an_empty_one_is_kept_alone_clean_and_capitalised():
    assert without_empty(("", "has no Sleeves.")) == ("Has no sleeves",)
    assert without_empty(("Darker and not as shiny", ".")) == ("Darker and not as shiny",)
    assert without_empty((" ", ".")) == ()


def test_captions_that_are_not_empty_stay_as_annotated():
    assert without_empty((" is Red.", "is long")) == (" is Red.", "is long")
    assert without_empty((" is Red.",)) == (" is Red.",)
