"""Colours as CSS and HTML attributes write them, and whether text of one can be seen on another."""

from __future__ import annotations

import colorsys
import re
from functools import lru_cache

Colour = tuple[int, int, int]
"""Red, green and blue, 0..255 each."""

_NAMES = """
    aliceblue f0f8ff antiquewhite faebd7 aqua 00ffff aquamarine 7fffd4 azure f0ffff beige f5f5dc bisque ffe4c4
    black 000000 blanchedalmond ffebcd blue 0000ff blueviolet 8a2be2 brown a52a2a burlywood deb887 cadetblue
    5f9ea0 chartreuse 7fff00 chocolate d2691e coral ff7f50 cornflowerblue 6495ed cornsilk fff8dc crimson dc143c
    cyan 00ffff darkblue 00008b darkcyan 008b8b darkgoldenrod b8860b darkgray a9a9a9 darkgreen 006400 darkgrey
    a9a9a9 darkkhaki bdb76b darkmagenta 8b008b darkolivegreen 556b2f darkorange ff8c00 darkorchid 9932cc darkred
    8b0000 darksalmon e9967a darkseagreen 8fbc8f darkslateblue 483d8b darkslategray 2f4f4f darkslategrey 2f4f4f
    darkturquoise 00ced1 darkviolet 9400d3 deeppink ff1493 deepskyblue 00bfff dimgray 696969 dimgrey 696969
    dodgerblue 1e90ff firebrick b22222 floralwhite fffaf0 forestgreen 228b22 fuchsia ff00ff gainsboro dcdcdc
    ghostwhite f8f8ff gold ffd700 goldenrod daa520 gray 808080 green 008000 greenyellow adff2f grey 808080
    honeydew f0fff0 hotpink ff69b4 indianred cd5c5c indigo 4b0082 ivory fffff0 khaki f0e68c lavender e6e6fa
    lavenderblush fff0f5 lawngreen 7cfc00 lemonchiffon fffacd lightblue add8e6 lightcoral f08080 lightcyan
    e0ffff lightgoldenrodyellow fafad2 lightgray d3d3d3 lightgreen 90ee90 lightgrey d3d3d3 lightpink ffb6c1
    lightsalmon ffa07a lightseagreen 20b2aa lightskyblue 87cefa lightslategray 778899 lightslategrey 778899
    lightsteelblue b0c4de lightyellow ffffe0 lime 00ff00 limegreen 32cd32 linen faf0e6 magenta ff00ff maroon
    800000 mediumaquamarine 66cdaa mediumblue 0000cd mediumorchid ba55d3 mediumpurple 9370db mediumseagreen
    3cb371 mediumslateblue 7b68ee mediumspringgreen 00fa9a mediumturquoise 48d1cc mediumvioletred c71585
    midnightblue 191970 mintcream f5fffa mistyrose ffe4e1 moccasin ffe4b5 navajowhite ffdead navy 000080 oldlace
    fdf5e6 olive 808000 olivedrab 6b8e23 orange ffa500 orangered ff4500 orchid da70d6 palegoldenrod eee8aa
    palegreen 98fb98 paleturquoise afeeee palevioletred db7093 papayawhip ffefd5 peachpuff ffdab9 peru cd853f
    pink ffc0cb plum dda0dd powderblue b0e0e6 purple 800080 rebeccapurple 663399 red ff0000 rosybrown bc8f8f
    royalblue 4169e1 saddlebrown 8b4513 salmon fa8072 sandybrown f4a460 seagreen 2e8b57 seashell fff5ee sienna
    a0522d silver c0c0c0 skyblue 87ceeb slateblue 6a5acd slategray 708090 slategrey 708090 snow fffafa
    springgreen 00ff7f steelblue 4682b4 tan d2b48c teal 008080 thistle d8bfd8 tomato ff6347 turquoise 40e0d0
    violet ee82ee wheat f5deb3 white ffffff whitesmoke f5f5f5 yellow ffff00 yellowgreen 9acd32
    buttonface f0f0f0 buttontext 000000 canvas ffffff canvastext 000000 window ffffff windowtext 000000
    linktext 0000ee visitedtext 551a8b infobackground ffffe1 infotext 000000 menu f0f0f0 menutext 000000
"""
_BY_NAME: dict[str, Colour] = {
    name: (int(value[:2], 16), int(value[2:4], 16), int(value[4:], 16))
    for name, value in zip(_NAMES.split()[::2], _NAMES.split()[1::2], strict=True)
}
_HEX = re.compile(r"#([0-9a-f]{8}|[0-9a-f]{6}|[0-9a-f]{3,4})")
_FUNCTION = re.compile(r"(rgb|hsl|hwb)a?\(([^()]{1,80})\)")
_NUMBERS = re.compile(r"([-+]?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9}))(%|deg|turn|rad|grad)?")
_NOT_HEX = re.compile(r"[^0-9a-f]")

