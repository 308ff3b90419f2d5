"""Columns of prices: currency signs and codes, thousands separators, decimal point or comma."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from cirray.data.catalog.cells import Column, is_missing, is_no_value
from cirray.data.catalog.entry import Value

_CURRENCIES = {
    "€": "EUR",
    "$": "USD",
    "£": "GBP",
    "¥": "JPY",
    "₹": "INR",
    "₽": "RUB",
    "₩": "KRW",
    "zł": "PLN",
    "kr": "SEK",
}
_CODES = re.findall(
    r"[A-Z]{3}",
    "AED ARS AUD BGN BRL CAD CHF CLP CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR ISK JPY KES KRW KWD MAD MXN MYR "
    "NGN NOK NZD PEN PHP PLN QAR RON RUB SAR SEK SGD THB TRY TWD UAH USD VND ZAR",
)
_SIGN = "|".join(map(re.escape, (*_CODES, *_CURRENCIES)))
_AMOUNT = r"-?[0-9][0-9.,'’\u00a0\u202f ]*"
_PRICE = re.compile(rf"(?P<before>{_SIGN})?\s*(?P<amount>{_AMOUNT})\s*(?P<after>{_SIGN})?")
_GROUPED = re.compile(r"-?[0-9]{1,3}([., '’\u00a0\u202f][0-9]{3})+([.,][0-9]+)?")
_PLAIN = re.compile(r"-?(0|[1-9][0-9]{0,14})([.,][0-9]+)?")


def has_currency(cells: Sequence[Any]) -> bool:
    """Whether a cell has an amount with a currency sign or code."""
    matches = (_PRICE.fullmatch(cell.strip()) for cell in cells if isinstance(cell, str))
    return any(match is not None and (match["before"] or match["after"]) for match in matches)


def parse_prices(cells: Sequence[Any], decimal: str = "auto", needs_sign: bool = False) -> Column | None:
    """Reads a column of amounts with currency signs or codes, thousands separators and a decimal point or comma.

    Args:
        cells: R texts; None = empty.
        needs_sign: plain numbers alone are no prices.

    Returns:
        Numbers and their currencies; None if some cell is neither an amount nor a word for "no value".
    """
    absent = [is_missing(cell) or is_no_value(cell) for cell in cells]
    found = [None if no else _PRICE.fullmatch(cell.strip()) for cell, no in zip(cells, absent, strict=True)]
    for no, match in zip(absent, found, strict=True):
        if match is None and not no:
            return None
        if match is not None and match["before"] and match["after"]:
            return None
    amounts = [match["amount"].strip() for match in found if match is not None]
    signs = [match["before"] or match["after"] for match in found if match is not None]
    if not amounts or (needs_sign and not any(signs)):
        return None
    # Without a sign, a leading zero or many digits mark a code.
    if not any(signs) and not all(_is_amount(amount) for amount in amounts):
        return None
    comma = decimal == "," or (decimal == "auto" and _has_decimal_comma(amounts))
    values: list[Value | None] = []
    for match in found:
        number = None if match is None else _amount(match["amount"], comma)
        if match is not None and number is None:
            return None
        values.append(number)
    codes = [None if match is None else _currency(match["before"] or match["after"]) for match in found]
    notes = ["decimal comma"] if comma else []
    return Column(values, notes, codes if any(codes) else ())


def _is_amount(text: str) -> bool:
    return _PLAIN.fullmatch(text) is not None or _GROUPED.fullmatch(text) is not None


def _has_decimal_comma(amounts: Sequence[str]) -> bool:
    """Whether the comma is the decimal mark of a column, by the amounts that can be read in one way only."""
    marks = {_decimal_mark(amount) for amount in amounts}
    return "," in marks and "." not in marks


def _decimal_mark(amount: str) -> str:
    """Returns an amount's decimal mark; "" if it has none, or could be read both ways (1,299)."""
    comma, point = amount.rfind(","), amount.rfind(".")
    if comma >= 0 and point >= 0:
        return "," if comma > point else "."
    mark, other = (",", ".") if comma >= 0 else (".", ",")
    if amount.count(mark) > 1:
        return other
    return mark if mark in amount and not re.search(rf"[{mark}][0-9]{{3}}$", amount) else ""


def _amount(text: str, comma: bool) -> float | int | None:
    """Returns the number of an amount; None if it is not written like one."""
    plain = re.sub(r"[\s'’\u00a0\u202f]", "", text)
    plain = plain.replace(".", "").replace(",", ".") if comma else plain.replace(",", "")
    try:
        return float(plain) if "." in plain else int(plain)
    except ValueError:
        return None


def _currency(sign: str | None) -> str | None:
    return None if sign is None else _CURRENCIES.get(sign, sign)
