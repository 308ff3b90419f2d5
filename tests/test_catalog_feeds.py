"""Feeds as shops have them: any dialect, prices, lists, variants, several pictures, exports of shop systems."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from cirray.config.catalog import CatalogSettings
from cirray.data.catalog import Catalog, Entry, WebPicture, read_catalog
from cirray.data.catalog.prices import parse_prices
from cirray.errors import ConfigError, DataError


def write(folder: Path, text: str, name: str = "feed.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def feed(folder: Path, text: str, name: str = "feed.csv", encoding: str = "utf-8", **settings: Any) -> Catalog:
    """Reads a feed that must be without problems."""
    read = read_catalog(write(folder, text, name, encoding), CatalogSettings(**settings))
    assert read.problems == []
    return read


def column(name: str, *cells: str) -> str:
    rows = io.StringIO()
    csv.writer(rows).writerows([["id", "image", name], *([f"i{n}", "x.png", cell] for n, cell in enumerate(cells))])
    return rows.getvalue()


def values(read: Catalog, name: str) -> list[Any]:
    return [entry.attributes.get(name) for entry in read.entries]


def names(entry: Entry) -> list[str]:
    return [Path(str(image)).name for image in entry.images]


CHARACTERS = st.characters(codec="cp1252", exclude_categories=("Cc", "Cs"), exclude_characters="\u00a0|\\")
CELL = st.text(CHARACTERS, min_size=1, max_size=12).filter(lambda text: text == text.strip())


def is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@settings(deadline=None)
@given(
    titles=st.lists(CELL, min_size=2, max_size=6),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_any_dialect_is_found_out(tmp_path_factory, titles, delimiter, encoding, quoting, newline):
    rows = io.StringIO()
    writer = csv.writer(rows, delimiter=delimiter, quoting=quoting, lineterminator=newline)
    writer.writerows([["id", "image", "title"], *([f"{n:04}", "x.png", title] for n, title in enumerate(titles))])
    # Windows-1252 that happens to be valid UTF-8 cannot be told from it.
    assume(encoding != "cp1252" or rows.getvalue().isascii() or not is_utf8(rows.getvalue().encode("cp1252")))
    read = feed(tmp_path_factory.mktemp("feed"), rows.getvalue(), encoding=encoding)
    assert [(entry.id, entry.title) for entry in read.entries] == [(f"{n:04}", title) for n, title in enumerate(titles)]


def test_what_was_found_out_is_noted(tmp_path):
    text = "id;image;title;price\n0012;x.png;Robe d\u2019été;10,95\n"
    read = feed(tmp_path, text, encoding="cp1252")
    assert read.notes == ["encoding cp1252; separated by semicolons; decimal comma in price"]
    assert read.entries == [Entry("0012", (tmp_path / "x.png",), "Robe d\u2019été", {"price": 10.95}, "feed.csv:2")]


def test_the_dialect_can_be_set(tmp_path):
    text = "id,image,note\nA;1,x.png,'a, b'\n"
    read = feed(tmp_path, text, delimiter=",", quote="'")
    assert read.entries[0].attributes == {"note": "a, b"}
    assert feed(tmp_path, "id\timage\na\tx.png\n", delimiter="tab").entries[0].id == "a"
    assert values(feed(tmp_path, column("price", "1,299"), decimal=","), "price") == [1.299]
    with pytest.raises(DataError, match=r"cannot be read as ascii .* set catalog.encoding"):
        feed(tmp_path, "id,image\né,x.png\n", encoding="utf-8", **{"delimiter": ","}) and read_catalog(
            write(tmp_path, "id,image\né,x.png\n"), CatalogSettings(encoding="ascii")
        )


@pytest.mark.parametrize("wrong", [{"delimiter": "ab"}, {"encoding": "klingon"}, {"preset": "magento"}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        CatalogSettings(**wrong)


@pytest.mark.parametrize(
    ("cells", "numbers", "currency"),
    [
        (["19.99 USD", "1,299.00 USD"], [19.99, 1299.0], "USD"),
        (["19,99", "1.299,00"], [19.99, 1299.0], None),
        (["€ 1.299,50", "€ 5"], [1299.5, 5], "EUR"),
        (["$1,299", "$5.25"], [1299, 5.25], "USD"),
        (["1 299,90 kr", "5,00 kr"], [1299.9, 5.0], "SEK"),
        (["1'299.00 CHF", "3.50 CHF"], [1299.0, 3.5], "CHF"),
        (["19.99", "N/A", "5.00"], [19.99, None, 5.0], None),
        (["3", "-", "4"], [3, None, 4], None),
    ],
)
def test_prices_become_numbers_and_a_currency(tmp_path, cells, numbers, currency):
    read = feed(tmp_path, column("price", *cells))
    assert values(read, "price") == numbers
    assert values(read, "currency") == [None if number is None else currency for number in numbers]


@settings(deadline=None)
@given(
    amounts=st.lists(st.decimals(0, 9_999_999, places=2, allow_nan=False), min_size=1, max_size=5),
    style=st.sampled_from([(",", "."), (".", ","), (" ", ","), ("'", ".")]),
    sign=st.sampled_from(["€", "USD"]),
    before=st.booleans(),
)
def test_prices_of_any_style_are_read(amounts, style, sign, before):
    thousands, mark = style
    texts = [f"{amount:,.2f}".replace(",", "T").replace(".", mark).replace("T", thousands) for amount in amounts]
    cells = [f"{sign} {text}" if before else f"{text} {sign}" for text in texts]
    read = parse_prices(cells)
    assert read is not None
    assert read.values == [float(amount) for amount in amounts]
    assert set(read.currencies) == {{"€": "EUR"}.get(sign, sign)}


@pytest.mark.parametrize("cells", [["1E5", "2E6"], ["007", "12"], ["+1", "2"], ["12 PCS", "6 PCS"], ["1.2.3", "4"]])
def test_codes_stay_text(tmp_path, cells):
    assert values(feed(tmp_path, column("model", *cells)), "model") == cells


def test_lists_in_a_cell_are_split(tmp_path):
    read = feed(tmp_path, 'id,image,colours\na,"a.png, b.png",red|blue\nb,b.png,green\n')
    assert [names(entry) for entry in read.entries] == [["a.png", "b.png"], ["b.png"]]
    assert values(read, "colours") == [["red", "blue"], ["green"]]


def test_a_comma_in_a_file_name_is_no_separator(tmp_path):
    assert names(feed(tmp_path, 'id,image\na,"Dress, red.png"\n').entries[0]) == ["Dress, red.png"]


def test_further_rows_of_a_product_are_its_variants_and_pictures(tmp_path):
    read = feed(
        tmp_path,
        "id,image,title,price,size\nd,1.jpg,Dress,20,S\nd,,,19,M\nd,2.jpg,,21,L\n,,,,XL\ne,3.jpg,Shirt,5,S\n",
    )
    assert [(entry.id, names(entry), entry.attributes) for entry in read.entries] == [
        ("d", ["1.jpg", "2.jpg"], {"price": 19, "size": ["S", "M", "L", "XL"]}),
        ("e", ["3.jpg"], {"price": 5, "size": "S"}),
    ]


def test_an_id_that_is_there_twice_is_a_problem(tmp_path):
    read = read_catalog(write(tmp_path, "id,image,title\na,1.jpg,Dress\na,2.jpg,Shirt\n"))
    assert [str(problem) for problem in read.problems] == ["feed.csv:3: id 'a' is there twice, first at feed.csv:2"]


CONTENT = [
    {
        "id": "1",
        "image": "a.png",
        "price": {"amount": 10.5, "unit": "kg"},
        "sizes": [36, 38],
        "size": "S",
        "n": None,
    },
    {"id": "2", "image": "b.png", "price": {"amount": None, "unit": "kg"}, "sizes": [], "size": "38", "n": 3},
]


def test_the_same_content_is_read_alike_from_every_file_type(tmp_path):
    lines = write(tmp_path, "".join(json.dumps(row) + "\n" for row in CONTENT), "feed.jsonl")
    parquet.write_table(pa.Table.from_pylist(CONTENT), tmp_path / "feed.parquet")
    flat = "id,image,price_amount,price_unit,sizes,size,n\n1,a.png,10.5,kg,36|38,S,\n2,b.png,,kg,,38,3\n"
    reads = [read_catalog(lines), read_catalog(tmp_path / "feed.parquet"), read_catalog(write(tmp_path, flat))]
    for read in reads:
        assert read.problems == []
        assert [(entry.id, entry.attributes) for entry in read.entries] == [
            ("1", {"price_amount": 10.5, "price_unit": "kg", "sizes": ["36", "38"], "size": "S"}),
            ("2", {"price_unit": "kg", "size": "38", "n": 3}),
        ]


def test_a_fault_of_an_attribute_never_costs_the_item(tmp_path):
    rows = [
        '{"id": 7, "image": "a.png", "price": NaN, "size": 38, "ean": 9007199254740993, "parts": [{"w": 1}]}',
        '{"id": 8, "image": "b.png", "price": 3.5, "size": "L", "ean": 2, "parts": ["x"]}',
    ]
    read = feed(tmp_path, "\n".join(rows), "feed.jsonl")
    assert [(entry.id, entry.attributes) for entry in read.entries] == [
        ("7", {"size": "38", "ean": "9007199254740993"}),
        ("8", {"price": 3.5, "size": "L", "ean": "2", "parts": ["x"]}),
    ]
    assert [note.split()[0] for note in read.notes] == ["size", "ean", "parts"]


def test_long_text_is_reported_once_a_column(tmp_path):
    text = "word " * 30_000
    read = feed(tmp_path, f'id,image,description\na,a.png,"{text}"\nb,b.png,"{text}"\nc,c.png,short\n')
    assert values(read, "description") == [None, None, "short"]
    assert read.notes[-1] == "description has 2 values longer than 200 characters, which are left out as filters"


def test_names_with_spaces_and_capitals_become_attributes(tmp_path):
    read = feed(tmp_path, "ID,Image,Title,Regular Price,2nd colour,%\na,a.png,Dress,3,red,x\n")
    assert read.entries[0].attributes == {"regular_price": 3, "_2nd_colour": "red"}
    assert read.entries[0].title == "Dress"
    assert any(note.startswith("column '%' is left out") for note in read.notes)


def test_columns_can_be_named(tmp_path):
    text = "SKU,Foto,Bezeichnung,Farbe\n1,a.png,Kleid,rot\n"
    read = feed(tmp_path, text, columns={"id": "SKU", "image": "Foto", "title": "bezeichnung", "colour": "Farbe"})
    assert read.entries == [Entry("1", (tmp_path / "a.png",), "Kleid", {"colour": "rot"}, "feed.csv:2")]
    with pytest.raises(ConfigError, match=r"catalog.columns.id is 'EAN', but .* has no such column"):
        feed(tmp_path, text, columns={"id": "EAN"})
    with pytest.raises(DataError, match=r"has no column image.*--catalog.columns.image NAME"):
        feed(tmp_path, text)


def test_pictures_at_addresses_and_with_backslashes(tmp_path):
    (tmp_path / "images").mkdir()
    read = feed(tmp_path, "id,image\na,https://shop.example/1.jpg?v=1&w=8\nb,images\\2.jpg\n")
    assert read.entries[0].images == (WebPicture("https://shop.example/1.jpg?v=1&w=8"),)
    assert read.entries[1].images == (tmp_path / "images" / "2.jpg",)


def test_woocommerce(tmp_path):
    read = feed(
        tmp_path,
        "ID,Type,SKU,Name,Published,Regular price,Categories,Tags,Images,Attribute 1 name,Attribute 1 value(s)\n"
        '11,variable,S-1,Red dress,1,19.99,"Clothing > Dresses, Sale","red, long","1.jpg, 2.jpg",Size,"S, M"\n'
        "12,simple,,Shirt,1,5,Clothing,,3.jpg,Color,blue\n",
    )
    assert [(entry.id, names(entry), entry.title) for entry in read.entries] == [
        ("S-1", ["1.jpg", "2.jpg"], "Red dress"),
        ("12", ["3.jpg"], "Shirt"),
    ]
    assert read.entries[0].attributes == {
        "categories": ["Clothing > Dresses", "Sale"],
        "tags": ["red", "long"],
        "regular_price": 19.99,
        "type": "variable",
        "size": ["S", "M"],
    }
    assert read.entries[1].attributes["color"] == "blue"
    assert any("leaves out: Published" in note for note in read.notes)


def test_shopify(tmp_path):
    read = feed(
        tmp_path,
        "Handle,Title,Vendor,Tags,Option1 Name,Option1 Value,Variant Price,Image Src,Variant Grams\n"
        'dress,Red dress,Acme,"red, long",Size,S,19.99,https://cdn.example/1.jpg,100\n'
        "dress,,,,,M,21.99,https://cdn.example/2.jpg,100\n"
        "shirt,Shirt,Acme,,Title,Default Title,5.00,https://cdn.example/3.jpg,100\n",
    )
    assert [(entry.id, names(entry)) for entry in read.entries] == [("dress", ["1.jpg", "2.jpg"]), ("shirt", ["3.jpg"])]
    assert read.entries[0].attributes == {"brand": "Acme", "tags": ["red", "long"], "price": 19.99, "size": ["S", "M"]}
    assert read.entries[1].attributes == {"brand": "Acme", "price": 5.0}


def test_google_merchant(tmp_path):
    read = feed(
        tmp_path,
        "id\ttitle\timage link\tadditional image link\titem group id\tprice\tcolor\n"
        "a-1\tDress\thttps://x.example/1.jpg\thttps://x.example/2.jpg,https://x.example/3.jpg\ta\t15 EUR\tred/pink\n",
        "feed.tsv",
    )
    (entry,) = read.entries
    assert (entry.group, len(entry.images)) == ("a", 3)
    assert entry.attributes == {"price": 15, "currency": "EUR", "color": ["red", "pink"]}