NEAR = 20
"""How far each of two colours' parts may lie apart for text of one not to be seen on the other."""
_FAINT, _FAINT_PARTS = 1.1, 64
# What a part of a turn is called.
_DEGREES = {"": 1.0, "deg": 1.0, "turn": 360.0, "rad": 57.29578, "grad": 0.9}


@lru_cache(maxsize=1024)
def css_colour(value: str) -> tuple[Colour, float] | None:
    """A CSS colour in lower case, with its alpha; None for what is none (CSS Color 4).

    >>> css_colour("rgba(255, 0, 0, .5)"), css_colour("hsl(120deg 100% 25%)"), css_colour("#fff")
    (((255, 0, 0), 0.5), ((0, 128, 0), 1.0), ((255, 255, 255), 1.0))
    """
    named = _BY_NAME.get(value)
    if named is not None:
        return named, 1.0
    if value == "transparent":
        return (0, 0, 0), 0.0
    written = _HEX.fullmatch(value)
    if written is not None:
        digits = written[1]
        if len(digits) < 5:
            digits = "".join(digit * 2 for digit in digits)
        alpha = int(digits[6:], 16) / 255 if len(digits) == 8 else 1.0
        return (int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:6], 16)), alpha
    function = _FUNCTION.fullmatch(value)
    return _of_function(function[1], function[2]) if function is not None else None


def _of_function(name: str, inside: str) -> tuple[Colour, float] | None:
    numbers = [(float(number), unit) for number, unit in _NUMBERS.findall(inside)]
    if len(numbers) not in (3, 4):
        return None
    alpha = 1.0
    if len(numbers) == 4:
        alpha = min(1.0, max(0.0, numbers[3][0] / (100 if numbers[3][1] == "%" else 1)))
    if name == "rgb":
        red, green, blue = (_part(number * 2.55 if unit == "%" else number) for number, unit in numbers[:3])
        return (red, green, blue), alpha
    hue = numbers[0][0] * _DEGREES.get(numbers[0][1], 1.0) / 360 % 1.0
    second, third = (min(1.0, max(0.0, number / 100)) for number, _ in numbers[1:3])
    if name == "hsl":
        parts = colorsys.hls_to_rgb(hue, third, second)
    else:
        grey = second + third
        white, black = (second / grey, third / grey) if grey > 1 else (second, third)
        parts = tuple(part * (1 - white - black) + white for part in colorsys.hls_to_rgb(hue, 0.5, 1.0))  # type: ignore[assignment]
    return (_part(parts[0] * 255), _part(parts[1] * 255), _part(parts[2] * 255)), alpha


def _part(number: float) -> int:
    return min(255, max(0, int(number + 0.5)))


@lru_cache(maxsize=1024)
def attribute_colour(value: str) -> Colour | None:
    """The colour of an attribute (bgcolor, color, text), whatever stands in it; None where it is empty or transparent.

    Source: HTML standard, "rules for parsing a legacy color value".

    >>> attribute_colour("FFFFFF"), attribute_colour("chucknorris"), attribute_colour("White ")
    ((255, 255, 255), (192, 0, 0), (255, 255, 255))
    """
    value = value.strip().lower()
    if not value or value == "transparent":
        return None
    if value in _BY_NAME:
        return _BY_NAME[value]
    if len(value) == 4 and value[0] == "#" and _NOT_HEX.search(value, 1) is None:
        return int(value[1], 16) * 17, int(value[2], 16) * 17, int(value[3], 16) * 17
    digits = _NOT_HEX.sub("0", value[:128].removeprefix("#"))
    digits += "0" * (-len(digits) % 3 or (0 if digits else 3))
    length = len(digits) // 3
    parts = [digits[:length], digits[length : 2 * length], digits[2 * length :]]
    if length > 8:
        parts, length = [part[length - 8 :] for part in parts], 8
    while length > 2 and all(part[0] == "0" for part in parts):
        parts, length = [part[1:] for part in parts], length - 1
    red, green, blue = (int(part[:2], 16) for part in parts)
    return red, green, blue


def over(colour: Colour, alpha: float, ground: Colour) -> Colour:
    """What a colour that lets some of its ground through looks like on it."""
    if alpha >= 1.0:
        return colour
    red, green, blue = (_part(above * alpha + below * (1 - alpha)) for above, below in zip(colour, ground, strict=True))
    return red, green, blue


def is_seen(colour: Colour, ground: Colour) -> bool:
    """Whether text of a colour can be told from its ground: parts far enough apart, and some contrast (WCAG 2)."""
    apart = max(abs(colour[0] - ground[0]), abs(colour[1] - ground[1]), abs(colour[2] - ground[2]))
    if apart <= NEAR:
        return False
    if apart > _FAINT_PARTS:
        return True
    lighter, darker = sorted((_luminance(colour), _luminance(ground)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05) >= _FAINT


def _luminance(colour: Colour) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in (c / 255 for c in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
